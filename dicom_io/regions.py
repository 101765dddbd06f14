"""Ultrasound regions: which part of the image is B-mode tissue, and how large a pixel is.

PS3.3 C.8.5.5 (US Region Calibration). Regions lie: their boxes reach beyond images that were
resized or cropped after they were written. The box is then clamped and the deltas are not trusted.
"""

from dataclasses import dataclass

from pydicom import Dataset

from .findings import Calibration
from .header import decimal, integer, items, text

Box = tuple[int, int, int, int]  # x0, y0, x1, y1: half-open pixel box

_TWO_DIMENSIONAL = 1  # Region Spatial Format (0018,6012), C.8.5.5.1.1
_TISSUE, _COLOUR_FLOW = 1, 2  # Region Data Type (0018,6014), C.8.5.5.1.2
_CENTIMETRES = 3  # Physical Units X and Y Direction (0018,6024/6026), C.8.5.5.1.15
_MIN_SIDE = 8  # pixels; a smaller region is a slip, not a picture
_MM_RANGE = (1e-4, 10.0)  # plausible pixel pitch: finer than any probe, coarser than any screen
_MAX_ANISOTROPY = 20.0  # a row is never that much higher than a column is wide


@dataclass(frozen=True)
class Region:
    """One declared region of an image."""

    box: Box  # within the image
    kind: str  # "tissue" or "colour": 2D pictures; "other": ECG, Doppler, M-mode, legends
    calibration: Calibration | None  # None: not in centimetres, or not to be trusted
    clamped: bool  # the declared box left the image by more than one pixel


def regions(ds: Dataset, rows: int, columns: int) -> tuple[Region, ...]:
    """Return the regions that SequenceOfUltrasoundRegions declares, in its order; () if none.

    Degenerate and inverted boxes, and boxes outside the image, are left out.
    """
    found = (_region(item, rows, columns) for item in items(ds, "SequenceOfUltrasoundRegions"))
    return tuple(region for region in found if region is not None)


def b_mode_boxes(found: tuple[Region, ...]) -> tuple[Region, ...]:
    """Return the regions that show tissue in two dimensions, each part of the image once.

    Two panels side by side stay apart. A colour-flow region counts only where no tissue region
    covers it: machines declare the colour box within or over the tissue, and some declare the
    whole picture as colour flow when colour is on.
    """
    tissue = [region for region in found if region.kind == "tissue"]
    kept: list[Region] = []
    for region in tissue:
        if all(_overlap(region.box, other.box) < 0.9 for other in kept):
            kept.append(region)
    for region in (region for region in found if region.kind == "colour"):
        if all(_overlap(region.box, other.box) < 0.5 for other in kept):
            kept.append(region)
    return tuple(kept)


def calibration(ds: Dataset) -> Calibration | None:
    """Return the spacing by PixelSpacing (0028,0030), for images without calibrated regions.

    ImagerPixelSpacing is a detector's and NominalScannedPixelSpacing a film's: neither is used.
    """
    try:
        row_mm, column_mm = (float(value) for value in text(ds, "PixelSpacing").split("\\"))
    except ValueError:
        return None
    return _plausible(row_mm, column_mm)


def _region(item: Dataset, rows: int, columns: int) -> Region | None:
    declared = _declared_box(item)
    if declared is None:
        return None
    x0, y0, x1, y1 = declared
    box = (max(x0, 0), max(y0, 0), min(x1, columns), min(y1, rows))
    if box[2] - box[0] < _MIN_SIDE or box[3] - box[1] < _MIN_SIDE:
        return None
    # The maxima are the last pixel; writers that give the size instead are one beyond.
    beyond = max(x1 - columns, y1 - rows, -x0, -y0)
    return Region(
        box=box,
        kind=_kind(item),
        calibration=None if beyond > 1 else _calibration(item),
        clamped=beyond > 1,
    )


def _declared_box(item: Dataset) -> Box | None:
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    corners = [integer(item, f"RegionLocation{name}") for name in names]
    x0, y0, x1, y1 = (-1 if corner is None else corner for corner in corners)
    if None in corners or x1 <= x0 or y1 <= y0:
        return None
    return x0, y0, x1 + 1, y1 + 1


def _kind(item: Dataset) -> str:
    if integer(item, "RegionSpatialFormat") != _TWO_DIMENSIONAL:
        return "other"
    kinds = {_TISSUE: "tissue", _COLOUR_FLOW: "colour"}
    return kinds.get(integer(item, "RegionDataType") or 0, "other")


def _calibration(item: Dataset) -> Calibration | None:
    units = (integer(item, "PhysicalUnitsXDirection"), integer(item, "PhysicalUnitsYDirection"))
    x_cm, y_cm = decimal(item, "PhysicalDeltaX"), decimal(item, "PhysicalDeltaY")
    if units != (_CENTIMETRES, _CENTIMETRES) or x_cm is None or y_cm is None:
        return None
    # Deltas are negative where the physical axis runs against the pixels' (C.8.5.5.1.17).
    return _plausible(10 * abs(y_cm), 10 * abs(x_cm))


def _plausible(row_mm: float, column_mm: float) -> Calibration | None:
    low, high = _MM_RANGE
    if not (low <= row_mm <= high and low <= column_mm <= high):
        return None
    if max(row_mm, column_mm) > _MAX_ANISOTROPY * min(row_mm, column_mm):
        return None
    return Calibration(row_mm=row_mm, column_mm=column_mm)


def _overlap(a: Box, b: Box) -> float:
    # Share of the smaller box that lies in the other.
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0) * max(height, 0) / smaller
