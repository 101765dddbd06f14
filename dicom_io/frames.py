"""Stored images as frames in true colour: (H, W, 3) uint8 RGB, decoded one at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from .colour import grey_table, rgb_from_components
from .decode import decoder_for, samples
from .errors import FrameError
from .findings import Reason
from .fragments import PixelLayout, pixel_layout, read_frame
from .header import read_header, read_header_from, text, transfer_syntax
from .palette import palette
from .pixel_format import MAX_FRAME_BYTES, PixelFormat, pixel_format
from .recent import RecentFrames

__all__ = ["MAX_FRAME_BYTES", "Image", "read_header"]


class Image:
    """A stored image whose frames can be decoded; made by `open`.

    Attributes
    ----------
    path : Path
        The file.
    header : Dataset
        The data set without its pixel data.
    rows, columns : int
        Size of a frame in pixels.
    frame_count : int
        Number of frames, at least 1, whatever the SOP class.
    """

    def __init__(
        self,
        path: Path,
        header: Dataset,
        syntax: UID,
        fmt: PixelFormat,
        layout: PixelLayout,
        recent: RecentFrames | None = None,
    ) -> None:
        self.path = path
        self._recent = recent or RecentFrames(0)
        self.header = header
        self._syntax = syntax
        # From here on a 4:2:2 tag means that native data is 4:2:2.
        self._format = replace(fmt, photometric="YBR_FULL") if layout.full_resolution else fmt
        self._layout = layout
        self._decoder = decoder_for(syntax)

    @classmethod
    def open(cls, path: Path, recent: RecentFrames | None = None) -> "Image":
        """Read the header and find the frames; nothing is decoded.

        Parameters
        ----------
        recent
            Where decoded frames are kept for a while, and found again; None: nowhere.

        Raises
        ------
        FrameError
            With the reason for which the image cannot be read.
        OSError
            If the file cannot be opened.
        """
        with path.open("rb") as file:
            ds = read_header_from(file, path)
            syntax = transfer_syntax(ds)
            decoder_for(syntax)
            position = file.tell()
            if not file.read(1):
                raise FrameError(Reason.NO_IMAGE, "The object holds no image.")
            file.seek(position)
            fmt = pixel_format(ds)
            layout = pixel_layout(file, ds, fmt, syntax)
        return cls(path, ds, syntax, fmt, layout, recent)

    @property
    def sop_instance_uid(self) -> str:
        """SOPInstanceUID of the image; some writers name it in group 0002 only."""
        meta = getattr(self.header, "file_meta", Dataset())
        return text(self.header, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID")

    @property
    def sop_class_uid(self) -> str:
        """SOPClassUID of the image."""
        return text(self.header, "SOPClassUID")

    @property
    def series_instance_uid(self) -> str:
        """SeriesInstanceUID of the image."""
        return text(self.header, "SeriesInstanceUID")

    @property
    def modality(self) -> str:
        """Modality, e.g. "US"."""
        return text(self.header, "Modality")

    @property
    def rows(self) -> int:
        """Height of a frame in pixels."""
        return self._format.rows

    @property
    def columns(self) -> int:
        """Width of a frame in pixels."""
        return self._format.columns

    @property
    def frame_count(self) -> int:
        """Number of frames, at least 1."""
        return len(self._layout.frames)

    def frame(self, index0: int) -> NDArray[np.uint8]:
        """Decode one frame.

        Parameters
        ----------
        index0 : int
            Counted from 0.

        Returns
        -------
        NDArray[np.uint8]
            (H, W, 3) RGB.
        """
        return next(self.frames((index0,)))

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """Decode the frames at `indices` (from 0; None: all), each when it is asked for.

        Raises
        ------
        FrameError
            UNDECODABLE for the frame whose bytes are damaged; NO_IMAGE where there is no such
            frame.
        """
        for index in range(self.frame_count) if indices is None else indices:
            yield self._recent.get((self.path, index), partial(self._decode, index))

    def _decode(self, index0: int) -> NDArray[np.uint8]:
        if not 0 <= index0 < self.frame_count:
            raise FrameError(Reason.NO_IMAGE, f"The image has no frame {index0 + 1}.")
        with self.path.open("rb") as file:
            data = read_frame(file, self._layout.frames[index0])
        values, declared, bits = samples(data, self._format, self._decoder, self._layout.vr)
        if values.ndim == 3:
            return rgb_from_components(values, declared, bits)
        return self._table.take(values, axis=0)

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        # (2 ** bits, 3): the colour of each stored value
        fmt = self._format
        if fmt.photometric == "PALETTE COLOR":
            return palette(self.header, fmt.stored, self._syntax.is_little_endian)
        return np.repeat(grey_table(self.header, fmt)[:, None], 3, axis=1)
