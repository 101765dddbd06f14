"""Which frames become pictures, and what stands on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon import pictures
from daemon.analysis import Analysis, Frame
from dicom_io.findings import ImageRead, NodeFinding, StudyFindings
from dicom_io.node_colour import rgb
from tests.builders_objects import SourceSpec, findings, node, source, view

STILL = source("1.2", SourceSpec(rows=200, columns=300))
CINE = source("1.2", SourceSpec(number=2, frames=9, rows=200, columns=300))
EMPTY = source("1.2", SourceSpec(number=3, rows=200, columns=300))
IMAGES = (
    ImageRead(str(STILL.SOPInstanceUID), (1,), None),
    ImageRead(str(CINE.SOPInstanceUID), (1, 3, 5, 7, 9), None),
    ImageRead(str(EMPTY.SOPInstanceUID), (1,), None),
)
NODES = (
    node(1, view(STILL)),
    node(2, view(STILL)),
    node(3, *(view(CINE, n, size=60) for n in (1, 3, 5))),  # measured on its second view
)


def analysis(*nodes: NodeFinding) -> Analysis:
    return Analysis(IMAGES, nodes, ())


def places(*numbers: tuple[int, int]) -> tuple[tuple[str, int], ...]:
    return tuple((IMAGES[image].sop_instance_uid, frame) for image, frame in numbers)


def test_each_frame_that_was_measured_is_sent_once() -> None:
    assert pictures.to_send(analysis(*NODES), "with_nodes") == places((0, 1), (1, 3))


def test_where_no_node_was_found_the_first_image_is_sent() -> None:
    """A viewer without SR and SEG must not be silent about a study that was read."""
    assert pictures.to_send(analysis(), "always") == places((0, 1))
    assert pictures.to_send(Analysis(IMAGES[1:], (), ()), "always") == places((1, 5))


def test_pictures_are_sent_only_where_they_are_wanted() -> None:
    assert pictures.to_send(analysis(), "with_nodes") == ()
    assert pictures.to_send(analysis(*NODES), "never") == ()


def test_what_was_not_read_has_no_picture() -> None:
    assert pictures.to_send(Analysis((), (), ()), "always") == ()


def test_every_image_has_a_picture_to_save() -> None:
    assert pictures.to_save(analysis(*NODES)) == places((0, 1), (1, 3), (2, 1))
    assert pictures.to_save(analysis()) == places((0, 1), (1, 5), (2, 1))


def drawn(found: StudyFindings, frame_number: int) -> NDArray[np.uint8]:
    frame = Frame(IMAGES[1].sop_instance_uid, frame_number, np.full((200, 300, 3), 60, np.uint8))
    return np.asarray(pictures.picture(found, frame))


def coloured(picture: NDArray[np.uint8], number: int) -> bool:
    return bool(np.all(picture == rgb(number), axis=2).any())


def test_a_node_is_drawn_on_its_frames_only() -> None:
    found = replace(findings([STILL, CINE], NODES), images=IMAGES)
    assert coloured(drawn(found, 3), 3)
    assert not coloured(drawn(found, 9), 3)
    assert not coloured(drawn(found, 3), 1)  # that node is on another image


def words(found: StudyFindings, frame_number: int) -> bytes:
    """Return a picture's caption and contour, without what stands below the image."""
    return drawn(found, frame_number)[:200].tobytes()


def test_a_size_stands_only_where_it_was_measured() -> None:
    """On another frame the node has another size, which nobody measured."""
    found = replace(findings([STILL, CINE], NODES), images=IMAGES)
    sizes = replace(NODES[2].measurements, long_axis=99.9)
    other = replace(found, nodes=(*NODES[:2], replace(NODES[2], measurements=sizes)))
    assert words(found, 3) != words(other, 3)
    assert words(found, 1) == words(other, 1)


def test_the_footer_counts_the_nodes_of_the_frame() -> None:
    """A second node elsewhere in the cine is said to be there, and not counted here."""
    more = node(4, view(CINE, 9, size=60))
    one = replace(findings([STILL, CINE], NODES), images=IMAGES)
    two = replace(findings([STILL, CINE], [*NODES, more]), images=IMAGES)
    assert pictures._footer(one, IMAGES[1], 3, 1, 1).startswith(
        "Research use only, not for diagnosis. Side unknown, frame 3: 1 lymph node segmented. "
    )
    assert ", 2 on the whole cine." in pictures._footer(two, IMAGES[1], 3, 1, 2)
    assert drawn(one, 3)[200:].tobytes() != drawn(two, 3)[200:].tobytes()


def test_the_footer_says_whose_word_it_is() -> None:
    """A demonstration, a research bundle and a study without nodes differ below the picture."""
    feet = []
    for nodes, demonstration in ((NODES, True), (NODES, False), ((), False)):
        found = findings([STILL, CINE], nodes, demonstration=demonstration)
        picture = drawn(replace(found, images=IMAGES), 3)
        assert (picture[:150, :150].shape, picture.shape[0] > 200) == ((150, 150, 3), True)
        feet.append(picture[200:].tobytes())
    assert len(set(feet)) == 3


def test_files_are_numbered(tmp_path: Path) -> None:
    found = replace(findings([STILL, CINE], NODES), images=IMAGES)
    frames = [Frame(IMAGES[0].sop_instance_uid, 1, np.zeros((200, 300, 3), np.uint8))] * 2
    written = pictures.save(found, frames, tmp_path / "out")
    assert [path.name for path in written] == ["image-01.png", "image-02.png"]
    assert all(path.stat().st_size for path in written)
