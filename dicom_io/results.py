"""From the findings of a study to the result objects, as bytes that are stored and sent as is."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_io import context, part10, validate, verbatim
from dicom_io.context import Source, Stamp
from dicom_io.deflate import deflate
from dicom_io.errors import ObjectError
from dicom_io.findings import NodeFinding, StudyFindings
from dicom_io.seg import Geometry, segmentation
from dicom_io.sr import SrClass, report

UidMaker = Callable[[str, int], str]
SEG_SYNTAXES = {"none": ExplicitVRLittleEndian, "deflated": DeflatedExplicitVRLittleEndian}
"""Transfer syntax of a SEG by its compression: of one-bit pixels nothing better is read widely."""


@dataclass(frozen=True)
class ResultSettings:
    """Which objects a study gets, and in which form."""

    seg: bool = True
    sr: bool = True
    seg_geometry: str = Geometry.VIEWER.value  # "viewer", "strict" or "volume"
    seg_empty_frames: bool = False  # frames that were read and show no node are stored too
    seg_compression: str = "none"  # or "deflated"; both lossless
    sr_class: str = SrClass.COMPREHENSIVE.value  # "comprehensive" or "comprehensive_3d"

    def __post_init__(self) -> None:
        Geometry(self.seg_geometry)
        SrClass(self.sr_class)
        if self.seg_compression not in SEG_SYNTAXES:
            raise ValueError(f"{self.seg_compression!r} is no compression of a SEG")


@dataclass(frozen=True)
class BuiltObject:
    """One result object, built once: these bytes are what is stored and sent."""

    role: str  # "seg", "sr", "sc" or "pr"
    ordinal: int  # 0-based within the role
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    data: bytes  # the whole Part 10 file, in Explicit VR Little Endian unless it is deflated


def build(
    findings: StudyFindings,
    source_paths: Sequence[Path],
    settings: ResultSettings,
    uid: UidMaker,
    now: datetime,
) -> list[BuiltObject]:
    """Return the SEGs and the report of one version of a study.

    Parameters
    ----------
    findings
        What was found.
    source_paths
        Every image that was read or left out, in the study's order. The first one lends the
        patient and study elements.
    settings
        Which objects, and their form.
    uid
        Derives a UID from a role and an ordinal. Roles asked for: `seg`, `seg_series`,
        `seg_dimensions`, `seg_frame_of_reference`, `sr`, `sr_series`, `sr_side`.
    now
        The moment of building; one without a zone is the node's local time.

    Returns
    -------
    list of BuiltObject
        SEGs first, so that a viewer finds them when the report arrives. None where nothing was
        segmented.

    Raises
    ------
    ObjectError
        The findings do not fit the sources, or an object does not validate.
    """
    sources = _read(source_paths, findings)
    when = context.stamp(now, sources[0])
    segs = _segmentations(findings, sources, settings, uid, when) if settings.seg else []
    syntax = SEG_SYNTAXES[settings.seg_compression]
    built = [
        finish("seg", n, ds, sources[0], findings, sources, syntax) for n, ds in enumerate(segs)
    ]
    if settings.sr:
        ds = _report(findings, sources, segs, settings, uid, when)
        built.append(finish("sr", 0, ds, sources[0], findings, sources))
    return built


def _read(paths: Sequence[Path], findings: StudyFindings) -> list[Source]:
    if not paths:
        raise ObjectError("results need at least one source image")
    sources = [context.read_source(path) for path in paths]
    if any(source.study_instance_uid != findings.study_instance_uid for source in sources):
        raise ObjectError("a source image belongs to another study than its findings")
    return sources


def _segmentations(
    findings: StudyFindings,
    sources: Sequence[Source],
    settings: ResultSettings,
    uid: UidMaker,
    when: Stamp,
) -> list[Dataset]:
    """Return one SEG per source series, matrix size and still or cine that holds a node."""
    by_uid = {source.sop_instance_uid: source for source in sources}
    groups: dict[tuple[object, ...], list[NodeFinding]] = {}
    for node in findings.nodes:
        groups.setdefault(_group(_source_of(node, by_uid)), []).append(node)
    return [
        segmentation(
            findings,
            nodes,
            [source for source in sources if _group(source) == key],
            Geometry(settings.seg_geometry),
            _seg_uids(uid, ordinal),
            when,
            ordinal,
            empty_frames=settings.seg_empty_frames,
        )
        for ordinal, (key, nodes) in enumerate(groups.items())
    ]


def _group(source: Source) -> tuple[object, ...]:
    return (source.series_instance_uid, source.rows, source.columns, source.is_cine)


def _source_of(node: NodeFinding, sources: dict[str, Source]) -> Source:
    images = {view.sop_instance_uid for view in node.views}
    if len(images) != 1 or not images <= sources.keys():
        raise ObjectError(f"{node.label} must lie on exactly one of the source images")
    return sources[images.pop()]


def _seg_uids(uid: UidMaker, ordinal: int) -> dict[str, str]:
    return {
        "instance": uid("seg", ordinal),
        "series": uid("seg_series", ordinal),
        "dimensions": uid("seg_dimensions", ordinal),
        "frame_of_reference": uid("seg_frame_of_reference", ordinal),
    }


def _report(
    findings: StudyFindings,
    sources: Sequence[Source],
    segs: Sequence[Dataset],
    settings: ResultSettings,
    uid: UidMaker,
    when: Stamp,
) -> Dataset:
    uids = {"instance": uid("sr", 0), "series": uid("sr_series", 0)}
    sides = [uid("sr_side", n) for n in range(max(1, len(findings.sides)))]
    return report(findings, sources, segs, SrClass(settings.sr_class), uids, sides, when)


def finish(
    role: str,
    ordinal: int,
    ds: Dataset,
    patient: Source,
    findings: StudyFindings,
    sources: Sequence[Source],
    syntax: UID = ExplicitVRLittleEndian,
) -> BuiltObject:
    """Return the object's checked bytes, with the patient and study of one source."""
    data = serialise(ds, patient, syntax)
    ds.pop("PixelData", None)  # they lie in `data` now; those of a cine take tens of megabytes
    validate.check(data, findings, sources)
    return BuiltObject(
        role,
        ordinal,
        str(ds.SOPClassUID),
        str(ds.SOPInstanceUID),
        str(ds.SeriesInstanceUID),
        data,
    )


def serialise(ds: Dataset, patient: Source, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return a Part 10 file of `ds` with the patient and study of `patient`, byte for byte.

    The raw elements go in last and are not looked at again: pydicom would decode them.
    """
    whole = Dataset()
    whole.update(ds)
    for element in verbatim.identity(patient.ds):
        whole[element.tag] = element
    for keyword, value in (
        ("SpecificCharacterSet", verbatim.character_set(patient.ds)),
        ("TimezoneOffsetFromUTC", verbatim.timezone_offset(patient.ds)),
    ):
        if value:
            whole[keyword] = verbatim.raw_element(keyword, value)
    # else pydicom decodes every raw element and encodes it again, losing padding and odd bytes
    whole.set_original_encoding(False, True, whole._character_set)
    header = part10.header(ds.SOPClassUID, ds.SOPInstanceUID, syntax)
    body = io.BytesIO()
    if not syntax.is_deflated:
        body.write(header)  # in one buffer: the SEG of a cine has tens of megabytes
    dcmwrite(body, whole, implicit_vr=False, little_endian=True)
    return header + deflate(body.getvalue()) if syntax.is_deflated else body.getvalue()
