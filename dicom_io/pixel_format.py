"""The Image Pixel attributes of an instance, checked before anything is allocated."""

from dataclasses import dataclass

from pydicom import Dataset

from .errors import FrameError
from .findings import Reason
from .header import integer, text

MAX_FRAME_BYTES = 64 * 2**20  # one decoded frame; the largest scanner screens need 25 MiB
_SUBSAMPLED = frozenset({"YBR_FULL_422"})
_SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}


@dataclass(frozen=True)
class PixelFormat:
    """How the samples of one frame lie in its bytes (PS3.3 C.7.6.3)."""

    rows: int  # 1..65535
    columns: int  # 1..65535
    samples: int  # 1 or 3
    photometric: str  # a key of the supported photometric interpretations
    planar: int  # 0: colour by pixel, 1: colour by plane
    allocated: int  # 8 or 16 bits per sample
    stored: int  # bits that carry the value, at most `allocated`
    high_bit: int  # position of the value's highest bit
    signed: bool  # two's complement
    frames: int  # at least 1

    @property
    def native_bytes(self) -> int:
        """Bytes of one uncompressed frame (PS3.5 8.1.1; 4:2:2 holds two samples per pixel)."""
        samples = 2 if self.photometric in _SUBSAMPLED else self.samples
        return self.rows * self.columns * samples * (self.allocated // 8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded frame of samples."""
        plane = (self.rows, self.columns)
        return plane if self.samples == 1 else (*plane, self.samples)


def pixel_format(ds: Dataset) -> PixelFormat:
    """Read and check the Image Pixel attributes.

    Raises
    ------
    FrameError
        UNDECODABLE for nonsense or unsupported values, TOO_LARGE above `MAX_FRAME_BYTES`.
    """
    photometric = text(ds, "PhotometricInterpretation").upper()
    fmt = PixelFormat(
        rows=_required(ds, "Rows"),
        columns=_required(ds, "Columns"),
        samples=_required(ds, "SamplesPerPixel", 1),
        photometric=photometric,
        planar=integer(ds, "PlanarConfiguration", 0) or 0,
        allocated=_required(ds, "BitsAllocated"),
        stored=_required(ds, "BitsStored", integer(ds, "BitsAllocated")),
        high_bit=_required(ds, "HighBit", (integer(ds, "BitsStored") or 1) - 1),
        signed=integer(ds, "PixelRepresentation", 0) == 1,
        frames=_frame_count(ds),
    )
    _check(fmt)
    return fmt


def _required(ds: Dataset, keyword: str, default: int | None = None) -> int:
    value = integer(ds, keyword, default)
    if value is None:
        raise FrameError(Reason.UNDECODABLE, f"The image has no usable {keyword}.")
    return value


def _frame_count(ds: Dataset) -> int:
    # By count, not by class: single-frame classes with two frames exist.
    if not text(ds, "NumberOfFrames"):
        return 1
    return _required(ds, "NumberOfFrames")


def _check(fmt: PixelFormat) -> None:
    problems = {
        "Rows": 1 <= fmt.rows <= 65535,
        "Columns": 1 <= fmt.columns <= 65535,
        "NumberOfFrames": fmt.frames >= 1,
        "PhotometricInterpretation": fmt.photometric in _SAMPLES,
        "SamplesPerPixel": fmt.samples == _SAMPLES.get(fmt.photometric, fmt.samples),
        "PlanarConfiguration": fmt.planar in (0, 1),
        "BitsAllocated": fmt.allocated in (8, 16),
        "BitsStored": 1 <= fmt.stored <= fmt.allocated,
        "HighBit": fmt.stored - 1 <= fmt.high_bit < fmt.allocated,
    }
    wrong = [keyword for keyword, fine in problems.items() if not fine]
    if wrong:
        raise FrameError(
            Reason.UNDECODABLE, f"The image's {', '.join(wrong)} cannot be right or is unsupported."
        )
    size = fmt.rows * fmt.columns * max(3, fmt.samples * fmt.allocated // 8)
    if size > MAX_FRAME_BYTES:
        raise FrameError(
            Reason.TOO_LARGE,
            f"One frame would take {size // 2**20} MiB; the limit is {MAX_FRAME_BYTES // 2**20}.",
        )
