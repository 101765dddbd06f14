"""DICOM Segmentation of the lymph nodes (PS3.3 A.51): binary, one segment per node.

Ultrasound has seldom a frame of reference, and highdicom 0.28 refuses several frames without one,
so the dataset is written here element by element.
"""

from collections.abc import Sequence
from enum import StrEnum
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_io import codes
from dicom_io.context import (
    MANUFACTURER,
    Source,
    Stamp,
    describe,
    is_lossy,
    plain,
    series_description,
    state_lossiness,
)
from dicom_io.findings import NodeFinding, NodeView, StudyFindings
from dicom_io.node_colour import cielab
from dicom_io.seg_frames import SegFrame, band_of, frames_of, functional_groups, pack, reference


class Geometry(StrEnum):
    """How much geometry a SEG of images without any states; what viewers need differs."""

    VIEWER = "viewer"  # orientation and spacing, no frame of reference: OHIF draws it
    STRICT = "strict"  # none: the letter of PS3.3 for images without a frame of reference
    VOLUME = "volume"  # an invented frame of reference and positions: for Slicer and dcmqi


SERIES_NUMBER = 9002  # of the first SEG; the report is 9001


def segmentation(
    findings: StudyFindings,
    nodes: Sequence[NodeFinding],
    sources: Sequence[Source],
    geometry: Geometry,
    uids: dict[str, str],
    when: Stamp,
    ordinal: int,
    *,
    empty_frames: bool = False,
) -> Dataset:
    """Return one SEG without its patient and study elements.

    Parameters
    ----------
    nodes
        At least one, all on `sources`.
    sources
        Images of one series, all of one size, all stills or all cines.
    uids
        `instance`, `series`, `dimensions` and `frame_of_reference`.
    empty_frames
        Keep the frames that were read and show nothing of a segment.
    """
    read = {image.sop_instance_uid: image.frame_numbers for image in findings.images}
    frames = frames_of(nodes, sources, read if empty_frames else None)
    ds = Dataset()
    described = {
        "SOPClassUID": SegmentationStorage,
        "SOPInstanceUID": uids["instance"],
        "StudyInstanceUID": findings.study_instance_uid,
        "SeriesInstanceUID": uids["series"],
    }
    describe(ds, findings, described, when, SERIES_NUMBER + ordinal)
    ds.Modality = "SEG"
    ds.SeriesDescription = series_description(findings, "lymph nodes SEG")
    used = _used(frames)
    _image(ds, sources[0], used)
    ds.SegmentSequence = [_segment(findings, n, node) for n, node in enumerate(nodes, 1)]
    ds.ReferencedSeriesSequence = [_referenced_series(used)]
    _dimensions(ds, uids["dimensions"])
    _geometry(ds, geometry, _spacing(findings, used), uids["frame_of_reference"])
    groups = functional_groups(frames, positions=geometry is Geometry.VOLUME)
    ds.PerFrameFunctionalGroupsSequence = list(groups)
    ds.NumberOfFrames = len(frames)
    ds.SegmentsOverlap = "YES" if _overlap(frames) else "NO"
    # a stream goes into the file as it is; bytes would be copied once more
    ds.PixelData = BytesIO(pack(map(band_of, frames), len(frames), ds.Rows * ds.Columns))
    ds["PixelData"].VR = "OB"
    return ds


def _used(frames: Sequence[SegFrame]) -> list[Source]:
    return list({frame.source.sop_instance_uid: frame.source for frame in frames}.values())


def _image(ds: Dataset, source: Source, used: Sequence[Source]) -> None:
    """General Image, Image Pixel and Segmentation Image (PS3.3 C.8.20.2)."""
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.PatientOrientation = ""  # type 2C: there is no frame of reference to tell it
    ds.Rows, ds.Columns = source.rows, source.columns
    ds.SamplesPerPixel = ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BurnedInAnnotation = "NO"
    ds.SegmentationType = "BINARY"
    ds.ContentLabel = "LYMPH_NODES"
    ds.ContentDescription = "Lymph nodes segmented by a model"
    ds.ContentCreatorName = ""
    lossy = [image.ds for image in used if is_lossy(image.ds)]
    state_lossiness(ds, lossy[0] if lossy else used[0].ds)


def _segment(findings: StudyFindings, number: int, node: NodeFinding) -> Dataset:
    """One item of SegmentSequence (PS3.3 C.8.20.4)."""
    ds = Dataset()
    ds.SegmentNumber = number
    ds.SegmentLabel = node.label
    ds.SegmentAlgorithmType = "AUTOMATIC"
    ds.SegmentAlgorithmName = plain(findings.algorithm.name)[:64]
    ds.SegmentationAlgorithmIdentificationSequence = [_algorithm(findings)]
    ds.SegmentedPropertyCategoryCodeSequence = [codes.ANATOMICAL_STRUCTURE.item()]
    ds.SegmentedPropertyTypeCodeSequence = [codes.LYMPH_NODE.item()]
    region = codes.AXILLA.item()
    if node.laterality:
        region.AnatomicRegionModifierSequence = [codes.SIDES[node.laterality].item()]
    ds.AnatomicRegionSequence = [region]
    ds.RecommendedDisplayCIELabValue = cielab(node.number)
    ds.TrackingID = node.label
    ds.TrackingUID = node.tracking_uid
    return ds


