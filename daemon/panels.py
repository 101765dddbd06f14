"""Where an image shows tissue: the panels that the model is given, and their spacing."""

from dataclasses import dataclass

from dicom_io.findings import Calibration, Reason
from dicom_io.frames import Image
from dicom_io.regions import b_mode_boxes, regions
from dicom_io.regions import calibration as pixel_spacing
from model.tissue import tissue_boxes, trim

Box = tuple[int, int, int, int]  # x0, y0, x1, y1: half-open pixel box
_MIN_SIDE_PX = 64  # a smaller panel holds no readable node


@dataclass(frozen=True)
class Panel:
    """One tissue region of an image."""

    box: Box
    calibration: Calibration | None  # None: measurements stay in pixels


def find_panels(image: Image, index: int) -> list[Panel] | Reason:
    """Return the panels of an image, or why it has none.

    Declared regions come first; where none is declared, or a declared one leaves the image (the
    file was resized later), the tissue is found in the pixels. The frame at `index` (from 0)
    decides for the whole cine.
    """
    declared = regions(image.header, image.rows, image.columns)
    wanted = b_mode_boxes(declared)
    if declared and not wanted:
        return Reason.NO_B_MODE
    frame = image.frame(index)
    spacing = pixel_spacing(image.header)
    if wanted and not any(region.clamped for region in wanted):
        panels = [Panel(trim(frame, r.box), r.calibration or spacing) for r in wanted]
    else:
        panels = [Panel(box, spacing) for box in tissue_boxes(frame)]
    if not panels:
        return Reason.NO_B_MODE if image.modality == "US" else Reason.NOT_ULTRASOUND
    return [panel for panel in panels if _large_enough(panel.box)] or Reason.TOO_SMALL


def _large_enough(box: Box) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= _MIN_SIDE_PX
