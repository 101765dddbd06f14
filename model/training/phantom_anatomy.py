"""The axilla without its nodes: which layers, vessels, ribs and imitations of nodes it has."""

from dataclasses import dataclass, field

import numpy as np

from model.training.phantom_shapes import Outline


@dataclass(frozen=True)
class Layer:
    """A layer of tissue; it ends where the next begins."""

    kind: str  # fat, muscle or deep
    top_mm: float  # in the middle of the picture
    slope: float  # mm per mm to the right
    echo_db: float
    septa_db: float  # contrast of bright septa or fibres
    angle: float  # of the texture, radians
    fascia: float  # strength of the line on its top
    lobule_mm: float  # size of fat lobules
    origin: tuple[float, float]


@dataclass(frozen=True)
class Mimic:
    """Something round that is no node."""

    kind: str  # vessel, lobule or muscle
    outline: Outline
    echo_db: float
    rim: float  # strength of its wall
    origin: tuple[float, float]


@dataclass(frozen=True)
class Rib:
    """A curved bright surface with a shadow below."""

    x: float  # mm
    top: float  # mm
    half: float  # half width, mm
    curve: float  # sag of the arc over the half width, mm
    brightness: float
    loss_db: float  # how dark the shadow is


@dataclass(frozen=True)
class Anatomy:
    """Everything in the tissue but the nodes."""

    layers: tuple[Layer, ...]
    mimics: tuple[Mimic, ...]
    ribs: tuple[Rib, ...]
    shadows: tuple[tuple[float, float, float, float], ...]  # x mm, top mm, width mm, dB per mm
    bends: tuple[tuple[float, float, float, float], ...]  # amplitude mm, 1/mm, phase, depth slant
    skin_mm: float
    skin: float  # strength of the skin's echo
    reverberation: tuple[float, float]  # strength, distance in mm of the bands below the skin
    attenuation_db: float  # per mm, what the gain over depth does not make up for
    penetration: tuple[float, float]  # mm to where the gain keeps up, dB per mm of loss beyond
    bowl: float  # curvature of the layers, 1/mm
    pressure: tuple[tuple[float, float, float], ...] = field(default=())  # lateral gain waves


def draw_anatomy(width_mm: float, depth_mm: float, rng: np.random.Generator) -> Anatomy:
    """Draw an axilla for a window of this size."""
    skin = rng.uniform(0.6, 1.8)
    return Anatomy(
        layers=_layers(skin, depth_mm, rng),
        mimics=_mimics(width_mm, depth_mm, rng),
        ribs=_ribs(width_mm, depth_mm, rng),
        shadows=tuple(
            (
                float(rng.uniform(-0.5, 0.5) * width_mm),
                float(rng.uniform(2, 0.6 * depth_mm)),
                float(rng.uniform(0.6, 3.5)),
                float(rng.uniform(0.3, 1.3)),
            )
            for _ in range(rng.poisson(0.8))
        ),
        bends=tuple(
            (
                float(rng.normal(0, 0.03 / np.sqrt(k)) / k**0.6),
                float(k),
                float(rng.uniform(0, 6.3)),
                float(rng.normal(0, 0.05)),
            )
            for k in (0.09, 0.19, 0.37, 0.7, 1.3)
        ),
        skin_mm=skin,
        skin=rng.uniform(0.8, 2.6),
        reverberation=(rng.choice([0.0, 0.25, 0.6]) * rng.random(), rng.uniform(1.0, 2.4)),
        attenuation_db=rng.uniform(-0.05, 0.30),
        penetration=(rng.uniform(0.45, 0.8) * depth_mm, rng.uniform(0.0, 0.9)),
        bowl=float(np.clip(rng.normal(0, 0.006), -0.014, 0.014)),
        pressure=tuple(
            (float(rng.normal(0, 1.0)), float(rng.uniform(0.08, 0.5)), float(rng.uniform(0, 6.3)))
            for _ in range(3)
        ),
    )


