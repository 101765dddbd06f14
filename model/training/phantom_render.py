"""From tissue to grey: attenuation, speckle, log compression."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model.training.phantom_anatomy import Anatomy
from model.training.phantom_node import Canvas, Node, moved, paint_node
from model.training.phantom_records import Field
from model.training.phantom_shapes import block
from model.training.phantom_styles import Style
from model.training.phantom_texture import speckle
from model.training.phantom_tissue import bend, paint
from model.training.phantom_window import Window

_OTHER_LOOK = (101, 57)  # samples, lines: white noise, moved, is other noise


@dataclass(frozen=True)
class Look:
    """Settings of the scanner for one picture."""

    dynamic_range_db: float
    brightness: float  # grey of the median, 0..1
    gamma: float
    axial_mm: float
    lateral_mm: float
    widening: float  # lateral blur at the bottom over that at the focus
    smoothing: float  # 0..1
    looks: int  # pictures of other speckle that are averaged
    floor_db: float  # electronic noise against fat, at the top
    floor_rise: float  # dB per mm, what the gain over depth does to it


@dataclass(frozen=True)
class Motion:
    """Where the tissue has gone since the first frame, mm."""

    dx: float = 0.0
    dz: float = 0.0  # of deep tissue; the skin stays on the probe
    nodes: tuple[tuple[float, float], ...] = ()  # further shift of each node


def draw_look(style: Style, rng: np.random.Generator) -> Look:
    """Draw scanner settings within a style."""
    return Look(
        rng.uniform(*style.dynamic_range_db),
        rng.uniform(*style.brightness),
        rng.uniform(*style.gamma),
        rng.uniform(*style.axial_mm),
        rng.uniform(*style.lateral_mm),
        rng.uniform(1.2, 2.0),
        rng.uniform(*style.smoothing),
        int(rng.integers(style.looks[0], style.looks[1] + 1)),
        rng.uniform(-50, -36),
        rng.uniform(0.0, 0.35),
    )


def tissue_echo(
    window: Window, anatomy: Anatomy, nodes: tuple[Node, ...], motion: Motion
) -> tuple[Canvas, tuple[Node, ...]]:
    """Draw the tissue on the probe's grid; returns it and the nodes where they are now."""
    x, z, depth = window.grid
    if motion.dx or motion.dz:
        hold = np.clip(depth / np.float32(6), 0, 1)
        x, z = x - np.float32(motion.dx) * hold, z - np.float32(motion.dz) * hold
    shifts = motion.nodes or ((0.0, 0.0),) * len(nodes)
    placed = tuple(moved(node, *shift) for node, shift in zip(nodes, shifts, strict=True))
    zeros = np.zeros(depth.shape, np.float32)
    canvas = Canvas(x, z, depth, zeros.copy(), zeros.copy(), zeros.copy())
    flat = bend(anatomy, x, z + (depth - window.grid[1]))
    for node in placed:
        _wrap(flat, canvas, node)
    paint(canvas, anatomy, flat)
    for node in placed:
        paint_node(canvas, node)
    return canvas, placed


def _wrap(flat: Field, canvas: Canvas, node: Node) -> None:
    """Bend the layers round a node, as tissue gives way to it."""
    part = block(node.outline, canvas.x, canvas.z, 0.5 * node.outline.b + 1)
    if part is None:
        return
    rho, _, _ = node.outline.radius(canvas.x[part], canvas.z[part])
    near = np.maximum(np.float32(0.4) + np.float32(1.3) * (rho - 1), np.float32(0.2))
    pull = np.where(rho < 2, near / np.maximum(rho, np.float32(0.2)) - 1, 0)
    pull = np.clip(pull, -0.6, 0)
    flat[part] += pull * (canvas.z[part] - np.float32(node.outline.z))


