"""Edge of a node: what grey does across its outline, and how rough the outline is."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SIGMA = 1.0  # pixels; without some smoothing speckle would count as an edge
_NORMAL_SIGMA = 1.5  # pixels; takes the pixel staircase out of the outline's direction
_FROM_BORDER = 4.0  # pixels; nearer to the frame's border an outline is a cut, no edge
_POINTS = 256  # along the outline
_WAVES = (5, 16)  # round the outline; fewer are the shape itself, more the pixel staircase
_WAVE_PX = 4.0  # shortest wave that a mask of pixels can show


def gradient(
    grey: NDArray[np.uint8], mask: NDArray[np.bool_], outline: NDArray[np.float64]
) -> float | None:
    """Mean grey gained per pixel outwards across an outline, -1 to 1; above 0: brighter outside.

    Parameters
    ----------
    grey
        (h, w) uint8, the node and at least 4 pixels beside it, or up to the frame's end.
    mask
        (h, w) bool.
    outline
        (N, 2) columns, rows; continuous, as `model.measure.outline_of` gives it.
    """
    ends = np.array([grey.shape[1], grey.shape[0]]) - _FROM_BORDER
    points = outline[((outline >= _FROM_BORDER) & (outline <= ends)).all(axis=1)] - 0.5
    if not len(points):
        return None
    away = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    normal = _slopes(away, _NORMAL_SIGMA, points)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    across = (_slopes(grey.astype(np.float64), _SIGMA, points) * normal).sum(axis=1)
    return float(across.mean()) / 255.0


def _slopes(
    values: NDArray[np.float64], sigma: float, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Slopes (N, 2) by column and row at points (N, 2) x, y counted from pixel centres."""
    places = (points[:, 1], points[:, 0])
    slopes = [
        ndimage.map_coordinates(
            ndimage.gaussian_filter(values, sigma, order=order), places, order=1, mode="nearest"
        )
        for order in ((0, 1), (1, 0))
    ]
    return np.stack(slopes, axis=1)


def roughness(mask: NDArray[np.bool_], outline: NDArray[np.float64]) -> float | None:
    """How far an outline waves about the ellipse of its mask, as a share of the radius.

    The mask is first stretched to the round, so that an ellipse has the 0 of a disc; then the root
    mean square of 5 to 16 waves round it is taken, by Fourier descriptors. Turning, moving,
    enlarging and pixels that are not square change nothing.

    Parameters
    ----------
    mask
        (h, w) bool.
    outline
        (N, 2) columns, rows; closed, in pixels.

    Returns
    -------
    float or None
        None where 16 waves would be shorter than 4 pixels each.
    """
    if _steps(outline).sum() < _WAVES[1] * _WAVE_PX:
        return None
    points = _evenly(outline @ _to_round(mask))
    descriptors = np.abs(np.fft.fft(points @ np.array([1, 1j])))
    turns = np.fft.fftfreq(_POINTS, 1 / _POINTS)
    circle = 1 if descriptors[1] >= descriptors[-1] else -1  # which way the outline runs
    # a wave of the radius that goes m times round shows in descriptors 1 + m and 1 - m
    waves = np.abs(turns * circle - 1)
    chosen = descriptors[(waves >= _WAVES[0]) & (waves <= _WAVES[1])]
    return float(np.sqrt((chosen**2).sum()) / descriptors[circle])


def _to_round(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the (2, 2) stretch of columns and rows that makes a mask's ellipse a circle."""
    rows, columns = np.nonzero(mask)
    spread = np.cov(np.stack([columns, rows]), bias=True) + np.eye(2) / 12  # pixels have a width
    lengths, axes = np.linalg.eigh(spread)
    return np.asarray(axes / np.sqrt(lengths) @ axes.T, np.float64)


def _steps(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(np.diff(outline, axis=0), axis=1), np.float64)


def _evenly(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place points (P, 2) along a closed outline at equal distances."""
    along = np.concatenate([[0.0], np.cumsum(_steps(outline))])
    places = np.linspace(0, along[-1], _POINTS, endpoint=False)
    return np.stack([np.interp(places, along, outline[:, axis]) for axis in (0, 1)], axis=1)
