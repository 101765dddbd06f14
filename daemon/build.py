"""The result objects of one analysis: SEG and report, and the pictures that go with them."""

import importlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.analysis import Frame
from daemon.config_results import Results
from dicom_io.findings import StudyFindings

if TYPE_CHECKING:  # imported by `load`, for a start does not wait for these
    from dicom_io.results import BuiltObject, UidMaker

_NEEDED = ("daemon.pictures", "dicom_io.capture", "dicom_io.presentation", "dicom_io.results")


def load() -> None:
    """Import what building takes; called while the model loads, before the first study."""
    for name in _NEEDED:
        importlib.import_module(name)


def build_objects(
    findings: StudyFindings,
    paths: Sequence[Path],
    frames: Sequence[Frame],
    settings: Results,
    uid: "UidMaker",
    now: datetime,
) -> Iterator["BuiltObject"]:
    """Yield every object that the settings ask for, checked, one picture at a time.

    Parameters
    ----------
    paths
        File of each source, in the study's order.
    frames
        What the pictures are drawn on.
    """
    from dicom_io.context import read_source
    from dicom_io.presentation import presentation_states
    from dicom_io.results import ResultSettings, build

    chosen = ResultSettings(
        seg=settings.seg,
        sr=settings.sr,
        seg_geometry=settings.seg_geometry,
        seg_empty_frames=settings.seg_empty_frames,
        seg_compression=settings.seg_compression,
        sr_class=settings.sr_class,
    )
    yield from build(findings, paths, chosen, uid, now)
    if frames and settings.secondary_capture != "off":
        yield from _captures(findings, paths, frames, uid, now)
    if settings.presentation_state != "off":
        sources = [read_source(path) for path in paths]
        yield from presentation_states(findings, sources, uid, now)


def _captures(
    findings: StudyFindings,
    paths: Sequence[Path],
    frames: Sequence[Frame],
    uid: "UidMaker",
    now: datetime,
) -> Iterator["BuiltObject"]:
    import numpy as np

    from daemon.pictures import picture
    from dicom_io.capture import capture
    from dicom_io.context import read_source

    files = {read_source(path).sop_instance_uid: path for path in paths}
    for ordinal, frame in enumerate(frames):
        drawn = np.asarray(picture(findings, frame))
        path = files[frame.sop_instance_uid]
        yield capture(findings, path, frame.frame_number, drawn, uid, ordinal, now)
