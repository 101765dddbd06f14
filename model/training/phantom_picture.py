"""Makes pictures and cines: scene, rendering, writing on the screen, truth."""

import numpy as np

from model.training.phantom_annotate import Caliper, annotate
from model.training.phantom_features import PRESETS, draw
from model.training.phantom_records import Features, Field, Mask, PhantomImage, PhantomNode
from model.training.phantom_render import moved_noise
from model.training.phantom_scene import (
    MOTION,
    NOISE,
    PATIENT,
    WRITING,
    Scene,
    build_scene,
    draw_motions,
    stream,
)
from model.training.phantom_visible import Rendered, render, visible
from model.training.phantom_window import Window


def patient_of(seed: int, patient: int, preset: str = "separable") -> tuple[int, Features, str]:
    """Return label (0 or 1), features and laterality of a patient."""
    rng = stream(seed, patient, 0, PATIENT)
    label, features = draw(PRESETS[preset], rng)
    return label, features, "R" if rng.random() < 0.5 else "L"


def generate(
    seed: int,
    patient: int,
    preset: str = "separable",
    style: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    image: int = 0,
    nodes: int | None = None,
) -> PhantomImage:
    """Make one picture.

    Parameters
    ----------
    seed, patient, image
        What the picture depends on; `image` numbers the pictures of one patient.
    preset
        Key of `PRESETS`.
    style
        Name of a scanner style; drawn from `TRAINING` per patient if left out.
    size
        (H, W) of the screen; drawn from the style's own if left out.
    nodes
        How many nodes, 0 to 3; drawn from 1 to 3 if left out. With 0 the picture shows what may be
        mistaken for a node, or a probe without contact; its label is None.
    """
    label, features, side = patient_of(seed, patient, preset)
    scene = build_scene(seed, patient, image, (style, size, nodes), features)
    writing = stream(seed, patient, image, WRITING)
    noise = _noise(scene.window, stream(seed, patient, image, NOISE))
    scene, rendered = visible(scene, noise)
    return _picture(scene, rendered, writing, (label if scene.nodes else None, side))


def generate_cine(
    seed: int,
    patient: int,
    n_frames: int,
    preset: str = "separable",
    style: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    image: int = 0,
    nodes: int | None = 1,
) -> list[PhantomImage]:
    """Make the frames of a cine: tissue, its speckle and its nodes move smoothly.

    Parameters are those of `generate`.
    """
    label, features, side = patient_of(seed, patient, preset)
    scene = build_scene(seed, patient, image, (style, size, nodes), features)
    sheet = _noise(scene.window, stream(seed, patient, image, NOISE))
    scene, _ = visible(scene, sheet)
    motions = draw_motions(n_frames, len(scene.nodes), stream(seed, patient, image, MOTION))
    known = label if scene.nodes else None
    return [
        _picture(
            scene,
            render(scene, motion, moved_noise(sheet, scene.window, motion)),
            stream(seed, patient, image, WRITING),  # the writing stands still
            (known, side),
            calipers=False,
        )
        for motion in motions
    ]


def _noise(window: Window, rng: np.random.Generator) -> Field:
    return rng.standard_normal((2, *window.shape), np.float32)


def _picture(
    scene: Scene,
    rendered: Rendered,
    writing: np.random.Generator,
    truth: tuple[int | None, str],
    *,
    calipers: bool = True,
) -> PhantomImage:
    window, style = scene.window, scene.style
    canvas = rendered.canvas
    level = window.to_screen(rendered.level, 0.0)
    x0, y0, x1, y1 = window.box
    height, width = window.screen
    frame = np.zeros((height, width, 3), np.uint8)
    tint = np.asarray(style.tint, np.float32) * 255
    frame[y0:y1, x0:x1] = np.rint(level[..., None] * tint).astype(np.uint8)
    nodes = []
    for node in rendered.nodes:
        mask = np.zeros((height, width), bool)
        rho = node.outline.radius(canvas.x, canvas.z)[0]
        mask[y0:y1, x0:x1] = window.to_screen(np.minimum(rho, 9), 9.0) < 1
        axes = 2 * node.outline.a, 2 * node.outline.b
        nodes.append(PhantomNode(mask, node.features, max(axes), min(axes)))
    nodes = sorted((n for n in nodes if n.mask.any()), key=lambda n: -int(n.mask.sum()))
    marks = _calipers(window, [n.mask for n in nodes], writing) if calipers else ()
    frame = annotate(frame, window, style, truth[1], writing, marks)
    return PhantomImage(
        frame, tuple(nodes), truth[0], window.box, window.mm_per_px, truth[1], style.name
    )


def _calipers(window: Window, masks: list[Mask], rng: np.random.Generator) -> tuple[Caliper, ...]:
    """Measure something in some pictures: a node, or any place."""
    if rng.random() > 0.2:
        return ()
    x0, y0, x1, y1 = window.box
    if masks and rng.random() < 0.7:
        rows, columns = np.nonzero(masks[0])
        left, right = columns.argmin(), columns.argmax()
        top, bottom = rows.argmin(), rows.argmax()
        return (
            Caliper(
                (float(columns[left]), float(rows[left])),
                (float(columns[right]), float(rows[right])),
            ),
            Caliper(
                (float(columns[top]), float(rows[top])),
                (float(columns[bottom]), float(rows[bottom])),
            ),
        )
    ends = rng.uniform(0.2, 0.8, (2, 2)) * [x1 - x0, y1 - y0] + [x0, y0]
    return (
        Caliper((float(ends[0, 0]), float(ends[0, 1])), (float(ends[1, 0]), float(ends[1, 1]))),
    )
