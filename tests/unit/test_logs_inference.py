"""That nothing about a person gets out of the analysing process."""

import json
import resource
import subprocess
import sys
from pathlib import Path

from tests.builders_net import bundle as tiny_bundle
from tests.canaries import canary_files, traces


def test_no_canary_leaves_the_analysing_process(tmp_path: Path) -> None:
    """The real process, the real decoders and a real if tiny network; row 13 of the hazards."""
    bundle = tiny_bundle(tmp_path / "bundle")
    paths = canary_files(tmp_path / "in")
    studies = [
        {
            "inputs": [[f"1.2.3.{n}", str(path)] for n, path in enumerate(chosen)],
            "masks": str(tmp_path / "masks.npz"),
            "cine_frames": 3,
            "tracking_root": "root",
            "pictures": "always",
        }
        for chosen in (paths, paths[1:], [])
    ]
    requests = [{"bundle": bundle.digest, "studies": [study]} for study in studies]
    options = {
        "bundles": [str(bundle.path)],
        "device": "cpu",
        "memory_bytes": resource.RLIM_INFINITY,
    }
    done = subprocess.run(
        [sys.executable, "-m", "daemon.inference", json.dumps(options)],
        input="".join(json.dumps(request) + "\n" for request in requests) + '{"broken": 1}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(text) for text in done.stdout.splitlines()]
    assert sum("answer" in message for message in said) == 3
    assert sum("error" in message for message in said) == 1
    assert traces(done.stdout + done.stderr) == []
