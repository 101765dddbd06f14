"""An ensemble of the folds' networks, made ready by patients that each network never saw.

The ensemble as a whole cannot be measured on the same dataset: every patient trained most of its
networks. So its temperature and operating points come from single networks, each on its own test
part, and so do the metrics of its card, which says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median_low
from typing import Any

import numpy as np

from model import bundle_file
from model.bundle_file import Bundle
from model.nodes import Rules
from model.runtime import Predictor
from model.training import evaluation, model_card, single
from model.training.checkpoint import write_whole
from model.training.fold_report import Outcome
from model.training.results import patients
from model.training.single import Task

_LIMIT = (
    "The ensemble itself was not measured: its metrics are those of its networks, each on patients"
    " that it never saw."
)
_RULES = "median of the rules of the folds"
_CALIBRATION = "each patient by the network of its fold, which never saw it"


def write(task: Task, outcomes: Sequence[Outcome], pooled: Sequence[dict[str, Any]]) -> Bundle:
    """Write `bundle` with the weights of all folds.

    Parameters
    ----------
    pooled
        Reports over all test patients, one for each repeat.
    """
    config = task.config
    rows = [row for part in vars(outcomes[0].fold.split).values() for row in part]
    training = {
        "images": {"all": len(rows)},
        "patients": {"all": len({row.patient for row in rows})},
        "networks": len(outcomes),
        "node_rules": _RULES,
        "temperature_and_operating_points": _CALIBRATION,
    }
    card = single.card_of(config, training)
    task.say("choosing temperature and operating points of the ensemble on all test patients")
    unseen = _unseen(task, outcomes)
    raw = np.array([score for score, _, _ in unseen], float)
    segmented = np.array([found for _, found, _ in unseen], np.bool_)
    labels = np.array([label for _, _, label in unseen], np.int8)
    card = replace(
        card,
        limits=(*card.limits, _LIMIT),
        nodes=_rules([outcome.bundle.card.nodes for outcome in outcomes]),
        metrics=_metrics(pooled),
        **single.calibrate(raw, segmented, labels, config.points),
    )
    weights = [o.bundle.read_weights(o.bundle.weights[0]) for o in outcomes]
    bundle = bundle_file.write(task.out / "bundle", card, weights)
    write_whole(task.out / model_card.NAME, model_card.markdown(bundle).encode())
    return bundle


def _rules(chosen: Sequence[Rules]) -> Rules:
    """Take the median of each fold's choice; of two in the middle the one that drops less."""
    return replace(
        chosen[0],
        min_fraction=median_low([rules.min_fraction for rules in chosen]),
        min_peak=median_low([rules.min_peak for rules in chosen]),
    )


def _unseen(task: Task, outcomes: Sequence[Outcome]) -> list[tuple[float, bool, int]]:
    """Logit at temperature 1, whether a node was segmented, and label of each labelled patient.

    With repeats several networks never saw a patient: the mean of their logits counts.
    """
    logits: dict[str, list[float]] = {}
    labels: dict[str, int] = {}
    for outcome in outcomes:
        # the fold's own temperature may have driven its scores to 0 or 1, where logits are lost
        raw = replace(outcome.bundle, card=replace(outcome.bundle.card, temperature=1.0))
        rows = [row for row in outcome.fold.split.test if row.label is not None]
        results = evaluation.evaluate(Predictor(raw), rows, task.readers)
        names = sorted({row.patient for row in rows})
        for name, patient in zip(names, patients(results), strict=True):
            labels[name] = patient.label
            held = logits.setdefault(name, [])
            if patient.segmented:
                held.append(float(single.logits(np.array([patient.score]))[0]))
    return [(fmean(held or [0.0]), bool(held), labels[name]) for name, held in logits.items()]


def _metrics(pooled: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Name the reports for what they are."""
    names = ["out_of_fold"]
    if len(pooled) > 1:
        names = [f"out_of_fold_{report['repeat']}" for report in pooled]
    return {"note": _LIMIT, **dict(zip(names, pooled, strict=True))}
