"""How a presentation state shows the pixels below its graphics: as the image itself would.

A presentation state replaces what its images say about their display (PS3.4 N.2): a window or a
rescale that it does not repeat is not applied. So it repeats them.
"""

from dataclasses import dataclass

from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)

from dicom_io import header


@dataclass(frozen=True)
class Look:
    """What images must have in common to share one presentation state, beside series and class."""

    colour: bool  # RGB, YBR or PALETTE COLOR
    inverse: bool = False  # MONOCHROME1: the lowest value is white
    rescale: tuple[float, float] | None = None  # slope, intercept; None: stored values as they are
    window: tuple[float, float, str] | None = None  # centre, width, function; None: every value

    @property
    def sop_class_uid(self) -> str:
        """The kind of presentation state.

        PALETTE COLOR is a colour image (PS3.4 N.2.2.1). A grayscale state would take its indices
        for grey values, and the palette would not be applied.
        """
        if self.colour:
            return ColorSoftcopyPresentationStateStorage
        return GrayscaleSoftcopyPresentationStateStorage


def look_of(image: Dataset) -> Look | None:
    """Return how an image is shown; None where it goes through a table, which is not repeated."""
    photometric = header.text(image, "PhotometricInterpretation")
    if not photometric.startswith("MONOCHROME"):
        return Look(colour=True)
    if header.items(image, "ModalityLUTSequence") or header.items(image, "VOILUTSequence"):
        return None
    return Look(False, photometric == "MONOCHROME1", _rescale(image), _window(image))


def _rescale(image: Dataset) -> tuple[float, float] | None:
    slope, intercept = (header.decimal(image, f"Rescale{k}") for k in ("Slope", "Intercept"))
    return (slope, intercept) if slope and intercept is not None else None


def _window(image: Dataset) -> tuple[float, float, str] | None:
    """Return the first window, which is the one shown; None where there is none that is valid."""
    centre, width = (header.decimal(image, f"Window{k}") for k in ("Center", "Width"))
    if centre is None or width is None or width < 1:
        return None
    function = header.text(image, "VOILUTFunction").upper()
    return centre, width, function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"


def write_look(ds: Dataset, look: Look) -> None:
    """Write the modules that turn stored values into what is seen."""
    if look.colour:
        ds.ICCProfile = _srgb_profile()
        ds.ColorSpace = "SRGB"
        return
    if look.rescale:
        ds.RescaleSlope, ds.RescaleIntercept = (_decimal(value) for value in look.rescale)
        ds.RescaleType = "US"  # unspecified
    if look.window:
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth = (_decimal(value) for value in look.window[:2])
        voi.VOILUTFunction = look.window[2]
        ds.SoftcopyVOILUTSequence = [voi]
    ds.PresentationLUTShape = "INVERSE" if look.inverse else "IDENTITY"


def _decimal(value: float) -> str:
    return f"{value:.9g}"  # DS holds 16 characters


def _srgb_profile() -> bytes:
    """Return sRGB as an ICC input profile, which is what PS3.3 C.11.15 asks for.

    Pillow makes a display profile. Both kinds need the same tags, and one field tells them apart.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:12] + b"scnr" + profile[16:]
