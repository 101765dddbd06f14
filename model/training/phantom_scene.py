"""The scene of one picture: scanner, window, anatomy, and nodes that find room in it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from model.training.phantom_anatomy import Anatomy, Mimic, draw_anatomy
from model.training.phantom_node import Node, draw_node, moved
from model.training.phantom_records import Features
from model.training.phantom_render import Look, Motion, draw_look
from model.training.phantom_styles import STYLES, TRAINING, Style
from model.training.phantom_window import Window, draw_window

# independent random streams: changing how one part draws leaves the others as they were
PATIENT, STYLE, TISSUE, NODES, NOISE, WRITING, MOTION = range(7)


@dataclass(frozen=True)
class Scene:
    """Everything drawn for one picture before it is rendered."""

    style: Style
    window: Window
    look: Look
    anatomy: Anatomy
    nodes: tuple[Node, ...]


def stream(seed: int, patient: int, image: int, part: int) -> np.random.Generator:
    """Return the random stream of one part of one picture."""
    return np.random.default_rng([seed, patient, image, part])


def build_scene(
    seed: int,
    patient: int,
    image: int,
    wanted: tuple[str | None, tuple[int, int] | None, int | None],
    features: Features,
) -> Scene:
    """Draw the scene of one picture; `wanted`: style, screen size, number of nodes."""
    name, size, count = wanted
    of_patient = stream(seed, patient, 0, STYLE)
    drawn = str(of_patient.choice(TRAINING))
    style = STYLES[name or drawn]
    rng = stream(seed, patient, image, STYLE + 100)
    window, look = draw_window(style, size, rng), draw_look(style, rng)
    tissue = stream(seed, patient, image, TISSUE)
    anatomy = draw_anatomy(window.width_mm, window.depth_mm, tissue)
    rng = stream(seed, patient, image, NODES)
    drawn_count = int(rng.choice([1, 2, 3], p=[0.72, 0.20, 0.08]))
    if count == 0:
        anatomy = _without_contact(anatomy, rng)
    nodes = _place(window, features, drawn_count if count is None else count, rng)
    return Scene(style, window, look, _clear_view(anatomy, nodes), nodes)


def _clear_view(anatomy: Anatomy, nodes: tuple[Node, ...]) -> Anatomy:
    """Take away what would cover a node or hide it in its shadow: nobody could outline that."""
    if not nodes:
        return anatomy
    reach, fall = anatomy.penetration
    bottom = max(node.outline.z + node.outline.reach[1] for node in nodes)
    return replace(
        anatomy,
        mimics=tuple(m for m in anatomy.mimics if all(_apart(m, node) for node in nodes)),
        ribs=tuple(
            rib
            for rib in anatomy.ribs
            if not any(_above(rib.x, rib.half, rib.top, node) for node in nodes)
        ),
        shadows=tuple(
            shadow
            for shadow in anatomy.shadows
            if not any(_above(shadow[0], shadow[2], shadow[1], node) for node in nodes)
        ),
        penetration=(max(reach, bottom), fall),
    )


def _above(x: float, half: float, top: float, node: Node) -> bool:
    """Whether something at x, as deep as `top`, throws its shadow on a node."""
    half_x, half_z = node.outline.reach
    return abs(x - node.outline.x) < half + half_x and top < node.outline.z + half_z + 1.5


def _without_contact(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Make some pictures without a node show no tissue at all: a probe in air, or water."""
    draw = rng.random()
    if draw < 0.8:
        return anatomy
    deep = replace(anatomy.layers[0], echo_db=-60.0, septa_db=0.0)
    distance = float(rng.uniform(1.0, 2.6))
    return replace(
        anatomy,
        layers=(deep,),
        mimics=(),
        ribs=(),
        shadows=(),
        reverberation=(2.0 if draw < 0.9 else 0.3, distance),
        attenuation_db=0.0,
    )


def _place(
    window: Window, features: Features, count: int, rng: np.random.Generator
) -> tuple[Node, ...]:
    """Draw nodes and find room for them; a node that finds none is left out, the first never."""
    nodes: list[Node] = []
    for number in range(count):
        limit = (0.85 * window.width_mm, 0.5 * window.depth_mm)
        if count > 1:
            limit = (max(11.5, limit[0] * 0.55), limit[1] * 0.7)
        for _ in range(12):
            node = _at_random(window, draw_node(features, limit, rng), rng)
            if all(_gap(node, other) for other in nodes):
                nodes.append(node)
                break
        else:
            if number == 0:
                nodes.append(node)
    return tuple(nodes)


def _at_random(window: Window, node: Node, rng: np.random.Generator) -> Node:
    half_x, half_z = node.outline.reach
    z = rng.uniform(min(3 + half_z, 0.4 * window.depth_mm), 0.80 * window.depth_mm - 0.6 * half_z)
    room = 0.5 * window.width_mm
    if window.kind != "linear":
        room = min(room, (window.apex_mm + z) * np.tan(window.half_angle))
    # now and then a node is cut by the edge of the window
    free = max(0.0, room - half_x * (1.0 if rng.random() < 0.9 else 0.6) - 0.5)
    return moved(node, rng.uniform(-free, free), z)


def _gap(node: Node, other: Node) -> bool:
    """Whether two nodes lie clearly apart."""
    (ax, az), (bx, bz) = node.outline.reach, other.outline.reach
    dx = abs(node.outline.x - other.outline.x) / (ax + bx + 1.2)
    dz = abs(node.outline.z - other.outline.z) / (az + bz + 1.2)
    return bool(np.hypot(dx, dz) > 1)


def _apart(mimic: Mimic, node: Node) -> bool:
    (ax, az), (bx, bz) = mimic.outline.reach, node.outline.reach
    dx = abs(mimic.outline.x - node.outline.x) / (ax + bx + 0.3)
    dz = abs(mimic.outline.z - node.outline.z) / (az + bz + 0.3)
    return bool(np.hypot(dx, dz) > 1)


def draw_motions(count: int, nodes: int, rng: np.random.Generator) -> Iterator[Motion]:
    """Draw a smooth sweep of the probe over a scene with this many nodes."""
    sway, press = rng.uniform(1.0, 3.0), rng.uniform(0.3, 0.9)
    phase = rng.uniform(0, 6.3)
    own = rng.uniform(0.1, 0.5, (nodes, 2))
    for k in range(count):
        turn = phase + np.pi * k / max(count - 1, 1)
        slow, quick = np.cos(turn) - np.cos(phase), np.sin(2 * turn) - np.sin(2 * phase)
        yield Motion(
            float(sway * slow),
            float(press * quick),
            tuple((float(a * quick), float(0.5 * b * slow)) for a, b in own),
        )
