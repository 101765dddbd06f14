"""Lymph nodes: how they look given their features, and how they are drawn into the tissue.

Everything that is not one of the features of Table 1 (`Features`) is drawn without regard to the
pathology, so that the features are all that a network can learn.
"""

from dataclasses import dataclass, replace

import numpy as np

from model.training.phantom_records import Features, Field
from model.training.phantom_shapes import Outline, block, inside
from model.training.phantom_texture import lookup

_FATTY = 0.45  # share of nodes whose hilum is nearly all of them
_MOTTLED = 0.5  # share of those whose fat is as grey as what lies around, in patches
_DARKEST_DB = -17.0  # of a cortex


@dataclass(frozen=True)
class Node:
    """One node, ready to be drawn; echo levels in dB against fat."""

    outline: Outline
    features: Features
    cortex_db: float
    cortex_uneven_db: float  # deviation of the cortex's echo
    margin_mm: float  # blur of the outline
    capsule: float  # strength of the bright rim, 0: none
    hilum: Outline | None  # None: lost
    hilum_db: float
    hilum_blur_mm: float
    hilum_streaks_db: float
    hilum_patches_db: float
    islands: tuple[Outline, ...]  # further fat of a divided hilum
    origin: tuple[float, float]  # of its textures
    enhancement_db: float  # added below, per mm of its thickness


@dataclass
class Canvas:
    """Fields of the probe's grid that are drawn into, each float32 (samples, lines)."""

    x: Field  # mm
    z: Field  # mm
    depth: Field  # mm from the probe's face
    echo_db: Field  # of the scatterers
    mirror: Field  # amplitude of smooth interfaces
    loss_db: Field  # attenuation per mm beyond the tissue's mean, negative: enhancement


def draw_node(
    features: Features,
    limit_mm: tuple[float, float],
    rng: np.random.Generator,
    fatty_share: float = _FATTY,
) -> Node:
    """Draw the appearance of a node at the origin; `limit_mm` bounds its long and short axis.

    `fatty_share` is that of the nodes with a hilum that fat has all but replaced, as age does.
    """
    fatty = not features.unclear and rng.random() < fatty_share
    low, high = (10.5, min(34.0, limit_mm[0])) if features.large else (5.5, 9.4)
    long_mm = low + (high - low) * (rng.beta(1.5, 1.5) if fatty else rng.beta(1.2, 1.9))
    ratio = _axis_ratio(features, fatty, rng)
    short_mm = min(max(long_mm / ratio, 2.8), limit_mm[1])
    tilt = float(np.clip(rng.normal(0, 0.16), -0.5, 0.5))
    if ratio < 1.4:
        tilt = rng.uniform(-1.2, 1.2)
    outline = Outline(0.0, 0.0, long_mm / 2, short_mm / 2, tilt, _waves(features, rng))
    hilum, islands = _hilum(outline, features, fatty, rng)
    cortex = _cortex_db(features, fatty, rng)
    node = Node(
        outline=outline,
        features=features,
        cortex_db=cortex,
        cortex_uneven_db=rng.uniform(0.6, 2.2),
        margin_mm=rng.uniform(0.5, 1.1) if features.irregular else rng.uniform(0.2, 0.7),
        capsule=rng.uniform(0.0, 1.0),
        hilum=hilum,
        hilum_db=max(rng.uniform(-3.0, 5.5), cortex + 4.5),
        hilum_blur_mm=rng.uniform(0.15, 0.6),
        hilum_streaks_db=rng.uniform(1.5, 5.0),
        hilum_patches_db=rng.uniform(0.0, 1.5),
        islands=islands,
        origin=(float(rng.uniform(0, 1024)), float(rng.uniform(0, 1024))),
        enhancement_db=rng.uniform(-0.1, 0.35),
    )
    if features.unclear:
        return replace(
            node,
            hilum_db=cortex + rng.uniform(1.5, 4.5),
            hilum_blur_mm=rng.uniform(0.8, 1.8),
            hilum_streaks_db=rng.uniform(0.5, 1.5),
        )
    return _grown_fat(node, rng) if fatty else node


