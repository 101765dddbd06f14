"""The model card that a run leaves: what the software knows, and what it asks for."""

import re
from dataclasses import replace

from model.bundle_file import SHIPPED, Bundle, OperatingPoint
from model.training.model_card import markdown

BUNDLE = Bundle.load(SHIPPED)


def with_card(**changes: object) -> str:
    return markdown(replace(BUNDLE, card=replace(BUNDLE.card, **changes)))


def test_it_holds_what_the_bundle_says() -> None:
    text = markdown(BUNDLE)
    card = BUNDLE.card
    assert BUNDLE.digest in text
    for said in (card.intended_use, card.intended_population, *card.limits):
        assert said in text
    for point in card.operating_points:
        assert f"| {point.name} | {point.threshold:.3f} | {point.sensitivity:.3f} (" in text
    measured = card.metrics["test"]
    assert f"| {measured['segmentation']['dice_mean']:.3f} (" in text
    assert f"| {measured['classification']['auroc']['value']:.3f} (" in text
    for part, patients in card.training["patients"].items():
        assert f"| {part} | {patients} | {card.training['images'][part]} |" in text
    assert card.training["initial_sha256"] in text
    assert "nothing clinical may rest on it" in text


def test_what_nobody_said_is_asked_for() -> None:
    asked = "Whom it is for, and whom not."
    assert asked not in markdown(BUNDLE)
    assert f"**To be written:** {asked}" in with_card(intended_population="Not stated.")
    assert "**To be written:** What it must not be used for." in with_card(limits=())
    assert "**To be written:** Ethics committee" in markdown(BUNDLE)


def test_what_was_not_measured_is_not_measured() -> None:
    assert "Not measured." in with_card(metrics={})
    text = with_card(metrics={"test": {"n_images": 3, "segmentation": {"dice_mean": None}}})
    assert "| test | 3 |  |  | not measured | not measured | not measured |" in text


def test_a_bare_card_is_no_error() -> None:
    """As an ensemble has it, without parts and stages."""
    text = with_card(training={"patients": {"all": 9}}, metrics={"note": "A note."})
    assert "| all | 9 |  |" in text
    assert "A note." in text
    assert "epoch" not in text.split("| Epochs")[0]


def test_it_does_not_say_of_an_ensemble_what_is_true_of_one_network() -> None:
    chosen = "each patient by the network of its fold"
    text = with_card(training={"networks": 5, "temperature_and_operating_points": chosen})
    assert "5 networks, each tested on patients that it never saw" in text
    assert f"Chosen {chosen}." in text
    assert "No patient is in two" not in text
    assert "on the validation part" not in text
    assert "Chosen on the validation part alone." in markdown(BUNDLE)


def test_a_threshold_that_nobody_chose_is_called_so() -> None:
    unchosen = tuple(
        OperatingPoint(point.name, point.threshold) for point in BUNDLE.card.operating_points
    )
    assert "Chosen by nobody" in with_card(operating_points=unchosen)


def test_every_item_of_tripod_ai_is_there() -> None:
    """An item that is not named looks answered."""
    lines = markdown(BUNDLE).splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))  # headings answer nothing
    spans = re.findall(r"\((\d+[^()]*)\)", text)
    named: set[int] = set()
    for span in spans:
        for part in span.split(", "):
            first, _, last = part.partition(" to ")
            numbers = [int(re.match(r"\d+", one)[0]) for one in (first, last or first) if one]
            named.update(range(numbers[0], numbers[-1] + 1))
    assert {3, *range(5, 26), 27} <= named  # 1, 2, 4: the title; 26: the limits
