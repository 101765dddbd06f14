"""Closed shapes in the tissue: outline, place and the fields that drawing needs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.training.phantom_records import Field


@dataclass(frozen=True)
class Outline:
    """An ellipse with a modulated radius; lengths in millimetres."""

    x: float  # centre, lateral
    z: float  # centre, depth
    a: float  # semi-axis along `angle`
    b: float  # semi-axis across
    angle: float  # radians, from the lateral axis towards the depth
    waves: tuple[tuple[int, float, float], ...] = ()  # (cycles, amplitude, phase) of the radius

    @property
    def reach(self) -> tuple[float, float]:
        """Half width and half depth of a box that holds the shape."""
        swell = 1 + sum(abs(wave[1]) for wave in self.waves)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return (
            float(np.hypot(self.a * cos, self.b * sin) * swell),
            float(np.hypot(self.a * sin, self.b * cos) * swell),
        )

    def moved(self, dx: float, dz: float) -> "Outline":
        """Return the shape shifted."""
        return Outline(self.x + dx, self.z + dz, self.a, self.b, self.angle, self.waves)

    def radius(self, x: Field, z: Field) -> tuple[Field, Field, Field]:
        """Return the relative radius (1 on the outline) and the local axes' coordinates in mm."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dz = x - np.float32(self.x), z - np.float32(self.z)
        u, v = dx * cos + dz * sin, dz * cos - dx * sin
        us, vs = u / np.float32(self.a), v / np.float32(self.b)
        rho = np.sqrt(us * us + vs * vs)
        if self.waves:
            phi = np.arctan2(vs, us)
            swell = np.ones_like(rho)
            for cycles, amplitude, phase in self.waves:
                swell += np.float32(amplitude) * np.cos(cycles * phi + np.float32(phase))
            rho = rho / swell
        return rho, u, v

    def distance(self, rho: Field, u: Field, v: Field) -> Field:
        """Return the signed distance to the outline in mm, about right near it; negative inside."""
        gradient = np.hypot(u / np.float32(self.a**2), v / np.float32(self.b**2))
        scale = np.hypot(u / np.float32(self.a), v / np.float32(self.b))
        slope = gradient / np.maximum(scale, np.float32(1e-3))
        floor = np.float32(0.5 / self.a)
        distance: Field = (rho - 1) / np.maximum(slope, floor)
        return distance

    def steepness(self, u: Field, v: Field) -> Field:
        """Return how far the outline's normal points along the beam, 0..1."""
        nu, nv = u / np.float32(self.a**2), v / np.float32(self.b**2)
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        nx, nz = nu * cos - nv * sin, nu * sin + nv * cos
        steep: Field = np.abs(nz)
        steep /= np.maximum(np.hypot(nx, nz), np.float32(1e-6))
        return steep


def inside(distance: Field, blur_mm: float) -> Field:
    """Return a weight: 1 well inside, 0 outside, 0.5 on the outline."""
    steps: Field = np.clip(distance / np.float32(blur_mm), -1, 1)
    weight: Field = np.float32(0.5) - steps * (np.float32(0.75) - np.float32(0.25) * steps * steps)
    return weight


def block(outline: Outline, x: Field, z: Field, margin_mm: float) -> tuple[slice, slice] | None:
    """Return the part of a probe grid (x, z) that holds the shape and a margin."""
    half_x, half_z = outline.reach
    rows: NDArray[np.bool_] = np.abs(z - outline.z).min(1) <= half_z + margin_mm
    columns: NDArray[np.bool_] = np.abs(x - outline.x).min(0) <= half_x + margin_mm
    if not rows.any() or not columns.any():
        return None
    row, column = np.flatnonzero(rows), np.flatnonzero(columns)
    return slice(int(row[0]), int(row[-1]) + 1), slice(int(column[0]), int(column[-1]) + 1)
