"""Nodes that can be seen: how well one stands out, and what becomes of one that does not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from model.training.phantom_node import Node, draw_node, inner, plainer
from model.training.phantom_picture import patient_of
from model.training.phantom_records import Features
from model.training.phantom_scene import NOISE, Scene, build_scene, stream
from model.training.phantom_visible import LEAST_MM, detectability, visible

SEED = 777


def scene(patient: int, nodes: int = 1) -> Scene:
    return build_scene(SEED, patient, 0, ("birch", None, nodes), patient_of(SEED, patient)[1])


def noise(of: Scene, patient: int) -> np.ndarray:
    rng = stream(SEED, patient, 0, NOISE)
    return rng.standard_normal((2, *of.window.shape), np.float32)


def stands_out(of: Scene, patient: int) -> tuple[Scene, list[float]]:
    drawn, seen = visible(of, noise(of, patient))
    where = seen.canvas.x, seen.canvas.z
    return drawn, [detectability(seen.level, *where, node) for node in drawn.nodes]


def faint(of: Scene) -> Scene:
    """Give the nodes a cortex that is as bright as what lies round them."""
    return replace(of, nodes=tuple(replace(node, cortex_db=1.0) for node in of.nodes))


def test_nodes_of_a_scene_can_be_seen() -> None:
    """Two of them, small and in coarse tissue, fall short after four steps, but not far."""
    found = [found for patient in range(8) for found in stands_out(scene(patient), patient)[1]]
    assert sum(one >= LEAST_MM for one in found) >= 6
    assert min(found) >= LEAST_MM / 2


def test_a_node_that_can_be_seen_stays_as_it_was_drawn() -> None:
    plain = scene(0)
    plain = replace(plain, nodes=(replace(plain.nodes[0], cortex_db=-16.0),))
    assert stands_out(plain, 0)[0] == plain


@pytest.mark.parametrize("patient", range(4))
def test_a_faint_node_is_drawn_darker_and_nothing_else_changes(patient: int) -> None:
    before = faint(scene(patient))
    after, _ = stands_out(before, patient)
    assert after.nodes[0].cortex_db <= -1
    assert after.nodes[0].outline == before.nodes[0].outline
    assert replace(after, nodes=before.nodes) == before
    (one,), (other,) = before.nodes, after.nodes
    kept = {"cortex_db": one.cortex_db, "hilum": one.hilum, "islands": one.islands}
    assert replace(other, **kept, hilum_db=one.hilum_db) == one


def test_lost_differentiation_stays_lost() -> None:
    """It is a feature: hilum and cortex darken together, and only where it is lost."""
    for unclear in (True, False):
        features = Features(True, False, unclear, False)
        nodes = (draw_node(features, (40.0, 20.0), np.random.default_rng(n)) for n in range(40))
        node = next(node for node in nodes if node.hilum and node.cortex_db > -14)
        darker = plainer(node)
        assert darker.cortex_db < node.cortex_db
        kept = darker.hilum_db - darker.cortex_db == pytest.approx(node.hilum_db - node.cortex_db)
        assert kept == unclear


def test_a_hilum_gives_way_to_more_cortex() -> None:
    of = next(s for s in map(scene, range(20)) if s.nodes[0].hilum and not s.nodes[0].islands)
    shrunk = visible(faint(of), noise(of, 0))[0].nodes[0].hilum
    assert shrunk.a < of.nodes[0].hilum.a
    assert shrunk.b < of.nodes[0].hilum.b
    assert (shrunk.x, shrunk.z) == (of.nodes[0].hilum.x, of.nodes[0].hilum.z)


def test_grown_fat_is_bright_strands_or_grey_patches() -> None:
    """Half of the fatty nodes have the grey of what lies around, in patches, in their centre."""
    clear = Features(True, False, False, False)
    nodes = [draw_node(clear, (40.0, 20.0), np.random.default_rng(n)) for n in range(200)]
    patchy = [node for node in nodes if node.hilum_patches_db > 1.5]
    assert 25 <= len(patchy) <= 65
    assert all(node.hilum_db <= 0.5 for node in patchy)
    node = replace(patchy[0], hilum_streaks_db=0.0)
    assert spread_of_fat(node) > spread_of_fat(replace(node, hilum_patches_db=0.0)) + 1
    dark = Features(True, False, True, False)
    assert all(
        draw_node(dark, (40.0, 20.0), np.random.default_rng(n)).hilum_patches_db <= 1.5
        for n in range(50)
    )


def spread_of_fat(node: Node) -> float:
    """Deviation of the hilum's echo, dB."""
    z, x = np.mgrid[-10:10:0.1, -20:20:0.1].astype(np.float32)
    _, u, v = node.outline.radius(x, z)
    echo, _, fat = inner(node, x, z, u, v)
    return float(echo[fat > 0.99].std())


def test_detectability_is_contrast_over_deviation_times_root_of_area() -> None:
    """Normal noise of deviation 0.05, and a disc without a hilum that is 0.15 darker."""
    of = scene(0)
    node = replace(of.nodes[0], features=Features(True, False, True, False), hilum=None, islands=())
    node = replace(node, outline=replace(node.outline, x=0.0, z=20.0, a=8.0, b=8.0, waves=()))
    x, z = np.meshgrid(np.arange(-20, 20, 0.1), np.arange(0, 40, 0.1))
    x, z = x.astype(np.float32), z.astype(np.float32)
    level = norm.ppf(np.random.default_rng(1).random(x.shape)).astype(np.float32) * 0.05 + 0.5
    level[np.hypot(x, z - 20) < 8] -= 0.15
    expected = 3 * np.sqrt(np.pi) * 8
    assert detectability(level, x, z, node) == pytest.approx(expected, rel=0.02)
    coarse = detectability(level[::3, ::2], x[::3, ::2], z[::3, ::2], node)
    assert coarse == pytest.approx(expected, rel=0.05)
    assert detectability(level, x + 100, z, node) == 0


def test_detectability_does_not_depend_on_the_grid() -> None:
    """The lines of a curved probe run apart; at the edge of the fan as in its middle."""
    node = replace(scene(0).nodes[0], hilum=None, islands=())
    angle, depth = np.meshgrid(np.arange(-0.7, 0.7, 0.003), np.arange(0, 45, 0.1))
    x, z = (40 + depth) * np.sin(angle), (40 + depth) * np.cos(angle) - 40
    found = []
    for where in (0.0, 0.55):
        at = {"x": 60 * np.sin(where), "z": 60 * np.cos(where) - 40, "a": 6.0, "b": 6.0}
        round_ = replace(node, outline=replace(node.outline, **at, waves=()))
        level = norm.ppf(np.random.default_rng(1).random(x.shape)) * 0.05 + 0.5
        level[np.hypot(x - at["x"], z - at["z"]) < 6] -= 0.15
        grids = [part.astype(np.float32) for part in (level, x, z)]
        found.append(detectability(*grids, round_))
    assert found[1] == pytest.approx(found[0], rel=0.03)
