"""Pictures in place of a SEG, with archives that refuse SEG or whose viewer draws none."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

import sample_dicoms
from tests.node import Node, destination
from tests.peers import StoreScp
from tests.validity import errors, read

pytestmark = pytest.mark.integration

CINE = Path(sample_dicoms.__file__).parent / "2-suspicious-cine-1.dcm"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
GRAPHICS = "1.2.840.10008.5.1.4.1.1.11.2"  # Color Softcopy Presentation State


def classes(headers: list[Dataset]) -> list[str]:
    return sorted({str(ds.SOPClassUID) for ds in headers})


def test_an_archive_that_refuses_seg_gets_pictures_and_no_other_does(tmp_path: Path) -> None:
    study = str(read(CINE).StudyInstanceUID)
    with (
        StoreScp(tmp_path / "modern" / "in") as modern,
        StoreScp(tmp_path / "old" / "in", only=(SR, CAPTURE, GRAPHICS)) as old,
        StoreScp(tmp_path / "blind" / "in") as blind,
        Node(
            tmp_path / "node",
            destinations=[
                destination("modern", "STORESCP", modern.port),
                destination("old", "STORESCP", old.port),
                {**destination("blind", "STORESCP", blind.port), "draws_seg": False},
            ],
            results={"presentation_state": "auto"},
        ) as node,
    ):
        node.push([CINE])
        state = node.settle([study])[study]
        stored = {
            name: [read(path) for path in scp.files()]
            for name, scp in (("modern", modern), ("old", old), ("blind", blind))
        }
        assert [line for path in old.files() for line in errors(path)] == []
    assert state["state"] == "delivered"
    assert "pictures in place of what was refused" in state["reason"]
    assert classes(stored["modern"]) == sorted([SEG, SR])
    assert classes(stored["old"]) == sorted([CAPTURE, SR, GRAPHICS])
    assert classes(stored["blind"]) == sorted([SEG, CAPTURE, SR, GRAPHICS])
    (picture,) = (ds for ds in stored["old"] if ds.SOPClassUID == CAPTURE)
    assert picture.StudyInstanceUID == study
    assert picture.Rows > read(CINE).Rows  # the footer stands below the image