def _origin(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(0, 1024)), float(rng.uniform(0, 1024))


def _layer(kind: str, top: float, rng: np.random.Generator) -> Layer:
    slope = float(np.clip(rng.normal(0, 0.17), -0.4, 0.4)) if top > 3 else 0.0
    level = {"fat": (-4.5, 1.5), "muscle": (-9.0, -3.5), "deep": (-10.0, -3.0)}[kind]
    septa = {"fat": (3.0, 7.5), "muscle": (3.0, 7.5), "deep": (2.0, 6.0)}[kind]
    return Layer(
        kind,
        top,
        slope,
        rng.uniform(*level),
        rng.uniform(*septa),
        float(np.arctan(slope) + rng.normal(0, 0.15 if kind == "fat" else 0.07)),
        rng.choice([0.0, 1.0, 1.0]) * rng.uniform(0.3, 1.6),
        rng.uniform(2.5, 6.0),
        _origin(rng),
    )


def _layers(skin: float, depth: float, rng: np.random.Generator) -> tuple[Layer, ...]:
    tops = [skin]
    kinds = ["fat"]
    top = skin + rng.uniform(0.10, 0.38) * depth
    order = ["muscle", "fat", "muscle", "deep"]
    if rng.random() < 0.35:  # the probe lies beside the pectoral muscle
        order = ["fat", "muscle", "deep"]
    for kind in order:
        if top >= depth:
            break
        tops.append(top)
        kinds.append(kind)
        top += {"muscle": rng.uniform(0.1, 0.26), "fat": rng.uniform(0.3, 0.6), "deep": 9}[
            kind
        ] * depth
    return tuple(_layer(kind, at, rng) for kind, at in zip(kinds, tops, strict=True))


def _mimics(width: float, depth: float, rng: np.random.Generator) -> tuple[Mimic, ...]:
    mimics = []
    for _ in range(rng.poisson(1.7)):
        kind = str(rng.choice(["vessel", "vessel", "lobule", "lobule", "muscle"]))
        a, b, tilt = _extent(kind, rng)
        place = rng.uniform(-0.47, 0.47) * width, rng.uniform(0.2, 0.85) * depth
        level = {"vessel": (-32, -12), "lobule": (-4.5, -0.5), "muscle": (-9, -5)}[kind]
        mimics.append(
            Mimic(
                kind,
                Outline(
                    *place,
                    a,
                    b,
                    tilt,
                    ((2, rng.uniform(0, 0.1), 0.0), (3, rng.uniform(0, 0.1), 1.0)),
                ),
                rng.uniform(*level),
                rng.uniform(0.0, 1.0),
                _origin(rng),
            )
        )
    return tuple(mimics)


def _extent(kind: str, rng: np.random.Generator) -> tuple[float, float, float]:
    if kind == "vessel" and rng.random() < 0.45:  # cut along
        return rng.uniform(6, 18), rng.uniform(0.6, 1.7), rng.normal(0, 0.3)
    if kind == "vessel":
        b = rng.uniform(0.7, 2.6)
        return b * rng.uniform(1.0, 1.5), b, rng.uniform(-0.5, 0.5)
    if kind == "lobule":
        a = rng.uniform(3.0, 8.5)
        return a, a / rng.uniform(1.6, 3.2), rng.normal(0, 0.2)
    a = rng.uniform(5, 13)
    return a, a / rng.uniform(2.2, 4), rng.normal(0, 0.2)


def _ribs(width: float, depth: float, rng: np.random.Generator) -> tuple[Rib, ...]:
    return tuple(
        Rib(
            float(rng.uniform(-0.5, 0.5) * width),
            float(rng.uniform(0.6, 0.92) * depth),
            float(rng.uniform(4, 9)),
            float(rng.uniform(0.8, 2.5)),
            float(rng.uniform(0.6, 2.6)),
            float(rng.uniform(8, 30)),
        )
        for _ in range(rng.choice([0, 0, 1, 1, 2]))
    )
