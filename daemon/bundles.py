"""The bundles of a configuration: that of ``model.bundle``, and those that rules name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.config import Config
from daemon.errors import ConfigError
from daemon.loopback import is_loopback
from daemon.reading import Reader, reader
from model.bundle_file import SHIPPED, Bundle
from model.errors import BundleError


@dataclass(frozen=True)
class Bundles:
    """What may analyse a study."""

    first: Bundle  # where no rule says otherwise
    by_folder: Mapping[str, Bundle]  # as rules name them

    @property
    def every(self) -> tuple[Bundle, ...]:
        """Each of them once, the first one first."""
        return tuple(
            {each.digest: each for each in (self.first, *self.by_folder.values())}.values()
        )

    def named(self, folder: str | None) -> Bundle:
        """Return the bundle that a rule has chosen; None: no rule has."""
        return self.first if folder is None else self.by_folder[folder]


def load(config: Config) -> Bundles:
    """Verify and read every bundle of a configuration, or the one that ships.

    Raises
    ------
    ConfigError
        One is not whole, may not be served (see `guard_demonstration`), or has no operating point
        of the configured name.
    """
    model = config.model.bundle
    first = _load(Path(model) if model else SHIPPED, "model.bundle")
    named = {
        rule.bundle: f"rules.{number}.bundle"
        for number, rule in reversed(list(enumerate(config.rules)))
        if rule.bundle is not None
    }
    by_folder = {
        folder: first if folder == model else _load(Path(folder), key)
        for folder, key in named.items()
    }
    found = Bundles(first, by_folder)
    for bundle in found.every:
        guard_demonstration(config, bundle)
        check_operating_point(config, bundle)
    return found


def _load(folder: Path, key: str) -> Bundle:
    try:
        return Bundle.load(folder)
    except BundleError as error:
        raise ConfigError(f"{key}: {error}") from error


def guard_demonstration(config: Config, bundle: Bundle) -> None:
    """Keep a demonstration bundle's results on this machine, unless they are allowed out.

    Raises
    ------
    ConfigError
        A destination is not loopback and `model.allow_demonstration` is not set.
    """
    if not bundle.demonstration or config.model.allow_demonstration:
        return
    for destination in config.destinations:
        if not is_loopback(destination.machine):
            raise ConfigError(
                f"the bundle {bundle.name!r} is a demonstration and destination "
                f"{destination.name!r} is not on this machine: its findings mean nothing for a "
                "patient. Use a bundle trained on your own data, or, to try the connection only, "
                "set allow_demonstration = true under [model]"
            )


def check_operating_point(config: Config, bundle: Bundle) -> None:
    """Raise `ConfigError` where the bundle has no operating point of the configured name."""
    wanted, names = config.model.operating_point, [p.name for p in bundle.operating_points]
    if wanted is not None and wanted not in names:
        raise ConfigError(
            f"model.operating_point: the bundle {bundle.name!r} has no {wanted!r}; "
            f"it has {', '.join(names)}"
        )


def make_reader(config: Config, bundle: Bundle, node_id: str) -> Reader:
    """Build the reader that puts a bundle's analyses into words."""
    check_operating_point(config, bundle)
    return reader(
        bundle,
        aggregation=config.model.aggregation,
        operating_point=config.model.operating_point,
        ae_title=config.node.ae_title,
        node_id=node_id,
    )
