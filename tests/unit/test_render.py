"""The report as people read it: from the bytes, escaped, and with nothing left out."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pydicom
import pytest

from dicom_io import render, results
from dicom_io.errors import ObjectError
from dicom_io.findings import Evaluation, Exclusion, Reason, SideFinding
from tests.builders_objects import (
    NOW,
    SourceSpec,
    findings,
    node,
    raw,
    source,
    study,
    uid,
    view,
    write,
)

SR_ONLY = results.ResultSettings(seg=False)


class Page(HTMLParser):
    """Collects the words of a page, and notices tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Note an opened tag."""
        self.tags.add(tag)
        if tag not in ("br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost tag is closed."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the words."""
        self.words += data


def page(data: bytes) -> Page:
    parsed = Page()
    parsed.feed(render.html(data))
    assert parsed.open == []
    return parsed


def test_page_and_text_say_the_same(tmp_path: Path) -> None:
    """Score against its threshold, the table of nodes, limits, exclusions: in both."""
    sets, paths = study(tmp_path, SourceSpec(), SourceSpec(number=2))
    found = findings(sets[:1], [node(1, view(sets[0])), node(2, view(sets[0], row=12))])
    left_out = Exclusion(str(sets[1].SOPInstanceUID), None, Reason.TOO_SMALL)
    side = SideFinding("R", (1, 2), 0.6125, Evaluation.SUSPECTED)
    found = replace(found, exclusions=(left_out,), sides=(side,))
    (built,) = results.build(found, paths, SR_ONLY, uid, NOW)

    shown = (page(built.data).words, render.text(built.data))

    for words in shown:
        for expected in (
            "Right axilla",
            "0.613 (threshold 0.450)",
            "Metastatic disease to axillary node: Suspected",
            "Node 2",
            "12.5 mm",
            "61.4 mm\u00b2",
            "0.570 (95 % CI 0.500 to 0.640)",
            "Image 2 of series 1: the tissue region is too small.",
            "Research use only.",
            "Women with breast cancer before surgery.",
            "1.2.0+0123abcd",
        ):
            assert expected in words


def test_page_is_self_contained(tmp_path: Path) -> None:
    """No script, no picture, no link: nothing is fetched."""
    sets, paths = study(tmp_path, SourceSpec())
    (built,) = results.build(findings(sets), paths, SR_ONLY, uid, NOW)
    parsed = page(built.data)
    assert not parsed.tags & {"script", "img", "link", "iframe", "a", "object"}
    assert "http" not in render.html(built.data)


def test_values_are_escaped(tmp_path: Path) -> None:
    """A name may hold markup, line breaks and terminal sequences."""
    ds = source(uid("study", 1))
    raw(ds, "PatientName", b'<script>alert("1")</script>^\x1b[2J&')
    path = write(ds, tmp_path / "source.dcm")
    (built,) = results.build(findings([ds]), [path], SR_ONLY, uid, NOW)

    shown = render.html(built.data)

    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "\x1b" not in shown + render.text(built.data)


def test_what_it_is_stands_at_the_top(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    shown = [
        render.html(results.build(found, paths, SR_ONLY, uid, NOW)[0].data)
        for found in (findings(sets), findings(sets, demonstration=True))
    ]
    tops = [html.split('class="banner"')[1][:60] for html in shown]
    assert ["Research use only" in top for top in tops] == [True, False]
    assert ["DEMONSTRATION" in top for top in tops] == [False, True]


def test_none_segmented_is_not_negative(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    (built,) = results.build(findings(sets), paths, SR_ONLY, uid, NOW)
    words = render.text(built.data)
    assert "None segmented. No score is given." in words
    assert "no negative finding" in words
    assert "Metastatic disease" not in words


def test_not_evaluable_is_told(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    found = replace(findings(sets), images=(), sides=(), not_evaluable=Reason.UNDECODABLE)
    (built,) = results.build(found, paths, SR_ONLY, uid, NOW)
    assert "Not evaluable: the image could not be decoded." in page(built.data).words


def test_a_dataset_is_read_as_well(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    (built,) = results.build(findings(sets), paths, SR_ONLY, uid, NOW)
    assert render.text(built.data) == render.text(pydicom.dcmread(io.BytesIO(built.data)))


def test_an_image_is_no_report(tmp_path: Path) -> None:
    _, paths = study(tmp_path, SourceSpec())
    with pytest.raises(ObjectError, match="not a structured report"):
        render.html(paths[0].read_bytes())


def test_a_page_of_the_console_leads_back(tmp_path: Path) -> None:
    sets, paths = study(tmp_path, SourceSpec())
    data = results.build(findings(sets), paths, SR_ONLY, uid, NOW)[0].data
    assert "<a " not in render.html(data)
    assert '<a href="/studies/7">Back to the study</a>' in render.html(data, "/studies/7")
