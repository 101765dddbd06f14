"""Textures of tissue and speckle.

Tissue structure (septa, fibres, lobules) is looked up in periodic tiles that are made once per
process from fixed seeds; a picture picks random offsets, directions and stretches. Speckle is
white complex noise, weighted by the local scatter strength and blurred by the point spread
function of the probe, so that borders blur as they do in a scanner.
"""

from functools import cache

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from model.training.phantom_records import Field

TILE = 1024  # pixels, a power of two: positions wrap with a bit mask
PX_PER_MM = 16.0  # of a tile at stretch 1

# standard deviations of the tile's blur in pixels: along (columns), across (rows)
_BLURS = {
    "streak": (20.0, 1.7),  # short septa, about 3 mm by 0.25 mm
    "strand": (46.0, 2.4),  # longer septa
    "fibre": (110.0, 2.2),  # striation of muscle
    "grain": (3.2, 2.4),  # fine unevenness
    "cloud": (40.0, 26.0),  # slow unevenness
    "septa": (44.0, 13.0),  # whose zero crossings are the septa
}


@cache
def tile(name: str) -> Field:
    """Return the periodic tile `name`: (TILE, TILE) float32.

    Noise tiles have mean 0 and deviation 1; "cells" holds the distance to the nearest border of
    a cell in units of the mean cell size (0 on the border); "septa" is 1 on thin broken lines.
    """
    if name == "cells":
        return _cells()
    if name == "septa":
        return _septa()
    return _noise(name)


def _noise(name: str) -> Field:
    along, across = _BLURS[name]
    rng = np.random.default_rng([20240719, list(_BLURS).index(name)])
    spectrum = fft.rfft2(rng.standard_normal((TILE, TILE)).astype(np.float32))
    rows = np.exp(-2 * (np.pi * across * np.fft.fftfreq(TILE)) ** 2)[:, None]
    columns = np.exp(-2 * (np.pi * along * np.fft.rfftfreq(TILE)) ** 2)[None, :]
    image = fft.irfft2(spectrum * (rows * columns).astype(np.float32), s=(TILE, TILE))
    return np.ascontiguousarray((image - image.mean()) / image.std(), np.float32)


def _septa() -> Field:
    """Return thin broken lines, 0..1: the zero crossings of a smooth field."""
    field = _noise("septa")
    down = np.roll(field, -1, 0) - np.roll(field, 1, 0)
    right = np.roll(field, -1, 1) - np.roll(field, 1, 1)
    distance = np.abs(field) / np.maximum(np.hypot(down, right) / 2, np.float32(2e-3))
    whole = np.clip(np.float32(0.4) + np.float32(0.8) * tile("strand"), 0, 1)
    return np.ascontiguousarray(np.exp(-((distance / np.float32(1.5)) ** 2)) * whole, np.float32)


def _cells() -> Field:
    rng = np.random.default_rng(20240720)
    small, count = TILE // 2, 420
    seeds = rng.random((count, 2)) * small
    grid = np.stack(np.meshgrid(np.arange(small), np.arange(small), indexing="ij"), -1)
    points = grid.reshape(-1, 2) + rng.normal(0, 0.3, (small * small, 2))
    distance, _ = cKDTree(seeds, boxsize=small).query(np.mod(points, small), k=2)
    size = small / np.sqrt(count)
    border = ((distance[:, 1] - distance[:, 0]) / size).reshape(small, small)
    border = ndimage.gaussian_filter(border, 0.7, mode="wrap")
    return np.ascontiguousarray(border.repeat(2, 0).repeat(2, 1), np.float32)


def lookup(
    name: str,
    x_mm: Field,
    z_mm: Field,
    origin: tuple[float, float],
    *,
    angle: float = 0.0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> Field:
    """Sample a tile at positions in millimetres.

    Parameters
    ----------
    name
        Of the tile.
    x_mm, z_mm
        Lateral and axial positions, arrays of one shape, or broadcastable.
    origin
        Where in the tile, in tile pixels (random per picture).
    angle
        Of the texture's long direction against the lateral axis, radians.
    stretch
        Magnification along and across the long direction.

    Returns
    -------
    Field
        Values of the tile, in the broadcast shape.
    """
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = np.float32(PX_PER_MM / stretch[0])
    across = np.float32(PX_PER_MM / stretch[1])
    column = x_mm * (cos * along) + z_mm * (sin * along) + np.float32(origin[0] + 8 * TILE)
    row = z_mm * (cos * across) - x_mm * (sin * across) + np.float32(origin[1] + 8 * TILE)
    index = (row.astype(np.int32) & (TILE - 1)) * TILE + (column.astype(np.int32) & (TILE - 1))
    return tile(name).ravel().take(index)


def speckle(
    noise: Field, diffuse: Field, specular: Field, sigma: tuple[float, float, float]
) -> Field:
    """Return the echo power of scatterers and mirrors seen through the probe.

    Parameters
    ----------
    noise
        (2, H, W) standard normal.
    diffuse
        (H, W) amplitude of the unresolved scatterers.
    specular
        (H, W) amplitude of smooth interfaces, which echo in phase.
    sigma
        Blur in samples: axial, lateral at the focus, lateral at the bottom.

    Returns
    -------
    Field
        (H, W) power; 1 on average where `diffuse` is 1.
    """
    axial, focus, bottom = sigma
    power = np.zeros(diffuse.shape, np.float32)
    extra = np.sqrt(max(bottom**2 - focus**2, 0.0))
    depth = np.linspace(0, 1, diffuse.shape[0], dtype=np.float32)[:, None]
    for part in range(2):
        echo = noise[part] * diffuse
        if part == 0:
            # lines are thinner than the blur: give them back what it takes away
            echo += specular * np.float32(1.0)
        echo = ndimage.gaussian_filter1d(echo, axial, axis=0, truncate=2.5)
        echo = ndimage.gaussian_filter1d(echo, focus, axis=1, truncate=2.5)
        if extra > 0.5:
            wide = ndimage.gaussian_filter1d(echo, extra, axis=1, truncate=2.0)
            echo += depth * (np.float32(np.sqrt(bottom / focus)) * wide - echo)
        power += echo * echo
    power *= np.float32(0.5 * (2 * np.sqrt(np.pi)) ** 2 * axial * focus)
    return power
