"""A node's contour as the points that DICOM graphics are written with."""

import numpy as np
from numpy.typing import NDArray

from dicom_io.context import Source
from dicom_io.errors import ObjectError

# GraphicData is FL, whose explicit length has 16 bits: 8191 points are the most that can be written
_MAX_POINTS = 4000


def closed(contour: NDArray[np.float64], source: Source) -> NDArray[np.float64]:
    """Return a contour inside its image, thinned where it is very long, and closed.

    The corner of the first pixel is 0, its centre 0.5: so the findings count, and so do SCOORD
    (PS3.3 C.18.6.1.2) and the PIXEL units of a graphic (PS3.3 C.10.5). Nothing is shifted.

    Parameters
    ----------
    contour
        (N, 2) columns and rows.

    Returns
    -------
    NDArray[np.float64]
        (M, 2) columns and rows, M <= 4001; the last point is exactly the first.

    Raises
    ------
    ObjectError
        It has fewer than three points.
    """
    if len(contour) < 3:
        raise ObjectError("a contour needs at least three points")
    limits = np.array([source.columns, source.rows], dtype=np.float64)
    points = np.clip(np.asarray(contour, dtype=np.float64), 0.0, limits)
    points = points[:: -(-len(points) // _MAX_POINTS)]
    if np.allclose(points[0], points[-1]):
        points = points[:-1]
    return np.vstack([points, points[:1]])