def _grown_fat(node: Node, rng: np.random.Generator) -> Node:
    """Give a node a centre that looks like the fat outside, and so does much of its border."""
    blur = rng.uniform(0.2, 1.0)
    if rng.random() < _MOTTLED:
        return replace(
            node,
            hilum_db=max(rng.uniform(-4.5, 0.5), node.cortex_db + 3.0),
            hilum_blur_mm=blur,
            hilum_streaks_db=rng.uniform(0.5, 3.0),
            hilum_patches_db=rng.uniform(2.0, 4.5),
        )
    return replace(
        node,
        hilum_db=max(rng.uniform(-3.5, 3.5), node.cortex_db + 3.0),
        hilum_blur_mm=blur,
        hilum_streaks_db=rng.uniform(2.5, 7.0),
    )


def _cortex_db(features: Features, fatty: bool, rng: np.random.Generator) -> float:
    """Draw a cortex a little darker than fat, up to nearly black."""
    if features.unclear:
        return -float(rng.uniform(7.0, 16.0))
    faint = 4.2 if features.large else 6.5  # a faint one is seen by its size
    return -float(rng.uniform(faint, 11.0 if fatty else 14.0))


def _axis_ratio(features: Features, fatty: bool, rng: np.random.Generator) -> float:
    if features.unclear:
        return float(rng.uniform(1.05, 2.0))
    if fatty:
        return float(rng.uniform(1.7, 3.8))
    return float(1.35 + 2.3 * rng.beta(1.6, 2.4))


def _waves(features: Features, rng: np.random.Generator) -> tuple[tuple[int, float, float], ...]:
    def wave(cycles: int, low: float, high: float) -> tuple[int, float, float]:
        return cycles, float(rng.uniform(low, high)), float(rng.uniform(0, 2 * np.pi))

    if not features.irregular:
        # a bean or an egg: low orders only
        return wave(2, 0.0, 0.06), wave(3, 0.0, 0.05)
    lobes = [wave(2, 0.02, 0.1), wave(3, 0.06, 0.15), wave(4, 0.04, 0.11), wave(5, 0.02, 0.08)]
    return (*lobes, wave(7, 0.01, 0.04), wave(9, 0.005, 0.03))


def _hilum(
    outline: Outline, features: Features, fatty: bool, rng: np.random.Generator
) -> tuple[Outline | None, tuple[Outline, ...]]:
    """Draw the fatty centre, in the frame of a node at the origin."""
    if features.unclear and rng.random() < 0.6:
        return None, ()
    if features.unclear:
        share = rng.uniform(0.25, 0.5)
        shift = rng.uniform(-0.3, 0.3, 2)
    else:
        share = rng.uniform(0.7, 0.94) if fatty else 0.38 + 0.47 * rng.beta(1.8, 1.4)
        # an eccentric hilum leaves a crescent of cortex, and may open through the outline
        free = 1 - share
        shift = np.array([rng.uniform(-0.6, 0.6), rng.choice([-1, 1]) * rng.beta(1.3, 1.3)]) * free
        shift[1] *= rng.choice([0.6, 1.15])
    a, b = outline.a * min(0.94, share * rng.uniform(1.0, 1.18)), outline.b * share
    thin = 0.5 if fatty else 0.8  # mm; cortex has a thickness that can be seen
    b = max(min(b, outline.b - thin), 0.4 * outline.b)
    hilum = replace(
        _placed(outline, shift[0] * outline.a, shift[1] * outline.b),
        a=a,
        b=b,
        waves=((2, rng.uniform(0, 0.1), rng.uniform(0, 6.3)), (3, rng.uniform(0, 0.09), 1.0)),
    )
    islands: tuple[Outline, ...] = ()
    if not features.unclear and outline.a > 9 and rng.random() < 0.3:
        side = rng.choice([-1, 1]) * rng.uniform(0.3, 0.6) * outline.a
        place = _placed(outline, side, rng.uniform(-0.2, 0.2) * outline.b)
        islands = (replace(place, a=0.35 * outline.a, b=rng.uniform(0.35, 0.6) * outline.b),)
    return hilum, islands


def _placed(outline: Outline, u: float, v: float) -> Outline:
    """Return a shape of the same direction with its centre at local coordinates u, v."""
    cos, sin = np.cos(outline.angle), np.sin(outline.angle)
    return replace(
        outline,
        x=outline.x + float(u * cos - v * sin),
        z=outline.z + float(u * sin + v * cos),
        waves=(),
    )


