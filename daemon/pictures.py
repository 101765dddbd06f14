"""Overlay pictures of a study's findings, one a source image."""

from collections.abc import Mapping
from pathlib import Path

from daemon.overlay import Outline, draw
from dicom_io.findings import NodeFinding, StudyFindings
from dicom_io.frames import Image

_SIDES = {"R": "right", "L": "left", None: "side unknown"}


def save(findings: StudyFindings, sources: Mapping[str, Path], out: Path) -> list[Path]:
    """Write a PNG of every image that was read: of a cine, the frame that shows most.

    Parameters
    ----------
    sources
        File of each source image, by SOP Instance UID.
    out
        Folder for the pictures; file names are numbers, never identifiers.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, image in enumerate(findings.images, 1):
        nodes = [
            node
            for node in findings.nodes
            if node.views[0].sop_instance_uid == image.sop_instance_uid
        ]
        shown = _frame_to_show(nodes) or image.frame_numbers[len(image.frame_numbers) // 2]
        source = Image.open(sources[image.sop_instance_uid])
        picture = draw(
            source.frame(shown - 1),
            [outline for node in nodes for outline in _outlines(node, shown)],
            _footer(findings, image.laterality, shown, source.frame_count, len(nodes)),
        )
        path = out / f"image-{number:02d}.png"
        picture.save(path)
        written.append(path)
    return written


def _frame_to_show(nodes: list[NodeFinding]) -> int | None:
    if not nodes:
        return None
    largest = max(nodes, key=lambda node: node.measurements.area)
    return largest.views[largest.key_view].frame_number


def _outlines(node: NodeFinding, frame_number: int) -> list[Outline]:
    size = node.measurements
    unit = "mm" if size.calibrated else "px"
    caption = f"{node.label}  {size.long_axis:.1f} x {size.short_axis:.1f} {unit}  {node.score:.2f}"
    return [
        Outline(view.contour, node.number, caption)
        for view in node.views
        if view.frame_number == frame_number
    ]


def _footer(
    findings: StudyFindings, laterality: str | None, shown: int, frames: int, nodes: int
) -> str:
    kind = (
        "DEMONSTRATION bundle, not for clinical use. " if findings.algorithm.demonstration else ""
    )
    which = f", frame {shown} of {frames}" if frames > 1 else ""
    found = f"{nodes} lymph node{'s' * (nodes != 1)} segmented" if nodes else "none segmented"
    return (
        f"{kind}{_SIDES[laterality]}{which}: {found}. "
        f"Number beside a node: AI score 0..1; operating point {findings.operating_point.name} "
        f"= {findings.operating_point.threshold:.2f}."
    )
