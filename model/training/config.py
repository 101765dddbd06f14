"""Settings of a training run: one TOML file, validated with the name of the wrong key."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from model.architecture import Architecture
from model.errors import SettingError
from model.nodes import Rules
from model.preprocess import Spec

STRIDE = 16  # of the encoder: what it is given must be a multiple of this, shrunk or not
T = TypeVar("T")


def _require(where: str, key: str, met: bool, what: str) -> None:
    if not met:
        raise SettingError(f"{where}: {key} must be {what}" if where else f"{key} must be {what}")


@dataclass(frozen=True)
class Regions:
    """How a training image is cropped: in these shares, drawn once per image.

    The daemon meets declared regions, boxes found in pixels, and boxes that are a little off.
    """

    declared: float = 1.0  # the tissue_* columns of index.csv; where absent, the box found
    found: float = 0.0  # the greatest box that model.tissue finds in the pixels
    jittered: float = 0.0  # the declared or found box, each edge moved
    whole: float = 0.0  # the whole frame, annotation text included
    jitter: float = 0.06  # greatest move of an edge, as a share of the box


@dataclass(frozen=True)
class Augmentation:
    """The paper's nine, each drawn for each image anew: how much at most, and how often (0 to 1).

    The paper gives magnitudes for rotation and translation alone, and no probability.
    """

    flip: float = 0.5  # probability of a horizontal flip
    rotation_deg: float = 15.0  # greatest angle, either way
    rotation_p: float = 1.0
    translation: float = 0.10  # greatest shift, either way, share of the image
    translation_p: float = 1.0
    scale: float = 0.0  # greatest zoom either way, 0.15 is 15 %; not in the paper
    elastic: float = 0.02  # greatest displacement, share of the image
    elastic_p: float = 0.3
    gamma: float = 1.5  # greatest exponent, at least 1; its inverse is the least
    gamma_p: float = 1.0
    noise: float = 0.05  # greatest standard deviation of Gaussian noise, of the grey range
    noise_p: float = 0.3
    blur: int = 3  # width of the average blur, pixels, odd
    blur_p: float = 0.2
    sharpen: float = 1.0  # weight of what a pixel differs by from its neighbourhood of 3 x 3
    sharpen_p: float = 0.2
    dropout: float = 0.03  # greatest share of pixels set to black
    dropout_p: float = 0.2
    # not in the paper: what must not decide the class, drawn into some images (`traces`)
    calipers_p: float = 0.0  # a sonographer's marks, on nodes and beside them
    blank_p: float = 0.0  # the nodes are painted out, and the mask with them

    def __post_init__(self) -> None:
        """Refuse what no image can be changed by."""
        names = ("flip", *(f.name for f in dataclasses.fields(self) if f.name.endswith("_p")))
        wrong = [name for name in names if not 0 <= getattr(self, name) <= 1]
        if wrong:
            raise SettingError(f"augmentation: {wrong[0]} must be from 0 to 1")
        if self.blur < 1 or self.blur % 2 == 0:
            raise SettingError("augmentation: blur must be odd: 3, 5, 7")
        if self.gamma < 1:
            raise SettingError("augmentation: gamma must be at least 1")


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs at one resolution and learning rate."""

    epochs: int = 100
    scale: int = 1  # the network's image is shrunk by this factor: 2 is 160 x 128
    batch: int = 8
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    share: float = 1.0  # of the training images, drawn anew each epoch
    # "class": the masks stay as they are, and only what reads them is trained
    trains: Literal["all", "class"] = "all"

    def __post_init__(self) -> None:
        """Refuse a stretch in which nothing could be learned."""
        _require("", "epochs", self.epochs >= 1, "at least 1")
        _require("", "scale", self.scale >= 1, "at least 1")
        # batch normalisation cannot train on a single image
        _require("", "batch", self.batch >= 2, "at least 2")
        _require("", "learning_rate", self.learning_rate > 0, "above 0")
        _require("", "share", 0 < self.share <= 1, "above 0 and at most 1")


@dataclass(frozen=True)
class Loss:
    """Weights of the parts of the loss; the paper has Dice and class at unstated weights."""

    dice: float = 1.0
    pixel: float = 0.0  # pixelwise binary cross-entropy; teaches images without a node faster
    classification: float = 1.0
    positive: float = 1.0  # weight of positive labels against negative ones


@dataclass(frozen=True)
class Points:
    """Operating points, each by a rule that is evaluated on the validation part alone.

    Rules: max_accuracy, youden, specificity>=x, sensitivity>=x, with x from 0 to 1.
    """

    # the first is the bundle's default; the paper names greatest accuracy, and 100 % specificity
    named: tuple[str, ...] = ("max_accuracy", "youden", "specificity>=0.95", "sensitivity>=0.90")
    # at or above the one a side is reported as suspected, below the other as not suspected, and
    # as indeterminate between them; left blank: never, until a person declares them
    rule_in: str = ""
    rule_out: str = ""


