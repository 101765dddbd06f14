"""What an analysis found, in DICOM terms: the records that SEG and SR are built from.

The daemon fills these from the model's predictions; `dicom_io.seg` and `dicom_io.sr` read them.
They hold plain values and numpy arrays only.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Reason(StrEnum):
    """Why an image, or a whole study, was not evaluated; `words` is what a person reads."""

    NO_IMAGE = "no_image"  # the instance has no pixel data, or none of its frames exists
    UNDECODABLE = "undecodable"  # no kept decoder reads it, or its bytes are damaged
    UNSUPPORTED_SYNTAX = "unsupported_transfer_syntax"  # stored, but never decoded here
    NO_B_MODE = "no_b_mode"  # no two-dimensional tissue region on the frame
    COLOUR_OVERLAY = "colour_overlay"  # Doppler colour hides too much of the tissue
    TOO_SMALL = "too_small"  # the tissue region has too few pixels to be read
    NOT_ULTRASOUND = "not_ultrasound"  # Secondary Capture or another modality without tissue
    TOO_LARGE = "too_large"  # decoded size exceeds the memory limit

    @property
    def words(self) -> str:
        """The reason in plain words, ASCII, for reports and the command line."""
        return _WORDS[self]


_WORDS = {
    Reason.NO_IMAGE: "no image in the object",
    Reason.UNDECODABLE: "the image could not be decoded",
    Reason.UNSUPPORTED_SYNTAX: "the image's compression is not supported",
    Reason.NO_B_MODE: "no B-mode tissue region on the image",
    Reason.COLOUR_OVERLAY: "Doppler colour covers too much of the tissue",
    Reason.TOO_SMALL: "the tissue region is too small",
    Reason.NOT_ULTRASOUND: "not an ultrasound image",
    Reason.TOO_LARGE: "the image is larger than this node accepts",
}


@dataclass(frozen=True)
class Exclusion:
    """An image or one frame of it that was left out, and why."""

    sop_instance_uid: str
    frame_number: int | None  # 1-based; None: the whole image
    reason: Reason


@dataclass(frozen=True)
class NodeView:
    """One lymph node on one frame of one source image."""

    sop_instance_uid: str
    frame_number: int  # 1-based, 1 for a single-frame image
    row: int  # top row of `mask` in the source frame
    column: int  # left column of `mask` in the source frame
    mask: NDArray[np.bool_]  # (h, w) bool, cropped to the node's bounding box
    contour: NDArray[
        np.float64
    ]  # (N, 2) columns, rows; closed; source pixels, centre of first = 0.5


@dataclass(frozen=True)
class Measurements:
    """Size and shape of a node on its key frame."""

    long_axis: float  # mm, or pixels where `calibrated` is False
    short_axis: float  # mm, or pixels; perpendicular to the long axis
    area: float  # mm2, or pixels
    circularity: float  # 4 pi area / perimeter^2, 0..1
    margin_sharpness: float  # mean grey step across the margin, 0..1 of the grey range
    calibrated: bool  # True: millimetres

    @property
    def axis_ratio(self) -> float:
        """Long axis over short axis, at least 1."""
        return self.long_axis / self.short_axis if self.short_axis else 1.0


@dataclass(frozen=True)
class NodeFinding:
    """One lymph node: on one still, or followed through the frames of one cine."""

    number: int  # 1-based within the study, the N of "Node N"
    tracking_uid: str
    laterality: str | None  # "R", "L" or None: unknown
    score: float  # 0..1, the model's calibrated score of this node (its maximum over frames)
    key_view: int  # index into `views` of the frame that was measured
    views: tuple[NodeView, ...]  # at least one; all of one source image
    measurements: Measurements

    @property
    def label(self) -> str:
        """Name of the node in SEG, SR and pictures, and its Tracking ID."""
        return f"Node {self.number}"


class Evaluation(StrEnum):
    """The three-way reading of a side's score against the declared operating points."""

    SUSPECTED = "suspected"
    NOT_SUSPECTED = "not_suspected"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True)
class SideFinding:
    """The reading of one side of the body."""

    laterality: str | None  # "R", "L" or None: unknown
    node_numbers: tuple[int, ...]  # the nodes it rests on; empty: none segmented
    score: float | None  # 0..1; None where no node was segmented
    evaluation: Evaluation | None  # None: a demonstration bundle, or no node segmented


@dataclass(frozen=True)
class OperatingPoint:
    """A declared threshold of the bundle and what was measured there on its validation part."""

    name: str  # as in the bundle, e.g. "max_accuracy"
    threshold: float  # 0..1
    sensitivity: float | None = None  # 0..1
    specificity: float | None = None  # 0..1
    sensitivity_ci95: tuple[float, float] | None = None
    specificity_ci95: tuple[float, float] | None = None
    prevalence: float | None = None  # 0..1, of the training data


@dataclass(frozen=True)
class Algorithm:
    """Identity of the model bundle that made the findings (TID 4019, Device UID)."""

    name: str  # e.g. "AxNode demonstration"
    version: str  # the bundle's version and the start of its digest
    digest: str  # hexadecimal SHA-256 of bundle.toml
    architecture: str  # e.g. "DeepLabV3Plus timm-tf_efficientnet_lite0"
    intended_use: str  # ASCII, from the bundle
    demonstration: bool


@dataclass(frozen=True)
class Calibration:
    """Physical spacing of a source image, where it is known."""

    row_mm: float  # distance between the centres of two rows
    column_mm: float


@dataclass(frozen=True)
class ImageRead:
    """One source image that was analysed."""

    sop_instance_uid: str
    frame_numbers: tuple[int, ...]  # 1-based frames that the model saw
    calibration: Calibration | None
    notes: tuple[str, ...] = ()  # ASCII, e.g. "colour overlay removed from 4 % of the tissue"
    laterality: str | None = None  # "R", "L" or None: unknown
    regions: int = 1  # tissue regions read on each frame, such as the two panels of a dual view


@dataclass(frozen=True)
class StudyFindings:
    """Everything the result objects of one version of one study say."""

    study_instance_uid: str
    version: int  # 1-based
    node_ae_title: str
    device_uid: str  # UID of node and bundle together; changes with the bundle
    software_version: str  # AxNode's version
    algorithm: Algorithm
    operating_point: OperatingPoint
    images: tuple[ImageRead, ...]
    nodes: tuple[NodeFinding, ...]
    sides: tuple[SideFinding, ...]
    exclusions: tuple[Exclusion, ...] = ()
    not_evaluable: Reason | None = None  # set where no image could be read
    predecessors: tuple[
        tuple[str, str, str], ...
    ] = ()  # SOP class, instance, series of SRs replaced
    replaces: int | None = None  # the version whose results these replace
    aggregation: str = "max"  # how a side's score comes from its nodes: "max" or "mean"
    rule_in: OperatingPoint | None = None  # "suspected" from its threshold on; None: never
    rule_out: OperatingPoint | None = None  # "not suspected" below its threshold; None: never