def plainer(node: Node) -> Node:
    """Return the node with a darker cortex, and more of it.

    Where the cortex cannot be told from the hilum the hilum darkens with it, for that is a feature.
    """
    cortex = max(node.cortex_db - 2.0, _DARKEST_DB)
    return replace(
        node,
        cortex_db=cortex,
        hilum_db=node.hilum_db + (cortex - node.cortex_db if node.features.unclear else 0.0),
        hilum=_shrunk(node.hilum) if node.hilum else None,
        islands=tuple(_shrunk(island) for island in node.islands),
    )


def _shrunk(outline: Outline) -> Outline:
    return replace(outline, a=0.88 * outline.a, b=0.82 * outline.b)


def moved(node: Node, dx: float, dz: float) -> Node:
    """Return the node shifted, hilum and all; its texture moves with it."""
    return replace(
        node,
        outline=node.outline.moved(dx, dz),
        hilum=node.hilum.moved(dx, dz) if node.hilum else None,
        islands=tuple(island.moved(dx, dz) for island in node.islands),
    )


def paint_node(canvas: Canvas, node: Node) -> None:
    """Draw a node over the tissue."""
    part = block(node.outline, canvas.x, canvas.z, 2.5)
    if part is None:
        return
    x, z = canvas.x[part], canvas.z[part]
    rho, u, v = node.outline.radius(x, z)
    distance = node.outline.distance(rho, u, v)
    ring = (rho > 1.05) & (rho < 1.5)
    around = float(canvas.echo_db[part][ring].mean()) if ring.any() else 0.0
    weight = inside(distance, node.margin_mm)
    echo, mirror, _ = inner(node, x, z, u, v)
    # a node in dark surroundings is darker still, or it would not be seen
    echo += np.float32(np.clip(around, -12, 1))
    canvas.echo_db[part] += weight * (echo - canvas.echo_db[part])
    canvas.mirror[part] += weight * (mirror - canvas.mirror[part])
    if node.capsule > 0:
        rim = np.exp(-((distance / np.float32(0.14)) ** 2)) * node.outline.steepness(u, v) ** 3
        gap = lookup("cloud", u, v, node.origin, stretch=(0.7, 0.7))
        canvas.mirror[part] += np.float32(node.capsule) * rim * np.clip(gap + 0.5, 0, 1.5)
    canvas.loss_db[part] -= np.float32(node.enhancement_db) * weight


def inner(node: Node, x: Field, z: Field, u: Field, v: Field) -> tuple[Field, Field, Field]:
    """Return what is inside a node, at places x, z (mm) and u, v on its own axes.

    Returns
    -------
    tuple of Field
        Echo level of cortex and hilum in dB against fat, amplitude of smooth interfaces, and the
        share of hilum, 0..1.
    """
    grain = lookup("grain", u, v, node.origin, stretch=(2.0, 2.0))
    cloud = lookup("cloud", u, v, node.origin, stretch=(0.6, 0.6))
    echo = np.float32(node.cortex_db) + np.float32(node.cortex_uneven_db) * (
        np.float32(0.5) * grain + np.float32(0.8) * cloud
    )
    fat = [shape for shape in (node.hilum, *node.islands) if shape is not None]
    if not fat:
        return echo, np.zeros_like(echo), np.zeros_like(echo)
    share = np.zeros_like(echo)
    for shape in fat:
        distance = shape.distance(*shape.radius(x, z)) + np.float32(0.25) * grain
        share = np.maximum(share, inside(distance, node.hilum_blur_mm))
    streaks = lookup("streak", u, v, node.origin, stretch=(0.55, 0.9))
    contrast = np.float32(node.hilum_streaks_db)
    bright = np.maximum(streaks - np.float32(0.7), 0)
    lines = lookup("septa", u, v, node.origin, stretch=(0.6, 0.6))
    level = np.float32(node.hilum_db) + contrast * (np.float32(0.4) * streaks + bright + lines)
    patches = lookup("cloud", u, v, node.origin, stretch=(0.4, 0.45))
    level += np.float32(1.5) * cloud + np.float32(node.hilum_patches_db) * patches
    mirror = share * (lines * np.float32(0.2) + bright * np.float32(0.2)) * contrast
    mirror *= np.float32(10 ** (node.hilum_db / 20) * 0.75)
    return echo + share * (level - echo), mirror, share