@dataclass(frozen=True)
class Folds:
    """Cross-validation by patient: each patient is test patient once in each repeat."""

    count: int = 0  # parts of a division, at least 2; 0: one hold-out split, as in the paper
    repeats: int = 1  # the whole division anew, with another seed
    ensemble: bool = False  # also a bundle of all networks, whose outputs are averaged

    def __post_init__(self) -> None:
        """Refuse what is no division."""
        if self.count < 0 or self.count == 1:
            raise SettingError("folds: count must be at least 2, or 0 for one hold-out split")
        if self.repeats < 1:
            raise SettingError("folds: repeats must be at least 1")
        if not self.count and (self.repeats > 1 or self.ensemble):
            raise SettingError("folds: repeats and ensemble need a count of at least 2")


@dataclass(frozen=True)
class About:
    """What the bundle's card says that no code can know."""

    name: str = "AxNode trained"
    version: str = "1"
    demonstration: bool = True  # only a person who has validated a model sets this to false
    intended_use: str = "Research use only. Not a medical device."
    intended_population: str = "Not stated."
    limits: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    data: str = "Not stated."  # what it was trained on, in one sentence


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run; the defaults are the paper's where it says."""

    seed: int = 0
    initial: Literal["random", "efficientnet-lite0", "file", "first-stage"] = "random"
    # safetensors: a bundle's weights (of which first-stage leaves the classifier out), or an
    # encoder's under its own names
    initial_file: str = ""
    initial_sha256: str = ""  # of that file
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = 0  # CPU threads of torch; 0: torch's own choice
    # processes that decode and prepare images, then threads that draw batches ahead; 0: none
    workers: int = 2
    focus: float = 0.5  # probability that the classifier sees one of several nodes alone
    # probability that the classifier sees the drawn mask and not the found one: it then learns what
    # a node holds, and not how sure the first stage is of it; not in the paper
    drawn: float = 0.0
    # the weights that are measured and kept are a running mean, of which each step keeps this share
    # (0.998 forgets half in 350 steps); 0: those of the last step, as in the paper
    average: float = 0.0
    clip: float = 0.0  # greatest norm of the gradient, longer ones are shortened to it; 0: none
    patience: int = 0  # epochs without better weights after which the last stage ends; 0: never
    checkpoint_steps: int = 100  # a checkpoint after so many steps too; 0: after epochs only
    about: About = field(default_factory=About)
    architecture: Architecture = field(default_factory=Architecture)
    input: Spec = field(default_factory=Spec)
    nodes: Rules = field(default_factory=Rules)
    regions: Regions = field(default_factory=Regions)
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: Loss = field(default_factory=Loss)
    points: Points = field(default_factory=Points)
    folds: Folds = field(default_factory=Folds)
    stages: tuple[Stage, ...] = (Stage(),)

    def __post_init__(self) -> None:
        """Refuse what would train nothing, or not what it says."""
        _require("", "stages", len(self.stages) > 0, "one [[stages]] or more")
        for name in ("seed", "threads", "workers", "patience", "checkpoint_steps", "clip"):
            _require("", name, getattr(self, name) >= 0, "at least 0")
        for name in ("focus", "drawn"):
            _require("", name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        _require("", "average", 0 <= self.average < 1, "at least 0 and less than 1")
        _require("input", "std", self.input.std > 0, "above 0")
        for name in ("width", "height"):
            finest = STRIDE * math.lcm(*(stage.scale for stage in self.stages))
            size = getattr(self.input, name)
            _require("input", name, size > 0 and size % finest == 0, f"a multiple of {finest}")
        if self.average and any(s.trains == "class" for s in self.stages):
            raise SettingError(
                'stages: trains = "class" reads the masks of the last step, and average keeps a'
                " mean of other masks: take one of them out"
            )
        if not self.loss.classification and any(s.trains == "class" for s in self.stages):
            raise SettingError(
                'stages: trains = "class" trains nothing where loss.classification is 0: take one'
                " of them out"
            )


def load(path: Path | None) -> TrainConfig:
    """Read a configuration; None gives the paper's.

    Raises
    ------
    SettingError
        The file cannot be read, or names the wrong key.
    """
    if path is None:
        return TrainConfig()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(f"{path} is not TOML: {error}") from error
    return _record(TrainConfig, document, str(path))


def _record(kind: type[T], document: Mapping[str, Any], where: str) -> T:
    """Fill a frozen record from a table, nested records included."""
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    default = kind()
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in known:
            raise SettingError(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
        values[key] = _value(getattr(default, key), value, f"{where}: {key}")
        choices = get_args(get_type_hints(kind)[key])
        if isinstance(values[key], str) and choices and values[key] not in choices:
            raise SettingError(f"{where}: {key} must be one of {', '.join(choices)}")
    try:
        return kind(**values)
    except (ValueError, SettingError) as error:
        raise SettingError(f"{where}: {error}") from error


def _value(default: Any, value: Any, where: str) -> Any:
    """Check a value against the type of the key's default."""
    if dataclasses.is_dataclass(default):
        return _record(type(default), _typed(value, dict, where), where)
    if isinstance(default, tuple):
        items = _typed(value, list, where)
        if default and dataclasses.is_dataclass(default[0]):
            return tuple(_record(type(default[0]), item, where) for item in items)
        return tuple(items)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _typed(value, type(default), where)


# as TOML calls them
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _typed(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:
        found = _WORDS.get(type(value), type(value).__name__)
        hint = ": write [[stages]]" if where.endswith(": stages") else ""
        raise SettingError(f"{where} must be {_WORDS[kind]}, not {found}{hint}")
    return value
