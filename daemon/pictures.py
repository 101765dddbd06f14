"""Pictures of a study's findings: which frames are shown, and what is drawn on each.

Frames come decoded: the service draws, only the analysing process runs decoders.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from PIL.Image import Image as Picture

from daemon.analysis import Analysis, Frame
from daemon.overlay import Outline, draw
from dicom_io.findings import ImageRead, NodeFinding, NodeView, StudyFindings

_SIDES = {"R": "Right side", "L": "Left side", None: "Side unknown"}
Place = tuple[str, int]  # SOP Instance UID, 1-based frame number


def key_frames(nodes: Sequence[NodeFinding]) -> tuple[Place, ...]:
    """Return the frames on which nodes were measured, each once, in the nodes' order."""
    views = (node.views[node.key_view] for node in nodes)
    return tuple(dict.fromkeys((view.sop_instance_uid, view.frame_number) for view in views))


def to_send(analysis: Analysis, wanted: str) -> tuple[Place, ...]:
    """Return the frames of the pictures for a PACS; `wanted` as `daemon.fallback.wanted` says.

    Where no node was found the first image is shown: a viewer without SEG and SR then shows at
    least that the study was read.
    """
    if wanted == "never":
        return ()
    first = analysis.images[:1] if wanted == "always" else ()
    return key_frames(analysis.nodes) or tuple(_middle(image) for image in first)


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
    here = [node for node in nodes if _views(node, frame.frame_number)]
    outlines = [outline for node in here for outline in _outlines(node, frame.frame_number)]
    footer = _footer(findings, image, frame.frame_number, len(here), len(nodes))
    return draw(frame.pixels, outlines, footer)


def _views(node: NodeFinding, frame_number: int) -> list[NodeView]:
    return [view for view in node.views if view.frame_number == frame_number]


def _outlines(node: NodeFinding, frame_number: int) -> list[Outline]:
    """Return the parts of a node on a frame, the first with its caption."""
    captions = [_caption(node, frame_number)]
    return [
        Outline(view.contour, node.number, captions.pop() if captions else "")
        for view in _views(node, frame_number)
    ]


def _caption(node: NodeFinding, frame_number: int) -> str:
    """Return label and score, and the size on the frame where it was measured."""
    words = [node.label]
    if node.views[node.key_view].frame_number == frame_number:
        size = node.measurements
        unit = "mm" if size.calibrated else "px"
        words.append(f"{size.long_axis:.1f} x {size.short_axis:.1f} {unit}")
    return "  ".join([*words, f"{node.score:.2f}"])


def _footer(findings: StudyFindings, image: ImageRead, shown: int, here: int, nodes: int) -> str:
    kind = (
        "DEMONSTRATION bundle, not for clinical use. "
        if findings.algorithm.demonstration
        else "Research use only, not for diagnosis. "
    )
    cine = max(image.frame_numbers) > 1
    which = f", frame {shown}" if cine else ""
    found = f"{here} lymph node{'s' * (here != 1)} segmented" if here else "none segmented"
    if nodes > here:
        found += f", {nodes} on the whole cine"
    words = f"{kind}{_SIDES[image.laterality]}{which}: {found}."
    if not nodes:
        return f"{words} This is no negative finding."
    return (
        f"{words} Number after a node's name: AI score for metastasis, 0 to 1 "
        f"(threshold {findings.operating_point.threshold:.2f})."
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
