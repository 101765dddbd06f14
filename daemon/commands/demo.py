"""``axnode demo``: the whole loop on synthetic studies, over loopback."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.demo import Sample

_COLUMNS = ("study", "frames", "nodes", "risk", "operating point", "objects", "state")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for pictures, reports and objects (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 1 if a study did not come to rest as it should."""
    import sample_dicoms
    from daemon import demo, logs
    from daemon.errors import InputError

    logs.configure(level=40)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {arguments.out} ({error.strerror}): choose another --out"
        ) from error
    studies, pictures = demo.run(arguments.out, Path(sample_dicoms.__file__).parent)
    print(_table([_COLUMNS, *(_row(study) for study in studies)]))
    print("\nrisk: AI score 0..1 of the DEMONSTRATION bundle on synthetic images; it means nothing")
    print("for a patient. Research use only.\n")
    for words, path in (
        ("overlay pictures", pictures[0].parent if pictures else arguments.out),
        ("reports (HTML, text)", arguments.out / "reports"),
        ("SEG and SR files", arguments.out / "pacs"),
    ):
        print(f"{words:21} {path}")
    stuck = [study for study in studies if study.state not in ("delivered", "not_evaluable")]
    return 1 if stuck else 0


def _row(study: "Sample") -> tuple[str, ...]:
    summary = study.summary
    frames = sum(image["frames"] for image in summary.get("images", []))
    risk = " ".join(
        f"{side['laterality'] or '?'} {side['score']:.2f}"
        for side in summary.get("sides", [])
        if side["score"] is not None
    )
    point = summary.get("operating_point")
    reason = f": {study.reason.partition(';')[0]}" if study.state == "not_evaluable" else ""
    return (
        study.name,
        str(frames),
        str(len(summary.get("nodes", []))),
        risk or "-",
        f"{point['name']} {point['threshold']:.2f}" if point else "-",
        str(study.objects),
        study.state + reason,
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
