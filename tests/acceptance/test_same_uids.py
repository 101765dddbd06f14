"""The real files under their own UIDs: 14 share five SOP Instance UIDs (hazards: row 20)."""

from pathlib import Path

import pytest

from tests.node import Node
from tests.validity import read

pytestmark = pytest.mark.acceptance

SUCCESS, DUPLICATE = 0x0000, 0x0111

# In the order they are pushed. The first of each UID counts; what comes after it is the same
# image in another transfer syntax (success, nothing happens) or something else (0x0111).
SHARED_UIDS = (
    ("acme_US-PAL-8-10x-echo_rle.dcm", SUCCESS),
    ("acme_palette_jpegls_10f.dcm", SUCCESS),  # the ten frames in JPEG-LS
    ("acme_color-pl_retiredUS.dcm", SUCCESS),
    ("acme_color-px_retiredUS.dcm", DUPLICATE),  # other bytes in the same syntax
    ("aloka_implLE_segpalette16.dcm", SUCCESS),
    ("aloka_BE_segpalette16.dcm", SUCCESS),  # the same in big endian
    ("nema_US1_J2KI.dcm", SUCCESS),
    ("nema_US1_UNCI.dcm", SUCCESS),  # decoded from the former
    ("philips_cx50_OBXXXX1A_explLE.dcm", SUCCESS),
    ("philips_cx50_OBXXXX1A_explBE.dcm", SUCCESS),
    ("philips_cx50_OBXXXX1A_rle.dcm", SUCCESS),
    ("philips_cx50_OBXXXX1A_2frame.dcm", DUPLICATE),  # a second frame
    ("philips_cx50_OBXXXX1A_rle_2frame.dcm", DUPLICATE),
    ("pydicom_examples_palette.dcm", DUPLICATE),  # cropped
)


def test_first_of_each_uid_counts(us_dicom: Path, tmp_path: Path) -> None:
    """Pushed twice: the same statuses, one instance a UID, every study at version 1."""
    paths = [us_dicom / name for name, _ in SHARED_UIDS]
    studies = {str(read(path).StudyInstanceUID) for path in paths}
    uids = {str(read(path).SOPInstanceUID) for path in paths}
    assert len(uids) == 5
    with Node(tmp_path, sources=[{"ae_title": "US1", "assume_axilla": True}]) as node:
        first = [node.push([path], "US1")[0].status for path in paths]
        node.settle(studies)
        again = [node.push([path], "US1")[0].status for path in paths]
        after = node.settle(studies)
        conflicts = node.events("conflict")
    assert [status for _, status in SHARED_UIDS] == first
    assert first == again
    assert {uid: 1 for uid in studies} == {uid: study["version"] for uid, study in after.items()}
    assert len(uids) == sum(study["instances"] for study in after.values())
    assert 2 * first.count(DUPLICATE) == len(conflicts)


def test_study_of_two_patients_is_parked(us_dicom: Path, tmp_path: Path) -> None:
    """Two real files of one study name different patients."""
    paths = [us_dicom / f"philips_breast_greyscale_{kind}.dcm" for kind in ("image", "cine27")]
    study = str(read(paths[0]).StudyInstanceUID)
    with Node(tmp_path, study={"quiet_period_s": 3.0}) as node:
        assert [result.status for result in node.push(paths)] == [SUCCESS, SUCCESS]
        state = node.settle([study])[study]
    assert state["state"] == "parked"
    assert "different patients" in state["reason"]
    assert state["version"] == 0
