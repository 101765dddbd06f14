"""The report of an evaluation: one HTML page that needs no other file."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from model.bundle_file import Bundle
from model.training import appearance_table
from model.training import page_tables as tables

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .6rem 0 1.2rem }
th, td { border: 1px solid #ccc; padding: .25rem .6rem; text-align: left; vertical-align: top }
th { background: #f2f2f2 }
.banner { background: #8a1c1c; color: #fff; padding: .8rem 1rem; font-weight: bold }
.figures { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0 } figcaption, .note { color: #555; font-size: .9em }
"""
_BANNER = (
    "DEMONSTRATION bundle: it shows that the software works. Nothing on this page may influence "
    "a decision about a patient."
)
_LIMITS = (
    "The figures hold for images like these, at this prevalence and from these machines.",
    "Whether a patient here was also used for training cannot be seen from the bundle: whoever "
    "chose the data has to make sure.",
    "A patient's score is put together from the nodes of all the patient's images; one without a "
    "segmented node counts with score 0, and so does one whose images were all refused.",
    "Intervals cover the chance in drawing these patients, neither that of training nor errors "
    "in masks and labels.",
    "Subgroups are many and small: a difference between two is a question, not a finding.",
)
_CAPTIONS = {
    "roc": "Dots: the bundle's operating points, numbered as in the table.",
    "precision": "Dashed: the prevalence, which is what chance gives.",
    "reliability": "Groups of equally many patients with a segmented node; bars: Wilson intervals.",
    "decision": "Worth more than both alternatives where the blue line is the highest.",
    "confusion": "Shares are of the patients of a row's class.",
    "dice": "Missed nodes stand at 0.",
}


@dataclass(frozen=True)
class Case:
    """One picture of a bad outline."""

    png: bytes
    words: str  # under it; names no person and no file


def render(
    bundle: Bundle,
    dataset: str,
    measured: Mapping[str, Any],
    drawn: Mapping[str, str],
    cases: Sequence[Case],
) -> str:
    """Lay an evaluation out.

    Parameters
    ----------
    dataset
        Name of the dataset's folder.
    measured
        As in `metrics.json`.
    drawn
        SVG figures by name.
    """
    body = [
        f"<h1>Evaluation of {escape(bundle.name)}</h1>",
        f'<p class="banner">{_BANNER}</p>' if bundle.demonstration else "",
        '<p class="note">Research use only; not a medical device.</p>',
        "<h2>What was evaluated</h2>",
        tables.subject(bundle, dataset, measured),
        "<h2>Segmentation</h2>",
        tables.segmentation(measured["segmentation"]),
        "<h2>Classification, by patient</h2>",
        tables.classification(measured["classification"]),
        "<h2>Operating points</h2>",
        *tables.operating_points(measured["operating_points"]),
        "<h2>Figures</h2>",
        f'<div class="figures">{"".join(map(_figure, drawn, drawn.values()))}</div>',
        "<h2>What must not decide the class</h2>",
        tables.shortcuts(measured["shortcuts"]),
        "<h2>Texture, shape and edge</h2>",
        appearance_table.table(measured["appearance"]),
        *_groups(measured),
        *_worst(cases),
        "<h2>Limits</h2>",
        tables.bullets([*bundle.card.limits, *_LIMITS]),
    ]
    title = f"Evaluation of {escape(bundle.name)} {escape(bundle.version)}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _figure(name: str, svg: str) -> str:
    caption = _CAPTIONS.get(name.partition("-")[0], "")
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _groups(measured: Mapping[str, Any]) -> list[str]:
    if not measured["subgroups"]:
        return []
    return [
        "<h2>Cohort</h2>",
        *(tables.cohort(name, table) for name, table in measured["cohort"].items()),
        "<h2>Subgroups</h2>",
        *(tables.subgroup(name, groups) for name, groups in measured["subgroups"].items()),
    ]


def _worst(cases: Sequence[Case]) -> list[str]:
    if not cases:
        return []
    return [
        "<h2>Worst outlines</h2>",
        '<p class="note">Green: as drawn. Orange: as found.</p>',
        f'<div class="figures">{"".join(map(_case, cases))}</div>',
    ]


def _case(case: Case) -> str:
    data = base64.b64encode(case.png).decode("ascii")
    words = escape(case.words)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{words}">'
        f"<figcaption>{words}</figcaption></figure>"
    )
