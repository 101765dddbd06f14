"""The tables of an evaluation's report, as HTML; None is shown as a dash."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from model.bundle_file import Bundle

_DASH = "–"
_PREVALENCES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table; the first cell of a row names it."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"] * bool(head)
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def bullets(lines: Iterable[str]) -> str:
    """Make a list."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def subject(bundle: Bundle, dataset: str, measured: Mapping[str, Any]) -> str:
    """Say what was measured on what."""
    scored = measured["classification"]
    images, people = measured["n_images"], measured["n_patients"]
    return table(
        [],
        [
            ["Bundle", f"{bundle.name} {bundle.version}"],
            ["Digest", bundle.digest],
            ["Network", bundle.architecture],
            ["Intended use", bundle.card.intended_use],
            ["Intended population", bundle.card.intended_population],
            ["Dataset", f"{dataset}: {images} images of {people} patients"],
            ["Labelled patients", f"{scored['n_labelled']}, {scored['n_positive']} positive"],
            ["Images the node would not read", _reasons(measured["not_evaluable"])],
            ["Score of a patient", f"{bundle.card.aggregation} over the nodes"],
        ],
    )


def shortcuts(values: Mapping[str, Any]) -> str:
    """Say what is left of the class without the node, and what calipers do to the score."""
    blanked, calipers = values["blanked"], values["calipers"]
    if not blanked["n_images"]:
        return '<p class="note">No image has a drawn node.</p>'
    left, shift = blanked["auroc"], calipers["median_shift"]
    found = f"{blanked['still_found']} of {blanked['n_images']}"
    return table(
        ["", "", "Wanted"],
        [
            ["AUROC with the drawn nodes painted out", _area(left), "0.5"],
            ["Images in which a node was found all the same", found, "few"],
            ["Change of the score by pasted calipers, median", _number(shift), "0"],
            ["The same, 95th percentile", _number(calipers["p95_shift"]), "near 0"],
        ],
    )


def segmentation(values: Mapping[str, Any]) -> str:
    """Overlap, distance and detection."""
    rows = [
        [words, _with(values[key], values[f"{key}_ci95"])]
        for key, words in (
            ("dice_mean", "Dice, mean"),
            ("dice_median", "Dice, median"),
            ("iou_mean", "IoU, mean"),
            ("iou_median", "IoU, median"),
        )
    ]
    for key, unit in (("hd95_mm", "mm"), ("hd95_px", "pixels, no spacing known")):
        part = values[key]
        if part["n"]:
            text = _with(part["median"], part.get("median_ci95"))
            rows.append([f"95 % Hausdorff distance ({unit}), median", f"{text}, n = {part['n']}"])
    missed, empty = values["missed"], values["without_node_left_empty"]
    rows += [
        ["Images with a node, none found", _of(missed, values["n_with_node"])],
        ["Images without a node, left empty", _of(empty, values["n_without_node"])],
        ["Number of nodes exact", str(values["node_count_exact"])],
    ]
    return table(["Over images that hold a node", "value (95 % CI)"], rows)


def classification(values: Mapping[str, Any]) -> str:
    """Discrimination and calibration."""
    area, precision, drawn = values["auroc"], values["auprc"], values["true_mask"]
    bootstrap = area.get("ci95_bootstrap")
    fit = values["calibration"]
    rows = [
        ["AUROC (DeLong)", _area(area)],
        ["AUROC, interval by bootstrap", _span(bootstrap) if bootstrap else _DASH],
        ["AUPRC (bootstrap)", _area(precision)],
        ["Prevalence: AUPRC of chance", _number(values["prevalence"])],
        ["Brier score", _number(values["brier"])],
        [f"Calibration intercept, ideal 0 (n = {fit['n']})", _estimate(fit, "intercept")],
        ["Calibration slope, ideal 1", _estimate(fit, "slope")],
        ["Labelled patients without a segmented node", str(values["n_without_segmented_node"])],
        [
            f"AUROC where a node is drawn (n = {values['with_node']['n_labelled']})",
            _area(values["with_node"]["auroc"]),
        ],
        [f"AUROC with the drawn masks (n = {drawn['n_labelled']})", _area(drawn["auroc"])],
        ["AUROC of the same with the found masks", _area(drawn["auroc_predicted_mask"])],
    ]
    abstain = values["abstain"]
    if abstain:
        share = f"{abstain['n']}, {_with(abstain['share'], abstain['share_ci95'])}"
        rows.append(["Between rule_out and rule_in: no answer", share])
    return table(["", "value (95 % CI)"], rows)


