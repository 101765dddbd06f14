"""Pictures of a study's findings: which frames are shown, and what is drawn on each.

Frames come decoded: the service draws, only the analysing process runs decoders.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from PIL.Image import Image as Picture

from daemon.analysis import Analysis, Frame
from daemon.overlay import Outline, draw
from dicom_io.findings import ImageRead, NodeFinding, StudyFindings

_SIDES = {"R": "Right side", "L": "Left side", None: "Side unknown"}
Place = tuple[str, int]  # SOP Instance UID, 1-based frame number


def key_frames(nodes: Sequence[NodeFinding]) -> tuple[Place, ...]:
    """Return the frames on which nodes were measured, each once, in the nodes' order."""
    views = (node.views[node.key_view] for node in nodes)
    return tuple(dict.fromkeys((view.sop_instance_uid, view.frame_number) for view in views))


def to_send(analysis: Analysis) -> tuple[Place, ...]:
    """Return the frames of the pictures for a PACS: where no node was found, the first image.

    A viewer without SEG and SR then shows at least that the study was read.
    """
    return key_frames(analysis.nodes) or tuple(_middle(image) for image in analysis.images[:1])


def to_save(analysis: Analysis) -> tuple[Place, ...]:
    """Return the frames of the pictures for a folder: every image has one at least."""
    found = {
        uid: list(places)
        for uid, places in groupby(key_frames(analysis.nodes), key=lambda place: place[0])
    }
    return tuple(
        place
        for image in analysis.images
        for place in found.get(image.sop_instance_uid, [_middle(image)])
    )


def _middle(image: ImageRead) -> Place:
    return image.sop_instance_uid, image.frame_numbers[len(image.frame_numbers) // 2]


def picture(findings: StudyFindings, frame: Frame) -> Picture:
    """Return a frame with every node on it drawn, and a footer with what it says."""
    (image,) = (i for i in findings.images if i.sop_instance_uid == frame.sop_instance_uid)
    nodes = [n for n in findings.nodes if n.views[0].sop_instance_uid == frame.sop_instance_uid]
    outlines = [outline for node in nodes for outline in _outlines(node, frame.frame_number)]
    return draw(frame.pixels, outlines, _footer(findings, image, frame.frame_number, len(nodes)))


def _outlines(node: NodeFinding, frame_number: int) -> list[Outline]:
    size = node.measurements
    unit = "mm" if size.calibrated else "px"
    caption = f"{node.label}  {size.long_axis:.1f} x {size.short_axis:.1f} {unit}  {node.score:.2f}"
    return [
        Outline(view.contour, node.number, caption)
        for view in node.views
        if view.frame_number == frame_number
    ]


def _footer(findings: StudyFindings, image: ImageRead, shown: int, nodes: int) -> str:
    kind = (
        "DEMONSTRATION bundle, not for clinical use. "
        if findings.algorithm.demonstration
        else "Research use only, not for diagnosis. "
    )
    which = f", frame {shown}" if max(image.frame_numbers) > 1 else ""
    found = f"{nodes} lymph node{'s' * (nodes != 1)} segmented" if nodes else "none segmented"
    words = f"{kind}{_SIDES[image.laterality]}{which}: {found}."
    if not nodes:
        return f"{words} This is no negative finding."
    point = findings.operating_point
    return (
        f"{words} Number beside a node: AI score 0..1; operating point {point.name} "
        f"= {point.threshold:.2f}."
    )


def save(findings: StudyFindings, frames: Sequence[Frame], out: Path) -> list[Path]:
    """Write the pictures as PNG files below `out`; their names are numbers, never identifiers."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, frame in enumerate(frames, 1):
        path = out / f"image-{number:02d}.png"
        picture(findings, frame).save(path)
        written.append(path)
    return written
