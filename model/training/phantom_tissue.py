"""Draws the axilla of `phantom_anatomy` on the probe's grid."""

import numpy as np

from model.training.phantom_anatomy import Anatomy, Layer, Mimic, Rib
from model.training.phantom_node import Canvas
from model.training.phantom_records import Field
from model.training.phantom_shapes import block, inside
from model.training.phantom_texture import lookup


def bend(anatomy: Anatomy, x: Field, z: Field) -> Field:
    """Return the depth (mm) that a place would have if the tissue lay flat."""
    flat = z + np.float32(anatomy.bowl) * x * x
    for amplitude, rate, phase, slant in anatomy.bends:
        flat += np.float32(amplitude) * np.sin(
            np.float32(rate) * (x + np.float32(8 * slant) * z) + np.float32(phase)
        )
    return flat


def paint(canvas: Canvas, anatomy: Anatomy, flat: Field) -> None:
    """Draw layers, mimics, ribs and skin; `flat` is the tissue's own depth (see `bend`)."""
    _paint_layers(canvas, anatomy, flat)
    for mimic in anatomy.mimics:
        _paint_mimic(canvas, mimic)
    for rib in anatomy.ribs:
        _paint_rib(canvas, rib)
    for x, top, width, loss in anatomy.shadows:
        across = np.exp(-(((canvas.x - np.float32(x)) / np.float32(width)) ** 2))
        canvas.loss_db += (
            np.float32(loss) * across * (canvas.depth > top) * (canvas.depth < top + 6)
        )
    _paint_skin(canvas, anatomy)


def _paint_layers(canvas: Canvas, anatomy: Anatomy, flat: Field) -> None:
    first = anatomy.layers[0]
    canvas.echo_db[:], canvas.mirror[:] = _texture(first, canvas.x, flat)
    for layer in anatomy.layers[1:]:
        height = flat - np.float32(layer.top_mm) - np.float32(layer.slope) * canvas.x
        rows = np.flatnonzero((height > -1).any(1))
        if not rows.size:
            continue
        part = slice(int(rows[0]), None)
        height = height[part]
        weight = np.clip(height / np.float32(0.6) + np.float32(0.5), 0, 1)
        echo, mirror = _texture(layer, canvas.x[part], flat[part])
        canvas.echo_db[part] += weight * (echo - canvas.echo_db[part])
        canvas.mirror[part] += weight * (mirror - canvas.mirror[part])
        if layer.fascia > 0:
            gap = lookup("cloud", canvas.x[part], flat[part], layer.origin, stretch=(2.0, 2.0))
            line = np.exp(-((height / np.float32(0.18)) ** 2))
            canvas.mirror[part] += (
                np.float32(layer.fascia) * line * np.clip(gap + np.float32(0.6), 0, 1.5)
            )


def _texture(layer: Layer, x: Field, z: Field) -> tuple[Field, Field]:
    """Return the echo level of a layer of tissue in dB, and its smooth interfaces."""
    contrast, angle, at = np.float32(layer.septa_db), layer.angle, layer.origin
    echo = lookup("cloud", x, z, at, angle=angle, stretch=(1.0, 0.6)) * np.float32(2.0)
    echo += lookup("grain", x, z, at, angle=angle, stretch=(5.0, 2.4)) * np.float32(2.0)
    if layer.kind == "muscle":
        fibres = lookup("fibre", x, z, at, angle=angle, stretch=(0.9, 0.9))
        lines = lookup("septa", x, z, at, angle=angle, stretch=(2.0, 0.7))
    else:
        fibres = lookup("streak", x, z, at, angle=angle, stretch=(0.9, 0.9))
        size = layer.lobule_mm / 3.1
        lines = lookup("septa", x, z, at, angle=angle, stretch=(0.9, 0.75))
        border = lookup("cells", x, z, at, angle=-angle, stretch=(2.2 * size, 0.8 * size))
        strand = lookup("strand", x, z, at, angle=-angle)
        lines += np.exp(border * np.float32(-14.0)) * np.clip(strand + np.float32(0.3), 0, 1.5)
    bright = np.maximum(fibres - np.float32(0.8), 0)
    echo += np.float32(layer.echo_db) + contrast * (np.float32(0.3) * fibres + bright)
    echo += lines * contrast
    mirror = (lines * np.float32(0.40) + bright * np.float32(0.28)) * contrast
    return echo, mirror * np.float32(10 ** (layer.echo_db / 20) * 0.75)


def _bright(noise: Field, contrast: np.float32) -> Field:
    """Return a texture in which the bright part stands out from an even ground."""
    texture: Field = contrast * (
        np.float32(0.35) * noise + np.maximum(noise - np.float32(0.9), 0) * 2
    )
    return texture


def _paint_mimic(canvas: Canvas, mimic: Mimic) -> None:
    part = block(mimic.outline, canvas.x, canvas.z, 2.0)
    if part is None:
        return
    x, z = canvas.x[part], canvas.z[part]
    rho, u, v = mimic.outline.radius(x, z)
    distance = mimic.outline.distance(rho, u, v)
    weight = inside(distance, 0.4)
    echo = np.full_like(u, mimic.echo_db)
    if mimic.kind == "lobule":
        echo += lookup("streak", u, v, mimic.origin) * np.float32(2.2)
    elif mimic.kind == "muscle":
        echo += _bright(lookup("fibre", u, v, mimic.origin, stretch=(0.6, 0.8)), np.float32(4.5))
    else:
        canvas.loss_db[part] -= np.float32(0.8) * weight
    canvas.echo_db[part] += weight * (echo - canvas.echo_db[part])
    canvas.mirror[part] *= 1 - weight
    wall = np.exp(-((distance / np.float32(0.16)) ** 2)) * mimic.outline.steepness(u, v) ** 3
    gap = lookup("cloud", x, z, mimic.origin, stretch=(0.8, 0.8))
    canvas.mirror[part] += np.float32(mimic.rim) * wall * np.clip(gap + np.float32(0.7), 0, 1.5)


def _paint_rib(canvas: Canvas, rib: Rib) -> None:
    offset = (canvas.x - np.float32(rib.x)) / np.float32(rib.half)
    height = canvas.z - np.float32(rib.top) - np.float32(rib.curve) * offset * offset
    across = np.clip(np.float32(2.2) * (1 - np.abs(offset)), 0, 1)
    canvas.mirror += (
        np.float32(rib.brightness) * np.exp(-((height / np.float32(0.3)) ** 2)) * across
    )
    canvas.loss_db += np.float32(rib.loss_db / 4) * across * ((height > 0.2) & (height < 4))


def _paint_skin(canvas: Canvas, anatomy: Anatomy) -> None:
    depth = canvas.depth
    skin = np.clip((np.float32(anatomy.skin_mm) - depth) / np.float32(0.4) + 1, 0, 1)
    canvas.echo_db += skin * (np.float32(3.0) - canvas.echo_db)
    for at, share in ((0.15, 1.0), (anatomy.skin_mm, 0.8)):
        line = np.exp(-(((depth - np.float32(at)) / np.float32(0.15)) ** 2))
        canvas.mirror += np.float32(anatomy.skin * share) * line
    strength, distance = anatomy.reverberation
    for k in range(1, 7) if strength > 0.02 else ():
        line = np.exp(-(((depth - np.float32(k * distance)) / np.float32(0.2)) ** 2))
        canvas.mirror += np.float32(strength * 0.7**k) * line