def operating_points(points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rates, confusion matrices, and predictive values at other prevalences."""
    kinds = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
    rates = table(
        ["", "threshold", *(kind.upper() if len(kind) == 3 else kind for kind in kinds)],
        [
            [f"{number}. {name}", _number(p["threshold"])]
            + [_with(p[kind], p[f"{kind}_ci95"]) for kind in kinds]
            for number, (name, p) in enumerate(points.items(), start=1)
        ],
    )
    counts = table(
        ["Patients", "true positive", "false negative", "false positive", "true negative"],
        [[name, *(str(p[key]) for key in ("tp", "fn", "fp", "tn"))] for name, p in points.items()],
    )
    predictive = table(
        ["PPV / NPV at a prevalence of", *(f"{p:.0%}" for p in _PREVALENCES)],
        [[name, *(_predictive(p, share) for share in _PREVALENCES)] for name, p in points.items()],
    )
    return [rates, "<h3>Confusion matrices</h3>", counts, predictive]


def cohort(name: str, values: Mapping[str, Any]) -> str:
    """Patients of each value by label."""
    pairs = values["negative_positive"]
    totals = [sum(pair[side] for pair in pairs.values()) for side in (0, 1)]
    rows = [
        [value, *(_share(count, total) for count, total in zip(pair, totals, strict=True))]
        for value, pair in pairs.items()
    ]
    test = f"{values['test']}: {_p(values['p'])}" if values["p"] is not None else "not tested"
    head = [f"{name} ({test})", f"negative, n = {totals[0]}", f"positive, n = {totals[1]}"]
    return table(head, rows)


def subgroup(name: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Numbers of each group, with the bundle's first operating point."""
    rows = []
    for value, said in groups.items():
        point_name, point = list(said.items())[-1]
        rows.append(
            [
                value,
                f"{said['n_images']} / {said['n_patients']}",
                _with(said["dice_mean"], said["dice_mean_ci95"]),
                _area(said["auroc"]),
                _with(point["sensitivity"], point["sensitivity_ci95"]),
                _with(point["specificity"], point["specificity_ci95"]),
            ]
        )
    rates = [f"sensitivity, {point_name}", f"specificity, {point_name}"]
    return table([name, "images / patients", "Dice", "AUROC", *rates], rows)


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} ({reason})" for reason, count in counts.items()) or "0"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _predictive(point: Mapping[str, Any], prevalence: float) -> str:
    """PPV and NPV by Bayes' rule from sensitivity and specificity."""
    sensitivity, specificity = point["sensitivity"], point["specificity"]
    if sensitivity is None or specificity is None:
        return _DASH
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    quiet, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    ppv = hits / (hits + alarms) if hits + alarms else None
    npv = quiet / (quiet + missed) if quiet + missed else None
    return f"{_number(ppv)} / {_number(npv)}"


def _area(values: Mapping[str, Any]) -> str:
    if values["value"] is None:
        return f"{_DASH} ({values['reason']})"
    text = _with(values["value"], values["ci95"])
    return f"{text}; {values['caution']}" if "caution" in values else text


def _estimate(fit: Mapping[str, Any], key: str) -> str:
    found = fit[key]
    return _with(found["value"], found["ci95"]) if found else f"{_DASH} ({fit['reason']})"


def _with(value: float | None, interval: Sequence[float] | None) -> str:
    return f"{_number(value)} ({_span(interval)})" if interval else _number(value)


def _span(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.3f}"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else str(part)
