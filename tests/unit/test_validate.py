"""Our own check before an object is stored: each promise broken once, and noticed."""

import io
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_io import context, results, validate
from dicom_io.capture import capture
from dicom_io.errors import ObjectError
from tests.builders_objects import NOW, SourceSpec, findings, node, study, uid, view


def _flip_a_pixel(ds: Dataset) -> None:
    ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]


def _wrong_frame(ds: Dataset) -> None:
    group = ds.PerFrameFunctionalGroupsSequence[0]
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = 3


def _missing_frame(ds: Dataset) -> None:
    group = ds.PerFrameFunctionalGroupsSequence[0]
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = 9


def _foreign_image(ds: Dataset) -> None:
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = "1.2"


def _other_class(ds: Dataset) -> None:
    item = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def _other_patient(ds: Dataset) -> None:
    ds.PatientID = "AX-2"


def _other_character_set(ds: Dataset) -> None:
    ds.SpecificCharacterSet = "ISO_IR 100"


def _other_manufacturer(ds: Dataset) -> None:
    ds.Manufacturer = "AXNODE"


def _no_serial(ds: Dataset) -> None:
    ds.DeviceSerialNumber = ""


def _other_study(ds: Dataset) -> None:
    ds.StudyInstanceUID = "1.2.3"


def _no_uid(ds: Dataset) -> None:
    ds.SeriesInstanceUID = "1.02"


def _other_tracking(ds: Dataset) -> None:
    ds.SegmentSequence[0].TrackingUID = "1.2.3"


def _frame_never_read(ds: Dataset) -> None:
    """Add an empty frame that refers to a frame which the model did not see."""
    more = deepcopy(ds.PerFrameFunctionalGroupsSequence[0])
    more.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = 3
    ds.PerFrameFunctionalGroupsSequence.append(more)
    ds.NumberOfFrames = 2
    ds.PixelData += bytes(ds.Rows * ds.Columns // 8)


def _lost_frame(ds: Dataset) -> None:
    ds.PerFrameFunctionalGroupsSequence = []
    ds.NumberOfFrames = 0


def _no_demonstration(ds: Dataset) -> None:
    ds.SeriesDescription = "AxNode lymph nodes SEG"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip_a_pixel, "not the mask that was found"),
        (_wrong_frame, "not the mask that was found"),
        (_missing_frame, "frame that does not exist"),
        (_foreign_image, "not among its sources"),
        (_other_class, "not among its sources"),
        (_other_patient, "byte for byte"),
        (_other_character_set, "character set"),
        (_other_manufacturer, "Manufacturer"),
        (_no_serial, "DeviceSerialNumber"),
        (_other_study, "outside its study"),
        (_no_uid, "SeriesInstanceUID"),
        (_other_tracking, "not the nodes found"),
        (_frame_never_read, "not read"),
        (_lost_frame, "lacks a mask"),
        (_no_demonstration, "must say DEMONSTRATION"),
    ],
)
def test_a_damaged_seg_is_refused(
    tmp_path: Path, damage: Callable[[Dataset], None], message: str
) -> None:
    sets, paths = study(tmp_path, SourceSpec(frames=4))
    found = findings(sets, [node(1, view(sets[0], 2))], demonstration=True)
    found = replace(found, images=(replace(found.images[0], frame_numbers=(1, 2)),))
    sources = [context.read_source(path) for path in paths]
    (built,) = results.build(found, paths, results.ResultSettings(sr=False), uid, NOW)
    validate.check(built.data, found, sources)
    ds = pydicom.dcmread(io.BytesIO(built.data))
    damage(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    with pytest.raises(ObjectError, match=message):
        validate.check(buffer.getvalue(), found, sources)


def test_a_report_without_a_node_is_refused(tmp_path: Path) -> None:
    """What was found and is not in the report is a lost finding."""
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets, [node(1, view(sets[0]))])
    sources = [context.read_source(path) for path in paths]
    (built,) = results.build(found, paths, results.ResultSettings(seg=False), uid, NOW)
    more = replace(found, nodes=(*found.nodes, node(2, view(sets[0]))))
    with pytest.raises(ObjectError, match="lacks a node"):
        validate.check(built.data, more, sources)


@pytest.mark.parametrize("damage", [{"Rows": 5}, {"BitsAllocated": 16}, {"PixelData": bytes(46)}])
def test_a_picture_without_its_pixels_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    found = findings(sets)
    built = capture(found, paths[0], 1, np.zeros((4, 4, 3), np.uint8), uid, 0, NOW)
    ds = pydicom.dcmread(io.BytesIO(built.data))
    for keyword, value in damage.items():
        setattr(ds, keyword, value)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    with pytest.raises(ObjectError, match="has not the pixels"):
        validate.check(buffer.getvalue(), found, [context.read_source(paths[0])])


def test_messages_name_no_patient(tmp_path: Path) -> None:
    """An operator's log must not become a patient record."""
    sets, paths = study(tmp_path, SourceSpec())
    found = replace(findings(sets), study_instance_uid="1.2.3")
    with pytest.raises(ObjectError) as caught:
        results.build(found, paths, results.ResultSettings(), uid, NOW)
    assert str(sets[0].StudyInstanceUID) not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_no_source_no_result() -> None:
    ds = Dataset()
    ds.StudyInstanceUID, ds.SOPInstanceUID = "1.2.3", "1.2.4"
    with pytest.raises(ObjectError, match="at least one source"):
        results.build(findings([ds]), [], results.ResultSettings(), uid, NOW)
