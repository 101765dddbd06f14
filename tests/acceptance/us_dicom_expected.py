"""What is expected of each real ultrasound file, written from the files.

From their headers (syntax, frames, regions) and by looking at their pictures, for a source that
sets `assume_axilla`. Colour policy: a frame whose Doppler colour covers more than 25 % of its
tissue box is left out; below that the colour is filled from the grey around it and a note says how
much there was.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Expected:
    """The expected fate of one file."""

    decodes: bool
    outcome: str  # "analysed" or "not_evaluable"
    reason: str | None  # the value of `dicom_io.findings.Reason`, where not evaluable
    frames: int  # by NumberOfFrames; 1 where it is absent
    tissue_boxes: int  # pictures of tissue on the first frame, declared or else seen
    calibrated: bool  # a 2D region in centimetres that lies within the image
    excluded_frames: tuple[tuple[int, str], ...] = ()  # 1-based frame number and reason


def _analysed(
    frames: int = 1,
    *,
    calibrated: bool,
    boxes: int = 1,
    excluded_frames: tuple[tuple[int, str], ...] = (),
) -> Expected:
    return Expected(True, "analysed", None, frames, boxes, calibrated, excluded_frames)


# The second frame of these two is the first one with inverted indices: under the palette the
# empty part of the fan turns blue, over half of the declared region.
_INVERTED = ((2, "colour_overlay"),)

EXPECTED: dict[str, Expected] = {
    # Ten frames of a heart; the colour sector takes a sixth of the fan's box at most.
    "acme_US-PAL-8-10x-echo_rle.dcm": _analysed(10, calibrated=False),
    "acme_palette_jpegls_10f.dcm": _analysed(10, calibrated=False),
    # Red and blue take about a fifth of the fan's box: the highest share of all, 18 %.
    "acme_color-pl_retiredUS.dcm": _analysed(calibrated=False),
    "acme_color-px_retiredUS.dcm": _analysed(calibrated=False),
    # The first region (0, 32)..(639, 463) has no format and no type; the second is the tissue.
    "acuson_ybrfull_rle.dcm": _analysed(calibrated=True),
    # Two panels, and a region of type 13 for the grey bar.
    "aloka_BE_segpalette16.dcm": _analysed(calibrated=True, boxes=2),
    "aloka_implLE_segpalette16.dcm": _analysed(calibrated=True, boxes=2),
    "esaote_ybr422_uncompressed.dcm": _analysed(calibrated=True),
    # Energy Doppler with the gain up: yellow fills its sector, a seventh of the fan's box.
    "ge_US-RGB-8-epicard_BE.dcm": _analysed(calibrated=False),
    # JPEG XL: stored, never decoded.
    "ge_vingmed_jpegxl_27f.dcm": Expected(
        False, "not_evaluable", "unsupported_transfer_syntax", 27, 1, True
    ),
    # Power Doppler of a lymph node that is put together from two views: one picture, an eighth
    # of it coloured.
    "nema_US1_J2KI.dcm": _analysed(calibrated=False),
    "nema_US1_J2KR.dcm": _analysed(calibrated=False),
    "nema_US1_RLE.dcm": _analysed(calibrated=False),
    "nema_US1_UNCI.dcm": _analysed(calibrated=False),
    "nema_US1_UNC_explLE.dcm": _analysed(calibrated=False),
    "pydicom_examples_rgb_color.dcm": _analysed(calibrated=False),
    # A probe in air: B-mode all the same, in which nothing is to be found.
    "philips_breast_greyscale_cine27.dcm": _analysed(27, calibrated=True),
    "philips_breast_greyscale_image.dcm": _analysed(calibrated=True),
    # MaxX1 = 800 of 800 columns: one beyond, and still trusted.
    "philips_cx50_OBXXXX1A_2frame.dcm": _analysed(2, calibrated=True, excluded_frames=_INVERTED),
    "philips_cx50_OBXXXX1A_explBE.dcm": _analysed(calibrated=True),
    "philips_cx50_OBXXXX1A_explLE.dcm": _analysed(calibrated=True),
    "philips_cx50_OBXXXX1A_rle.dcm": _analysed(calibrated=True),
    "philips_cx50_OBXXXX1A_rle_2frame.dcm": _analysed(
        2, calibrated=True, excluded_frames=_INVERTED
    ),
    # Colour in less than a tenth of the region in every frame.
    "philips_echo_colordoppler_cine30.dcm": _analysed(30, calibrated=True),
    "philips_epiq_jpegll_mono.dcm": _analysed(calibrated=True),
    # Nearly black, but a declared tissue region; the other two regions are the ECG.
    "philips_no-pixel-spacing_rle_3regions.dcm": _analysed(calibrated=True),
    # Cropped to 350 rows of 600: the region reaches beyond, its deltas are not trusted.
    "pydicom_examples_palette.dcm": _analysed(calibrated=False),
    "sonoque_phantom_anechoic_jpeg_rgb.dcm": _analysed(calibrated=True),
    # Resized to 320 × 240: the region reaches to 595, 414.
    "sonosite_ybr_cine30_jpeg.dcm": _analysed(30, calibrated=False),
}
