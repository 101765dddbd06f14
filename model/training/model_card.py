"""The model card of a bundle, in the order of TRIPOD+AI.

Collins 2024, doi 10.1136/bmj-2023-078378. What the software knows it writes down: data by number,
recipe, rules, figures. What only the people who trained the model can know stands as a question,
"To be written", so that nothing looks answered.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from model.architecture import Architecture
from model.bundle_file import Bundle, Card

NAME = "model-card.md"
_NOT_STATED = ("", "Not stated.")

_QUESTIONS = {
    "3c": "Which inequalities in health are known in this population?",
    "5b": "First and last date of the examinations.",
    "6a": "Which hospitals, departments and scanners.",
    "6b": "Who was taken and who was not, where that differs from 3b.",
    "6c": "Treatments before the examination, such as neoadjuvant chemotherapy.",
    "8": "How the label was found (biopsy, dissection), when, and by whom, blinded or not.",
    "9": "Who drew the masks, with what training, and whether the label was known to them.",
    "10": "Why this many patients.",
    "12d": "How hospitals or scanners differ, and how that was dealt with.",
    "16": "How these patients differ from those it will be used on, and figures of such patients.",
    "17": "Ethics committee, its number, and consent.",
    "18": "Funding, conflicts of interest, protocol, registration, and how to ask for data.",
    "19": "Whether patients took part in the work.",
    "20b": "Age, stage and node size of the patients, for each part.",
    "24": "Whether the model was updated, and how it did before.",
    "25": "What the figures mean, beside other studies and beside readers.",
    "27c": "What has to be studied before anybody relies on it.",
}


def markdown(bundle: Bundle) -> str:
    """Return the card of a bundle that was trained and measured, as Markdown."""
    card = bundle.card
    parts = [
        f"# Model card: {card.name} {card.version}",
        _table(
            ("", ""),
            [
                ("Digest (SHA-256 of bundle.toml)", f"`{bundle.digest}`"),
                (
                    "Demonstration",
                    "yes: nothing clinical may rest on it" if card.demonstration else "no",
                ),
                ("Licence", card.licence),
                ("Order of this card", "TRIPOD+AI, its items in brackets"),
            ],
        ),
        *_purpose(card),
        *_data(card),
        *_methods(card),
        *_results(card),
        "## Limits (26)",
        "\n".join(f"- {limit}" for limit in card.limits) or _ask("What it must not be used for."),
        "## Ethics and openness (17 to 19)",
        *(_question(item) for item in ("17", "18", "19")),
    ]
    return "\n\n".join(parts) + "\n"


def _purpose(card: Card) -> list[str]:
    return [
        "## Purpose (1 to 4)",
        "Segments lymph nodes on axillary ultrasound and scores them for metastasis."
        f" {card.intended_use}",
        f"**Population (3b).** {_said(card.intended_population, 'Whom it is for, and whom not.')}",
        _question("3c"),
    ]


def _data(card: Card) -> list[str]:
    training = card.training
    counts = [
        (part, training["patients"][part], training.get("images", {}).get(part, ""))
        for part in training.get("patients", {})
    ]
    return [
        "## Data (5 to 11, 20)",
        f"**Source (5a).** {_said(str(training.get('data', '')), 'Where the images come from.')}",
        *(_question(item) for item in ("5b", "6a")),
        *(_question(item) for item in ("6b", "6c", "8", "9", "10")),
        "**Missing data (11).** A blank mask takes no part in the Dice loss, a blank label none in"
        " the loss of the class.",
        "**Parts (12a, 20a).** " + _parts(training),
        _table(("Part", "Patients", "Images"), counts),
        _question("20b"),
    ]


_STAGE = {
    "epochs": "Epochs",
    "scale": "Shrunk by",
    "batch": "Batch",
    "learning_rate": "Learning rate",
    "schedule": "Schedule",
    "share": "Share of images",
    "trains": "Trains",
}


def _methods(card: Card) -> list[str]:
    spec, training = card.input, card.training
    stages = [[stage.get(key, "") for key in _STAGE] for stage in training.get("stages", ())]
    return [
        "## Method (7, 12, 13, 15)",
        f"**Input (7, 12b).** The tissue region, {spec.width} x {spec.height} grey ({spec.resize}),"
        f" less {spec.mean:g}, over {spec.std:g}.",
        f"**Model (12c, 22).** {card.architecture.label}, then a CNN"
        f"{_classifier(card.architecture)}, both trained by one"
        " loss (Wang 2024, doi 10.1186/s12885-024-12619-6).",
        f"**Training (12c).** Initial weights: {_initial(training)}. Seed"
        f" {training.get('seed', 'unknown')}." + _best(training),
        _table(list(_STAGE.values()), stages),
        _losses(training.get("loss", {})),
        f"**Output (15).** Masks in pixels of the source, and a score of 0 to 1 for each node; the"
        f" {card.aggregation} over the nodes of a side is the side's. Temperature"
        f" {card.temperature:g}. A node covers at least {card.nodes.min_fraction:g} of the crop and"
        f" reaches {card.nodes.min_peak:g} in the mask.",
        "**Measures (12e).** As the documentation's page on evaluation defines them; intervals are"
        " 95 %.",
        _points(card),
        _question("12d"),
    ]


def _classifier(architecture: Architecture) -> str:
    named = f" ({architecture.classifier_encoder})" if architecture.classifier_encoder else ""
    outline = ", and on the outline" if architecture.outline_widths else ""
    return f"{named} on image x sigmoid(mask){outline}"


def _initial(training: Mapping[str, Any]) -> str:
    sha256 = training.get("initial_sha256")
    return str(training.get("initial", "unknown")) + (f", SHA-256 `{sha256}`" if sha256 else "")


def _losses(loss: Mapping[str, Any]) -> str:
    weights = ", ".join(f"{name} {weight:g}" for name, weight in loss.items())
    return f"**Class imbalance (13).** Weights of the loss: {weights or 'unknown'}."


def _parts(training: Mapping[str, Any]) -> str:
    if "networks" in training:
        return f"{training['networks']} networks, each tested on patients that it never saw."
    return "No patient is in two of them."


def _best(training: Mapping[str, Any]) -> str:
    """Which weights were kept; an ensemble has no one epoch."""
    if "best_epoch" not in training:
        return ""
    return f" Weights of epoch {training['best_epoch']}, the best on the validation part."


def _points(card: Card) -> str:
    """Thresholds, and what they gave where they were chosen."""
    where = card.training.get("temperature_and_operating_points", "on the validation part alone")
    if all(point.sensitivity is None for point in card.operating_points):
        where = "by nobody: there were not patients of both classes to choose them on"
    rows = [
        (
            point.name,
            f"{point.threshold:.3f}",
            _with_interval(point.sensitivity, point.sensitivity_ci95),
            _with_interval(point.specificity, point.specificity_ci95),
        )
        for point in card.operating_points
    ]
    words = f"**Operating points (12g, 15).** Chosen {where}."
    return f"{words}\n\n" + _table(("Name", "Threshold", "Sensitivity", "Specificity"), rows)


def _results(card: Card) -> list[str]:
    reports = {name: part for name, part in card.metrics.items() if isinstance(part, Mapping)}
    rows = [
        (
            name,
            str(report.get("n_images", "")),
            str(report.get("n_patients", "")),
            str(report.get("classification", {}).get("n_positive", "")),
            _measure(report, "segmentation", "dice_mean", "dice_mean_ci95"),
            _measure(report.get("classification", {}), "auroc", "value", "ci95"),
            _measure(report.get("classification", {}), "auprc", "value", "ci95"),
        )
        for name, report in reports.items()
    ]
    note = str(card.metrics.get("note", ""))
    return [
        "## Results (14, 16, 21, 23 to 25, 27)",
        "**Patients, events and performance (21, 23a).**",
        _table(("Part", "Images", "Patients", "Positive", "Dice, mean", "AUROC", "AUPRC"), rows)
        if rows
        else "Not measured.",
        *([note] if note else []),
        "**Fairness (14, 23a).** Not measured here: `axnode evaluate --by COLUMN` tells groups"
        " apart.",
        *(_question(item) for item in ("16", "24", "25")),
        "**Use (27a, 27b).** An image without tissue, or under Doppler colour, is not read, and the"
        " report says so. What is found, a person must see and confirm.",
        _question("27c"),
    ]


def _measure(report: Any, group: str, value: str, interval: str) -> str:
    part = report.get(group) if isinstance(report, Mapping) else None
    if not isinstance(part, Mapping):
        return "not measured"
    return _with_interval(part.get(value), part.get(interval))


def _with_interval(value: Any, interval: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _said(text: str, question: str) -> str:
    return _ask(question) if text.strip() in _NOT_STATED else text.strip()


def _question(item: str) -> str:
    return f"({item}) {_ask(_QUESTIONS[item])}"


def _ask(question: str) -> str:
    return f"**To be written:** {question}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
