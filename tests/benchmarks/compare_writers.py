"""Result objects of this node beside those of other projects' writers: same inputs, same masks.

Prints docs/comparison.md's tables: what is written, dciodvfy's errors, masks that read back, and
what the objects refer to. The peers live in an environment of their own:

    python -m venv VENV
    VENV/bin/pip install monai-deploy-app-sdk==4.0.0 monai highdicom SimpleITK
    VENV/bin/pip install dicom-ai-router==0.3.0 python-gdcm
    python -m tests.benchmarks.compare_writers --peers VENV [--data DIR] [--keep DIR]
"""

import argparse
import copy
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from daemon.analysis import Frame
from daemon.build import build_objects
from daemon.config_results import Results
from daemon.pictures import key_frames
from dicom_io.frames import Image
from dicom_io.sr_items import content_items
from tests.benchmarks.compare_inputs import Case, Masks, cases
from tests.builders_objects import NOW, uid
from tests.validity import errors, referenced_instances

KINDS = {"SEG": "seg", "Report": "report", "Picture": "picture"}
ROLES = {"seg": "seg", "sr": "report", "sc": "picture", "pr": "picture"}
PEERS = {"monai": "MONAI Deploy App SDK", "router": "dicom-ai-router"}
_NONE: dict[str, Any] = {"files": [], "raised": ""}


def ours(case: Case, out: Path) -> dict[str, Any]:
    """Write what the node sends, its pictures included."""
    inputs = [(str(ds.SOPInstanceUID), p) for ds, p in zip(case.images, case.paths, strict=True)]
    places = key_frames(case.found.nodes) or ((inputs[0][0], 1),)
    frames = [Frame(u, n, Image.open(dict(inputs)[u]).frame(n - 1)) for u, n in places]
    settings = Results(secondary_capture="on", presentation_state="on")
    said: dict[str, Any] = {kind: copy.deepcopy(_NONE) for kind in KINDS.values()}
    for built in build_objects(case.found, case.paths, frames, settings, uid, NOW):
        path = out / f"{built.role}{built.ordinal}.dcm"
        path.write_bytes(built.data)
        said[ROLES[built.role]]["files"].append(str(path))
    return said


def peer(which: str, venv: Path, case: Case, out: Path) -> dict[str, Any]:
    """Let a peer write in its own environment."""
    script = Path(__file__).with_name("peer_writers.py")
    command = [venv / "bin" / "python", "-W", "ignore", script, which, case.folder, out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"{which} could not be run at all:\n{done.stderr[-2000:]}")
    said: dict[str, Any] = json.loads((out / "said.json").read_text())
    return said


def cell(case: Case, kind: str, said: Mapping[str, Any]) -> str:
    """Return what one writer did of one kind on one input."""
    if kind not in said:
        return "has no such writer"
    files = [Path(path) for path in said[kind]["files"]]
    raised = [f"raises `{_short(said[kind]['raised'])}`"] if said[kind]["raised"] else []
    if not files:
        return raised[0] if raised else "writes none"
    sets = [pydicom.dcmread(path) for path in files]
    wrong = sum(len(errors(path)) for path in files)
    judged = f"**{wrong} error{'s' * (wrong > 1)}**" if wrong else "valid"
    return "; ".join([f"{_classes(sets)}: {judged}", *_contents(case, kind, sets), *raised])


def _short(message: str) -> str:
    first = message.splitlines()[0].replace("|", "\\|")  # a bar would end the table's cell
    return first if len(first) <= 110 else first[:107] + "..."


def _classes(sets: list[Dataset]) -> str:
    names = [str(ds.SOPClassUID.name).removesuffix(" Storage") for ds in sets]
    return ", ".join(
        f"{names.count(name)} × {name}" if names.count(name) > 1 else name
        for name in dict.fromkeys(names)
    )


