"""Every benchmark, one after the other: one table and one JSON.

``python -m tests.benchmarks.run [--out FOLDER] [bench_latency …]`` writes `bench.json` and
`bench.md` to the folder (`build/bench`). An otherwise idle machine is meant.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import table

HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run them; 1 where one of them failed, which stops no other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sorted(path.stem for path in HERE.glob("bench_*.py"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    figures, failed = [], []
    for name in options.names or known:
        start = time.monotonic()
        print(f"== {name}, load {os.getloadavg()[0]:.1f}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "figures.json"
            command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", str(file)]
            if subprocess.run(command, check=False).returncode or not file.exists():
                failed.append(name)
                continue
            figures += table.load(file)
        print(f"== {time.monotonic() - start:.0f} s", flush=True)
    table.save(figures, options.out / "bench.json")
    text = "\n".join([table.HEAD, *map(table.line, figures)]) + "\n"
    (options.out / "bench.md").write_text(text)
    print(f"\n{text}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
