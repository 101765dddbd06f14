"""A whole evaluation: bundle and dataset in; metrics, figures and a report out."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.bundle_file import Bundle
from model.errors import TrainingError
from model.runtime import Predictor
from model.training import figures, page, probes, spacing, subgroups, worst
from model.training.data import PICTURES, Readers
from model.training.evaluation import Looker, evaluate, look_at_picture
from model.training.index import Row, read_index
from model.training.results import ImageResult
from model.training.subgroups import Column
from model.training.summary import plain, report

Say = Callable[[str], None]
METRICS, PAGE = "metrics.json", "report.html"


def assess(
    bundle: Path,
    data: Path,
    out: Path,
    *,
    by: Sequence[str] = (),
    readers: Readers = PICTURES,
    look: Looker = look_at_picture,
    device: str = "auto",
    say: Say = print,
) -> dict[str, Any]:
    """Evaluate a bundle on a dataset folder; return what `metrics.json` holds.

    Raises
    ------
    BundleError
        The bundle does not verify.
    TrainingError
        The dataset or the output folder cannot be used.
    """
    loaded = Bundle.load(bundle)
    rows = read_index(data)
    columns = subgroups.read_columns(data, by)
    _check(rows)
    look = spacing.with_spacing(look, spacing.declared(data, rows))
    _make(out)
    predictor = Predictor(loaded, device)
    say(f"evaluating {loaded.name} {loaded.version} on {len(rows)} images")
    results = evaluate(
        predictor, rows, readers, lambda done, of: say(f"read {done}/{of} images"), look
    )
    asked = probes.probe(
        predictor,
        rows,
        results,
        readers,
        progress=lambda done, of: say(f"probed {done}/{of} images"),
    )
    measured = {
        **_measured(loaded, results, columns),
        **plain(probes.report(asked, loaded.card.aggregation)),
    }
    try:
        cases = _write_pictures(predictor, rows, results, readers, look, out)
        drawn = figures.draw(results, loaded.operating_points, loaded.card.aggregation)
        _write(out, page.render(loaded, data.name, measured, drawn, cases), measured, drawn)
    except OSError as error:
        raise TrainingError(f"{out} cannot be written: {error.strerror}") from error
    say(f"{out / PAGE} written")
    return measured


def _make(out: Path) -> None:
    """Make the output folder before minutes of reading; results in it are kept."""
    if any((out / name).exists() for name in (METRICS, PAGE)):
        raise TrainingError(f"{out} holds an evaluation already: name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be written: {error.strerror}") from error


def _check(rows: Sequence[Row]) -> None:
    """Refuse rows that would fail in the end."""
    if all(row.mask is None and row.label is None for row in rows):
        raise TrainingError("no row of the index has a mask or a label: nothing can be evaluated")
    files = [path for row in rows for path in (row.image, row.mask) if path is not None]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise TrainingError(
            f"{len(missing)} files of the index are not there, the first {missing[0]}: "
            "add them, or take their rows out"
        )


def _measured(
    bundle: Bundle, results: Sequence[ImageResult], columns: Sequence[Column]
) -> dict[str, Any]:
    """Gather everything that `metrics.json` says."""
    point, aggregation = bundle.operating_points[0], bundle.card.aggregation
    return {
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "digest": bundle.digest,
            "demonstration": bundle.demonstration,
        },
        **report(results, bundle.operating_points, aggregation),
        "subgroups": {
            c.name: plain(subgroups.report(results, c, point, aggregation)) for c in columns
        },
        "cohort": {c.name: plain(subgroups.cohort(results, c)) for c in columns},
    }


def _write_pictures(
    predictor: Predictor,
    rows: Sequence[Row],
    results: Sequence[ImageResult],
    readers: Readers,
    look: Looker,
    out: Path,
) -> list[page.Case]:
    """Write the worst images below `out` and return them for the page."""
    (out / "worst").mkdir(exist_ok=True)
    cases = []
    for rank, number in enumerate(worst.choose(results), start=1):
        path = out / "worst" / f"{rank}.png"
        worst.save(path, worst.picture(predictor, rows[number], readers, look))
        # the line, not the file's name: names of files often hold names of persons
        words = f"line {rows[number].line} of index.csv, Dice {results[number].dice:.2f}"
        cases.append(page.Case(path.read_bytes(), words))
    return cases


def _write(out: Path, html: str, measured: Mapping[str, Any], drawn: Mapping[str, str]) -> None:
    """Write the files; `metrics.json` comes last, for it says that the rest is complete."""
    (out / "figures").mkdir(exist_ok=True)
    for name, svg in drawn.items():
        (out / "figures" / f"{name}.svg").write_text(svg, encoding="utf-8")
    (out / PAGE).write_text(html, encoding="utf-8")
    (out / METRICS).write_text(json.dumps(measured, indent=2) + "\n", encoding="ascii")