def _contents(case: Case, kind: str, sets: list[Dataset]) -> Iterator[str]:
    images = {str(ds.SOPInstanceUID) for ds in case.images}
    if kind == "seg":
        yield _masks(case.masks, sets)
    named = {u for ds in sets for u in referenced_instances(ds) if u in images}
    yield f"refers to {len(named)} of {len(images)} images"
    if kind == "report":
        (ds,) = sets
        items = list(content_items(ds))
        contours = sum(item.get("GraphicType") == "POLYLINE" for item in items)
        known = {n.tracking_uid for n in case.found.nodes}
        tracked = {str(item.get("UID", "")) for item in items} & known
        numbers = sum(item.ValueType == "NUM" for item in items)
        yield f"contours {contours}, tracked nodes {len(tracked)}, coded numbers {numbers}"


def _masks(expected: Masks, sets: list[Dataset]) -> str:
    """Return how many masks lie, to the pixel, on the frame that they were found on."""
    stored: list[tuple[str, int, NDArray[np.bool_]]] = []
    for ds in sets:
        planes = ds.pixel_array.astype(bool).reshape(-1, ds.Rows, ds.Columns)
        for group, plane in zip(ds.PerFrameFunctionalGroupsSequence, planes, strict=True):
            for derivation in group.get("DerivationImageSequence", ()):
                for image in derivation.SourceImageSequence:
                    number = int(image.get("ReferencedFrameNumber", 1))
                    stored.append((str(image.ReferencedSOPInstanceUID), number, plane))
    if not expected:
        return "drawn on" if any(plane.any() for *_, plane in stored) else "empty"
    exact = sum(
        any((u, n) == key[:2] and np.array_equal(p, plane) for u, n, p in stored)
        for key, plane in expected.items()
    )
    return f"{exact} of {len(expected)} masks exact"


def compare(folder: Path, venv: Path, data: Path | None) -> str:
    """Return the tables, one per kind of object, and what dicom-ai-router's pipeline did."""
    studies = cases(folder, data)
    said: dict[str, list[dict[str, Any]]] = {"this node": [], **{p: [] for p in PEERS.values()}}
    for case in studies:
        for name, results in said.items():
            out = case.folder / name.replace(" ", "-")
            out.mkdir()
            which = {title: key for key, title in PEERS.items()}.get(name)
            results.append(peer(which, venv, case, out) if which else ours(case, out))
    return "\n".join([*_tables(studies, said), *_footer(said), *_verdicts(said)])


def _tables(studies: list[Case], said: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    for title, kind in KINDS.items():
        yield f"\n## {title}\n\n| Input | " + " | ".join(said) + " |\n|" + "---|" * (len(said) + 1)
        for n, case in enumerate(studies):
            cells = [cell(case, kind, results[n]) for results in said.values()]
            yield f"| {n + 1}. {case.title} | " + " | ".join(cells) + " |"


def _footer(said: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield "\n## Beside the tables\n"
    for name, results in said.items():
        if versions := results[0].get("versions"):
            yield f"- {name}: " + ", ".join(f"{k} {v}" for k, v in versions.items())
    states = [results.get("pipeline", "") for results in said[PEERS["router"]]]
    yield "- dicom-ai-router's pipeline on the inputs: " + "; ".join(
        f"{n}: {state}" for n, state in enumerate(states, 1)
    )


def _verdicts(said: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield each different error of dciodvfy, and how often it was said."""
    for name, results in said.items():
        files = [
            Path(f) for r in results for kind in KINDS.values() for f in r.get(kind, _NONE)["files"]
        ]
        counted = Counter(line for path in files for line in errors(path))
        yield f"- {name}: {len(files)} objects; " + (
            "; ".join(f"{n} × `{line}`" for line, n in counted.items()) or "no error"
        )


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers", type=Path, required=True, help="environment of the peers")
    parser.add_argument("--data", type=Path, default=os.environ.get("AXNODE_TEST_DATA"))
    parser.add_argument("--keep", type=Path, help="new folder for the objects")
    chosen = parser.parse_args()
    data = Path(chosen.data) if chosen.data else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch) / "comparison"
        folder.mkdir(parents=True)
        tables = compare(folder, chosen.peers.absolute(), data)
    print(tables)


if __name__ == "__main__":
    main()
