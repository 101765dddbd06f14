"""Valid objects from odd studies: nothing evaluable, every script, every vendor's header."""

import io
import os
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_io import context, render, results
from dicom_io.capture import capture
from dicom_io.findings import Evaluation, Exclusion, Reason, SideFinding, StudyFindings
from tests.builders_objects import (
    NOW,
    SourceSpec,
    findings,
    node,
    raw,
    source,
    study,
    uid,
    view,
    write,
)
from tests.matrix import SHAPES
from tests.validity import errors

pytestmark = pytest.mark.integration

DATA = Path(os.environ.get("AXNODE_TEST_DATA", "/nonexistent")) / "us_dicom"
REAL = sorted(DATA.glob("*.dcm")) if DATA.is_dir() else []


def judge(folder: Path, built: list[results.BuiltObject]) -> None:
    for number, b in enumerate(built):
        path = folder / f"{b.role}{number}.out.dcm"
        path.write_bytes(b.data)
        assert errors(path) == []


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reason", [Reason.NO_B_MODE, Reason.UNSUPPORTED_SYNTAX])
def test_no_error_where_nothing_was_evaluable(tmp_path: Path, shape: str, reason: Reason) -> None:
    sets, paths = study(tmp_path, *SHAPES[shape])
    left_out = tuple(Exclusion(str(ds.SOPInstanceUID), None, reason) for ds in sets)
    found = replace(findings(sets), images=(), sides=(), exclusions=left_out, not_evaluable=reason)
    judge(tmp_path, results.build(found, paths, results.ResultSettings(), uid, NOW))


def test_no_error_in_a_full_report(tmp_path: Path) -> None:
    """Evaluation, frames left out, notes, a predecessor and a time zone, all at once."""
    ds = source(uid("full", 0), SourceSpec(frames=5))
    ds.TimezoneOffsetFromUTC = "+0530"
    path = write(ds, tmp_path / "in.dcm")
    found = findings([ds], [node(1, view(ds, 2), view(ds, 3))])
    before = ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.4", "1.2.3")
    found = replace(
        found,
        version=2,
        predecessors=(before,),  # type: ignore[arg-type]
        replaces=1,
        sides=(SideFinding("R", (1,), 0.61, Evaluation.INDETERMINATE),),
        exclusions=(Exclusion(str(ds.SOPInstanceUID), 5, Reason.COLOUR_OVERLAY),),
        images=(
            replace(found.images[0], notes=("colour overlay removed from 4 % of the tissue",)),
        ),
    )
    judge(tmp_path, results.build(found, [path], results.ResultSettings(), uid, NOW))


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (b"ISO_IR 100", "M\u00fcller^J\u00f6rg".encode("latin-1")),
        (b"ISO_IR 144", "\u041b\u044e\u043a\u0441^\u0418\u0432\u0430\u043d".encode("iso8859_5")),
        (b"GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c".encode("gb18030")),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    ],
    ids=["latin-1", "cyrillic", "chinese", "japanese"],
)
def test_no_error_in_any_script(tmp_path: Path, character_set: bytes, name: bytes) -> None:
    ds = source(uid("script", 0))
    del ds.SpecificCharacterSet
    raw(ds, "SpecificCharacterSet", character_set)
    raw(ds, "PatientName", name)
    path = write(ds, tmp_path / "in.dcm")
    found = findings([ds], [node(1, view(ds))])
    judge(tmp_path, results.build(found, [path], results.ResultSettings(), uid, NOW))


def with_new_uids(path: Path, folder: Path) -> Path:
    """Write a copy of a real header, without pixels."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    ds.remove_private_tags()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, uid(f"{path.stem}/{keyword}", 0))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if ds.file_meta.TransferSyntaxUID not in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # no pixels, so none compressed
    ds.save_as(folder / path.name)
    return folder / path.name


def real_findings(header: context.Source) -> StudyFindings:
    """Return a node on the first and last frame of a real image, if it has pixels to draw on."""
    ds = Dataset()
    ds.StudyInstanceUID, ds.SOPInstanceUID = header.study_instance_uid, header.sop_instance_uid
    ds.NumberOfFrames = header.frame_count
    frames = sorted({1, header.frame_count})
    views = [view(ds, frame, row=header.rows // 3, column=5, size=40) for frame in frames]
    return findings([ds], [node(1, *views, calibrated=False)], calibrated=False)


@pytest.mark.skipif(not REAL, reason="AXNODE_TEST_DATA names no folder with us_dicom")
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_no_error_on_real_headers(tmp_path: Path, path: Path) -> None:
    """Every vendor's header, with all its oddities, gives valid objects that read back.

    Only its UIDs are new: five files have some that are no UIDs, and results must repeat them.
    """
    path = with_new_uids(path, tmp_path)
    header = context.read_source(path)
    found = real_findings(header)

    built = results.build(found, [path], results.ResultSettings(), uid, NOW)

    picture = np.zeros((header.rows, header.columns, 3), dtype=np.uint8)
    judge(tmp_path, [*built, capture(found, path, header.frame_count, picture, uid, 0, NOW)])
    seg = pydicom.dcmread(io.BytesIO(built[0].data))
    stored = seg.pixel_array.astype(bool).reshape(-1, header.rows, header.columns)
    for plane, v in zip(stored, found.nodes[0].views, strict=True):
        height, width = v.mask.shape
        inside = plane[v.row : v.row + height, v.column : v.column + width]
        assert (inside == v.mask).all()
        assert plane.sum() == v.mask.sum()
    hd.sr.srread(io.BytesIO(built[1].data))
    assert "Node 1" in render.text(built[1].data)
    original = pydicom.dcmread(path, stop_before_pixels=True)
    written = pydicom.dcmread(io.BytesIO(built[1].data))
    for keyword in ("PatientID", "PatientName"):
        assert str(original.get(keyword) or "") == str(written.get(keyword) or "")
