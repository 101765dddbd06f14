"""``axnode bundle show|verify [DIR]``: what a model bundle is, and whether it is whole."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("action", choices=("show", "verify"), help="what to do with the bundle")
    parser.add_argument(
        "bundle", nargs="?", type=Path, metavar="DIR", help="its folder; left out: the shipped one"
    )


def run(args: argparse.Namespace) -> int:
    """Print the card, or load the weights into the network; a bad bundle raises BundleError."""
    from model.bundle_file import SHIPPED, Bundle

    bundle = Bundle.load(args.bundle or SHIPPED)
    if args.action == "verify":
        from model.runtime import Predictor

        Predictor(bundle, "cpu").self_test()
        print(f"{bundle.name} {bundle.version} ({bundle.digest[:12]}): whole, and the network runs")
        return 0
    for line in _lines(bundle.name, _summary(bundle)):
        print(line)
    return 0


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
