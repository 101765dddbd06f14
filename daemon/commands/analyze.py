"""``axnode analyze``: files in, SEG and SR files, pictures and JSON out; no service."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from daemon.errors import InputError, UnavailableError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="DICOM files or folders"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results")
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="model bundle (default: shipped)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def run(arguments: argparse.Namespace) -> int:
    """Analyse; 0 if every file was read, 1 if some were left out."""
    from daemon.files import gather

    gathered = gather(arguments.paths)
    for path, reason in gathered.refused:
        print(f"left out: {path}: {reason}", file=sys.stderr)
    _make_folder(arguments.out)

    from daemon.standalone import Standalone

    program = Standalone(arguments.bundle, arguments.device)
    studies: list[dict[str, Any]] = []
    for number, (study_uid, inputs) in enumerate(sorted(gathered.studies.items()), 1):
        name = f"study-{number:02d}"
        try:
            result = program.analyse(study_uid, inputs, arguments.out / name)
        except OSError as error:
            raise UnavailableError(f"{name}: {error.strerror}: {error.filename}") from error
        studies.append(result)
        print(f"{name}: {_words(result)}")
    report = {
        "studies": studies,
        "left_out": [{"file": str(path), "reason": reason} for path, reason in gathered.refused],
    }
    target = arguments.out / "result.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"results in {arguments.out}; overview in {target}")
    incomplete = gathered.refused or any(study["exclusions"] for study in studies)
    return 1 if incomplete else 0


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out} ({error.strerror}): choose another --out") from error


def _words(result: dict[str, Any]) -> str:
    left_out = [
        f"{'frame ' + str(e['frame_number']) if e['frame_number'] else 'an image'}: {e['words']}"
        for e in result["exclusions"]
    ]
    if result["not_evaluable"]:
        return "not evaluable: " + "; ".join(left_out or ["no image"])
    parts = [
        f"{len(result['images'])} images, {len(result['nodes'])} lymph nodes segmented",
        *(
            f"{side['laterality'] or 'side unknown'}: score {side['score']:.2f}"
            for side in result["sides"]
            if side["score"] is not None
        ),
        *(f"left out {words}" for words in left_out),
    ]
    return "; ".join(parts)
