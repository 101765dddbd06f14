"""The model bundle: a folder of `bundle.toml` and safetensors weights, verified before use.

`bundle.toml` holds the SHA-256 of every weights file, so its own SHA-256, the digest, is the
identity of the whole model. Nothing in a bundle is ever unpickled, and torch is not needed here.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w

from model.architecture import Architecture
from model.errors import BundleError
from model.nodes import Rules
from model.preprocess import Spec

FORMAT_VERSION = 1
CARD_NAME = "bundle.toml"
SHIPPED = Path(__file__).parent / "bundle"  # the bundle that comes with AxNode


@dataclass(frozen=True)
class OperatingPoint:
    """A named threshold on the calibrated score, and what it gave on the validation part."""

    name: str  # e.g. "max_accuracy"
    threshold: float  # 0..1; at or above it a patient counts as suspected
    sensitivity: float | None = None  # 0..1
    specificity: float | None = None  # 0..1
    sensitivity_ci95: tuple[float, float] | None = None  # Wilson
    specificity_ci95: tuple[float, float] | None = None
    prevalence: float | None = None  # 0..1, share of positive patients it was chosen on


@dataclass(frozen=True)
class Weights:
    """One weights file; a bundle of several is an ensemble whose outputs are averaged."""

    file: str  # plain name within the bundle
    sha256: str  # hexadecimal


@dataclass(frozen=True)
class Card:
    """Everything `bundle.toml` says."""

    name: str  # e.g. "AxNode demonstration"
    version: str
    demonstration: bool  # True: never for clinical destinations
    intended_use: str  # ASCII; goes into the report
    intended_population: str  # ASCII; the inclusion and exclusion criteria
    limits: tuple[str, ...]  # ASCII, one sentence each
    licence: str  # SPDX identifier
    architecture: Architecture
    input: Spec
    nodes: Rules
    operating_points: tuple[OperatingPoint, ...]  # the first is the default
    temperature: float = 1.0  # class logits are divided by it
    aggregation: Literal["max", "mean"] = "max"  # from the nodes of a side to its score
    training: Mapping[str, Any] = field(default_factory=dict)  # what it was trained on, and how
    metrics: Mapping[str, Any] = field(default_factory=dict)  # what was measured, and on what


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    path: Path
    digest: str  # SHA-256 of bundle.toml's bytes; the model's identity everywhere
    card: Card
    weights: tuple[Weights, ...]

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Read and verify a bundle folder.

        Raises
        ------
        BundleError
            What is missing, malformed or altered, and what to do about it.
        """
        raw = _read(path, CARD_NAME)
        try:
            document = tomllib.loads(raw.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BundleError(f"{path / CARD_NAME} is not TOML: {error}") from error
        card, weights = _parse(path, document)
        bundle = cls(path, hashlib.sha256(raw).hexdigest(), card, weights)
        for entry in weights:
            bundle.read_weights(entry)
        return bundle

    def read_weights(self, entry: Weights) -> bytes:
        """Return the bytes of one weights file, proven to be those the card names."""
        data = _read(self.path, entry.file)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(
                f"{self.path / entry.file} is not the file that {CARD_NAME} names (SHA-256"
                " differs): copy the bundle again"
            )
        if not _is_safetensors(data):
            raise BundleError(f"{self.path / entry.file} is not a safetensors file")
        return data

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.card.name

    @property
    def version(self) -> str:
        """Version by its maker; two bundles of one version still differ in their digest."""
        return self.card.version

    @property
    def demonstration(self) -> bool:
        """True: served to loopback destinations only, unless the configuration allows it."""
        return self.card.demonstration

    @property
    def architecture(self) -> str:
        """The network in words, e.g. "DeepLabV3Plus resnet34"."""
        return self.card.architecture.label

    @property
    def intended_use(self) -> str:
        """What the model may be used for, ASCII."""
        return self.card.intended_use

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """The declared operating points, the default one first."""
        return self.card.operating_points


def write(path: Path, card: Card, weights: Sequence[bytes]) -> Bundle:
    """Write a bundle folder (made if missing) and load it back, verified."""
    path.mkdir(parents=True, exist_ok=True)
    names = ["weights.safetensors"]
    if len(weights) > 1:
        names = [f"weights-{number}.safetensors" for number in range(1, len(weights) + 1)]
    entries = []
    for name, data in zip(names, weights, strict=True):
        (path / name).write_bytes(data)
        entries.append({"file": name, "sha256": hashlib.sha256(data).hexdigest()})
    document = {"format_version": FORMAT_VERSION, **_plain(asdict(card)), "weights": entries}
    for name in ("outline_widths", "classifier_encoder"):  # which AxNode 0.1 does not know
        if not document["architecture"][name]:
            del document["architecture"][name]
    (path / CARD_NAME).write_text(tomli_w.dumps(document), encoding="ascii")
    return Bundle.load(path)


def _read(folder: Path, name: str) -> bytes:
    """Return a file of the bundle; no way out of its folder."""
    if not folder.is_dir():
        raise BundleError(f"no model bundle at {folder}: name an existing folder with {CARD_NAME}")
    if Path(name).name != name:
        raise BundleError(f"{folder / CARD_NAME} names a file outside of the bundle")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / name} cannot be read: {error.strerror}") from error


def _is_safetensors(data: bytes) -> bool:
    """Whether the bytes begin with the format's length and JSON header."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        return False
    try:
        return isinstance(json.loads(data[8 : 8 + size]), dict)
    except ValueError:
        return False


def _parse(path: Path, document: dict[str, Any]) -> tuple[Card, tuple[Weights, ...]]:
    """Turn the TOML document into records."""
    version = document.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path / CARD_NAME} has format version {version}; this AxNode reads {FORMAT_VERSION}"
        )
    try:
        weights = tuple(Weights(**entry) for entry in document.pop("weights"))
        points = tuple(_point(entry) for entry in document.pop("operating_points"))
        architecture = document.pop("architecture")
        architecture["classifier_widths"] = tuple(architecture["classifier_widths"])
        architecture["outline_widths"] = tuple(architecture.get("outline_widths", ()))
        card = Card(
            architecture=Architecture(**architecture),
            input=Spec(**document.pop("input")),
            nodes=Rules(**document.pop("nodes")),
            limits=tuple(document.pop("limits")),
            operating_points=points,
            **document,
        )
        _check(path, card, weights)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path / CARD_NAME}: missing, unknown or mistyped: {error}") from error
    return card, weights


def _point(entry: dict[str, Any]) -> OperatingPoint:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return OperatingPoint(**values)


def _check(path: Path, card: Card, weights: tuple[Weights, ...]) -> None:
    """Refuse a card whose values cannot be used."""
    points = card.operating_points
    problems = [
        (not card.temperature > 0, "temperature must be above 0"),
        (not all(0 <= p.threshold <= 1 for p in points), "a threshold must be within 0 and 1"),
        (not weights, "names no weights"),
        (not points, "names no operating point"),
        (card.aggregation not in ("max", "mean"), "aggregation must be max or mean"),
        (card.input.resize not in ("stretch", "letterbox"), "resize must be stretch or letterbox"),
        (card.input.width % 16 or card.input.height % 16, "input size must be a multiple of 16"),
        (not isinstance(card.demonstration, bool), "demonstration must be true or false"),
    ]
    for wrong, what in problems:
        if wrong:
            raise BundleError(f"{path / CARD_NAME}: {what}")


def _plain(value: Any) -> Any:
    """Make a document of types that TOML has; absent values are left out, as TOML has no null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