def grey(
    canvas: Canvas,
    window: Window,
    anatomy: Anatomy,
    look: Look,
    noise: Field,
) -> Field:
    """Turn tissue into grey on the probe's grid.

    Parameters
    ----------
    canvas
        The tissue.
    window, anatomy, look
        Geometry, attenuation and scanner settings.
    noise
        (2, samples, lines) standard normal; moves with the tissue in a cine.

    Returns
    -------
    Field
        (samples, lines) float32 in 0..1.
    """
    samples = canvas.depth.shape[0]
    step = float(canvas.depth[-1, 0]) / (samples - 1)
    change = np.cumsum(canvas.loss_db, axis=0, dtype=np.float32) * np.float32(-step)
    change -= np.float32(anatomy.attenuation_db) * canvas.depth
    reach, fall = anatomy.penetration
    change -= np.float32(fall) * np.maximum(canvas.depth - np.float32(reach), 0)
    for amplitude, rate, phase in anatomy.pressure:
        change += np.float32(amplitude) * np.sin(np.float32(rate) * canvas.x[-1:] + phase)
    gain = np.power(np.float32(10), change / np.float32(20))
    diffuse = np.power(np.float32(10), canvas.echo_db / np.float32(20)) * gain
    floor = np.float32(look.floor_db / 20) + np.float32(look.floor_rise / 20) * canvas.depth[:, :1]
    diffuse += np.power(np.float32(10), floor)
    axial, lateral = look.axial_mm / step, look.lateral_mm / _line_mm(canvas)
    mirror = canvas.mirror * gain * np.float32(4 / np.sqrt(2 * np.pi * axial * lateral))
    blur = (axial, lateral, lateral * look.widening)
    power = speckle(noise, diffuse, mirror, blur)
    for number in range(1, look.looks):  # steered otherwise, the same tissue has other speckle
        other = np.roll(noise, (_OTHER_LOOK[0] * number, _OTHER_LOOK[1] * number), (1, 2))
        power += speckle(other, diffuse, mirror, blur)
    power /= np.float32(look.looks)
    envelope = np.sqrt(power)
    if look.smoothing > 0.05:
        # compounding: the dark gaps of speckle fill up, borders stay
        smooth = ndimage.gaussian_filter1d(envelope, 1.2 * axial, axis=0, truncate=2.0)
        smooth = ndimage.gaussian_filter1d(smooth, 1.1 * lateral, axis=1, truncate=2.0)
        envelope += np.float32(look.smoothing) * (smooth - envelope)
    level = np.log10(envelope + np.float32(1e-4)) * np.float32(20)
    # the sonographer's gain, which does not go so far as to make noise look like tissue
    middle = max(float(np.median(level[samples // 8 : 3 * samples // 4 : 5, ::5])), -26.0)
    out = (level - np.float32(middle)) / np.float32(look.dynamic_range_db)
    shown: Field = np.clip(out + np.float32(look.brightness), 0, 1)
    if abs(look.gamma - 1) > 0.02:
        shown = np.power(shown, np.float32(look.gamma))
    return shown


def _line_mm(canvas: Canvas) -> float:
    middle = canvas.x[canvas.x.shape[0] // 2]
    width: float = float(abs(middle[-1] - middle[0]))
    return width / float(middle.size - 1)


def moved_noise(sheet: Field, window: Window, motion: Motion) -> Field:
    """Return the part of the noise that lies under the probe now; it sticks to the tissue."""
    if not (motion.dx or motion.dz):
        return sheet
    x, _, depth = window.grid
    samples, lines = depth.shape
    hold = np.clip(depth[:, 0] / np.float32(6), 0, 1)
    line_mm = np.abs(x[:, -1] - x[:, 0]) / (lines - 1)
    step = float(depth[-1, 0]) / (samples - 1)
    down = np.rint(hold * np.float32(motion.dz / step)).astype(np.intp)
    right = np.rint(hold * np.float32(motion.dx) / line_mm).astype(np.intp)
    rows = (np.arange(samples) - down) % samples
    columns = (np.arange(lines)[None, :] - right[:, None]) % lines
    return np.ascontiguousarray(sheet[:, rows[:, None], columns])
