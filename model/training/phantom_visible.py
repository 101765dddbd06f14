"""Renders a scene, and sees to it that its nodes can be seen.

A fatty node with a thin rim, or a small one in coarse speckle, may be drawn and yet be invisible:
nobody could outline it, and a network that is shown its mask learns to guess.
"""

from dataclasses import dataclass, replace

import numpy as np

from model.training.phantom_node import Canvas, Node, inner, plainer
from model.training.phantom_records import Field
from model.training.phantom_render import Motion, grey, tissue_echo
from model.training.phantom_scene import Scene
from model.training.phantom_shapes import block

LEAST_MM = 6.0  # detectability below which a network's mean Dice was 0.65 and less
TRIES = 4  # to draw a node that can be seen


@dataclass(frozen=True)
class Rendered:
    """A scene as the probe sees it."""

    canvas: Canvas
    nodes: tuple[Node, ...]  # where they are now
    level: Field  # (samples, lines) grey, 0..1


def render(scene: Scene, motion: Motion, noise: Field) -> Rendered:
    """Render a scene; `noise` is (2, samples, lines), standard normal."""
    canvas, placed = tissue_echo(scene.window, scene.anatomy, scene.nodes, motion)
    level = grey(canvas, scene.window, scene.anatomy, scene.look, noise)
    return Rendered(canvas, placed, level)


def visible(scene: Scene, noise: Field) -> tuple[Scene, Rendered]:
    """Make the nodes that would drown in speckle plainer, step by step, and render the scene.

    A scene whose nodes can all be seen stays as it is. A few small ones stay below `LEAST_MM`. How
    plain a node is drawn depends on its features, and on nothing else that tells of the pathology.

    Parameters
    ----------
    scene
        As it was drawn.
    noise
        (2, samples, lines) standard normal.
    """
    for _ in range(TRIES):
        rendered = render(scene, Motion(), noise)
        x, z = rendered.canvas.x, rendered.canvas.z
        nodes = tuple(
            node if detectability(rendered.level, x, z, node) >= LEAST_MM else plainer(node)
            for node in scene.nodes
        )
        if nodes == scene.nodes:
            return scene, rendered
        scene = replace(scene, nodes=nodes)
    return scene, render(scene, Motion(), noise)


def detectability(level: Field, x: Field, z: Field, node: Node) -> float:
    """Return how well a node stands out of speckle: contrast / deviation x sqrt(area), in mm.

    That is the signal-to-noise ratio of the ideal observer for a disc (Smith and Wagner 1983,
    doi 10.1109/T-SU.1983.31404) but for the size of a speckle cell. The cortex counts, against the
    tissue round the node: a hilum looks like the fat outside.

    Parameters
    ----------
    level
        (H, W) grey.
    x, z
        (H, W) where its samples lie, mm.
    node
        Drawn there.
    """
    part = block(node.outline, x, z, 0.7 * node.outline.a)
    if part is None:
        return 0.0
    x, z, level = x[part], z[part], level[part]
    rho, u, v = node.outline.radius(x, z)
    ring = (rho > 1.1) & (rho < 1.7)
    cortex = (rho < 1) & (inner(node, x, z, u, v)[2] < 0.5)
    if not ring.any() or not cortex.any() or min(level.shape) < 2:
        return 0.0
    (down_x, right_x), (down_z, right_z) = np.gradient(x), np.gradient(z)
    area = float(np.abs(down_z * right_x - down_x * right_z)[cortex].sum())
    around = level[ring]
    contrast = float(around.mean() - level[cortex].mean())
    return contrast / max(float(around.std()), 1e-3) * float(np.sqrt(area))
