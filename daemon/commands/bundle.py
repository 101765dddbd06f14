"""``axnode bundle``: what a model bundle is, whether it is whole, and which one is used."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.commands.common import add_config, read_config

if TYPE_CHECKING:
    from daemon.config import Config

_ACTIONS = {
    "show": "print its card",
    "verify": "load it, and run the network once",
    "use": "have the configuration name it, once it is verified",
    "back": "have the configuration name the one that it named before",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    what = "; ".join(f"{name}: {words}" for name, words in _ACTIONS.items())
    parser.add_argument("action", choices=tuple(_ACTIONS), help=what)
    parser.add_argument(
        "bundle", nargs="?", type=Path, metavar="DIR", help="its folder; left out: the shipped one"
    )
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Print the card, or load the weights into the network; a bad bundle raises BundleError."""
    from model.bundle_file import SHIPPED, Bundle

    if args.action in ("use", "back"):
        return _change(args)
    bundle = Bundle.load(args.bundle or SHIPPED)
    if args.action == "verify":
        from model.runtime import Predictor

        Predictor(bundle, "cpu").self_test()
        print(f"{bundle.name} {bundle.version} ({bundle.digest[:12]}): whole, and the network runs")
        return 0
    for line in _lines(bundle.name, _summary(bundle)):
        print(line)
    return 0


def _change(args: argparse.Namespace) -> int:
    """Change `model.bundle`; what could not serve is refused, and nothing changes."""
    import tomllib

    from daemon import config_edit
    from daemon.config import parse
    from daemon.errors import InputError

    config: Config = read_config(args)
    text = args.config.read_text(encoding="utf-8")
    if args.action == "use":
        wanted = str(args.bundle.resolve()) if args.bundle else config_edit.SHIPPED
    else:
        before = config_edit.bundle_before(text)
        if before is None:
            raise InputError(f"{args.config} does not say what it named before: axnode bundle use")
        wanted = before
    named = None if wanted == config_edit.SHIPPED else wanted
    if (config.model.bundle or None) == named:
        print(f"{args.config} names {wanted} already")
        return 0
    text = config_edit.with_bundle(text, named)
    _serves(parse(tomllib.loads(text)))
    config_edit.replace(args.config, text)
    print(f"{args.config} names {wanted}; next: systemctl reload axnode")
    print("studies at rest stay as they are; axnode bundle back goes back")
    return 0


def _serves(config: "Config") -> None:
    """Raise where a service with this configuration would not start, or its network not run."""
    from daemon import bundles
    from model.runtime import Predictor

    Predictor(bundles.load(config).first, "cpu").self_test()


def _summary(bundle: Any) -> dict[str, Any]:
    """Gather what a person wants to know, in the order in which they ask."""
    card = bundle.card
    return {
        "version": card.version,
        "digest": bundle.digest,
        "demonstration": "yes, not for patients" if card.demonstration else "no",
        "intended use": card.intended_use,
        "population": card.intended_population,
        "limits": list(card.limits),
        "network": card.architecture.label,
        "input": f"{card.input.width} x {card.input.height} grey, {card.input.resize}",
        "score of a side": f"{card.aggregation} over its nodes, temperature {card.temperature:g}",
        "operating points": {point.name: _point(point) for point in card.operating_points},
        "trained on": card.training.get("data", "not stated"),
        "metrics": {part: _metrics(values) for part, values in card.metrics.items()},
        "weights": [f"{entry.file} {entry.sha256[:12]}" for entry in bundle.weights],
        "licence": card.licence,
    }


def _point(point: Any) -> str:
    """One operating point in a line."""
    words = [f"threshold {point.threshold:.3f}"]
    for name in ("sensitivity", "specificity"):
        value, interval = getattr(point, name), getattr(point, f"{name}_ci95")
        if value is not None:
            span = f" ({interval[0]:.2f}-{interval[1]:.2f})" if interval else ""
            words.append(f"{name} {value:.2f}{span}")
    return ", ".join(words)


def _metrics(values: Any) -> str:
    """Dice and AUROC of one part in a line; a bundle of others may hold other metrics."""
    if not isinstance(values, Mapping):
        return str(values)
    words = [f"{values.get('n_images', '?')} images"]
    segmentation, classification = values.get("segmentation"), values.get("classification")
    if isinstance(segmentation, Mapping) and "dice_mean" in segmentation:
        words.append(f"Dice {segmentation['dice_mean']:.3f}")
    area = classification.get("auroc") if isinstance(classification, Mapping) else None
    if isinstance(area, Mapping) and "value" in area and "ci95" in area:  # absent: one class only
        low, high = area["ci95"]
        words.append(f"AUROC {area['value']:.3f} (95 % CI {low:.3f}-{high:.3f})")
    return ", ".join(words)


def _lines(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Lay the summary out; lists and tables are indented below their name."""
    yield title
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"  {name}:"
            yield from (f"    {key:<20} {text}" for key, text in value.items())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"  {name}:"
            yield from (f"    {text}" for text in value)
        else:
            yield f"  {name:<20} {value}"