def _algorithm(findings: StudyFindings) -> Dataset:
    """Algorithm Identification Macro (PS3.3 10.16)."""
    ds = Dataset()
    ds.AlgorithmFamilyCodeSequence = [codes.ARTIFICIAL_INTELLIGENCE.item()]
    ds.AlgorithmName = plain(findings.algorithm.name)[:64]
    ds.AlgorithmVersion = plain(findings.algorithm.version)[:64]
    ds.AlgorithmParameters = "; ".join(algorithm_parameters(findings))
    ds.AlgorithmSource = MANUFACTURER
    return ds


def algorithm_parameters(findings: StudyFindings) -> tuple[str, ...]:
    """Return what identifies the model beyond name and version."""
    algorithm = findings.algorithm
    return (
        f"bundle_sha256={plain(algorithm.digest)}",
        f"architecture={plain(algorithm.architecture)}",
        f"demonstration={'yes' if algorithm.demonstration else 'no'}",
    )


def _referenced_series(used: Sequence[Source]) -> Dataset:
    """Return the Common Instance Reference (PS3.3 C.12.2): viewers find the images by it."""
    ds = Dataset()
    ds.SeriesInstanceUID = used[0].series_instance_uid
    ds.ReferencedInstanceSequence = [reference(source) for source in used]
    return ds


def _dimensions(ds: Dataset, organization_uid: str) -> None:
    """Multi-frame Dimension (PS3.3 C.7.6.17): segment, then place among the source frames."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    ds.DimensionOrganizationSequence = [organization]
    ds.DimensionIndexSequence = [
        _dimension(organization_uid, 0x0062000B, 0x0062000A, "Referenced Segment Number"),
        _dimension(organization_uid, 0x00209057, 0x00209111, "In-Stack Position Number"),
    ]


def _dimension(organization_uid: str, pointer: int, group: int, label: str) -> Dataset:
    ds = Dataset()
    ds.DimensionOrganizationUID = organization_uid
    ds.DimensionIndexPointer = pointer
    ds.FunctionalGroupPointer = group
    ds.DimensionDescriptionLabel = label
    return ds


def _spacing(findings: StudyFindings, used: Sequence[Source]) -> tuple[float, float] | None:
    """Return (row, column) millimetres where every image used has the same, else None."""
    known = {image.sop_instance_uid: image.calibration for image in findings.images}
    found = {known.get(source.sop_instance_uid) for source in used}
    only = found.pop() if len(found) == 1 else None
    return (only.row_mm, only.column_mm) if only else None


def _geometry(
    ds: Dataset, geometry: Geometry, spacing: tuple[float, float] | None, frame_of_reference: str
) -> None:
    """Shared functional groups; PS3.3 wants a frame of reference for what viewers want without."""
    shared = Dataset()
    ds.SharedFunctionalGroupsSequence = [shared]
    if geometry is Geometry.STRICT:
        return
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = [orientation]
    # Thickness means nothing on one plane, but OHIF's viewport crashes without the sequence
    measures.SliceThickness = "1"
    if geometry is Geometry.VOLUME:
        measures.SpacingBetweenSlices = "1"
        spacing = spacing or (1.0, 1.0)  # a volume cannot be without; no measurement comes from it
        ds.FrameOfReferenceUID = frame_of_reference
        ds.PositionReferenceIndicator = ""
    if spacing:
        measures.PixelSpacing = [f"{value:.8g}" for value in spacing]
    shared.PixelMeasuresSequence = [measures]


def _overlap(frames: Sequence[SegFrame]) -> bool:
    """Tell whether two segments share a pixel: each frame against those before it on its place."""
    before: dict[int, list[NodeView]] = {}
    for frame in frames:
        others = before.setdefault(frame.position, [])
        if any(_share(view, other) for view in frame.views for other in others):
            return True
        others += frame.views
    return False


def _share(a: NodeView, b: NodeView) -> bool:
    top, left = max(a.row, b.row), max(a.column, b.column)
    bottom = min(a.row + a.mask.shape[0], b.row + b.mask.shape[0])
    right = min(a.column + a.mask.shape[1], b.column + b.mask.shape[1])
    if bottom <= top or right <= left:
        return False
    part_a = a.mask[top - a.row : bottom - a.row, left - a.column : right - a.column]
    part_b = b.mask[top - b.row : bottom - b.row, left - b.column : right - b.column]
    return bool((part_a & part_b).any())
