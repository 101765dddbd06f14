"""What an analysis found, in a few values."""

import json
from dataclasses import replace

from daemon.summary import summarise
from dicom_io.findings import Exclusion, Reason
from tests.builders_objects import SourceSpec, findings, node, source, uid, view


def test_a_summary_is_json_and_holds_the_numbers() -> None:
    ds = source(uid("study", 0), SourceSpec(frames=3))
    found = findings([ds], [node(1, view(ds, 1), view(ds, 2), view(ds, 3))])
    found = replace(found, exclusions=(Exclusion("1.2.9", 4, Reason.COLOUR_OVERLAY),))
    summary = json.loads(json.dumps(summarise(found)))
    (one,) = summary["nodes"]
    assert (one["label"], one["frames"], one["key_frame"]) == ("Node 1", [1, 2, 3], 2)
    assert (one["long_axis"], one["axis_ratio"], one["unit"]) == (12.5, 2.0, "mm")
    assert summary["sides"] == [
        {"laterality": "R", "nodes": [1], "score": 0.6125, "evaluation": None}
    ]
    assert summary["exclusions"][0]["reason"] == "colour_overlay"
    assert summary["exclusions"][0]["words"] == Reason.COLOUR_OVERLAY.words
    assert summary["images"][0]["frames"] == 3
    assert summary["not_evaluable"] is None
    assert summary["operating_point"] == {"name": "max_accuracy", "threshold": 0.45}


def test_pixels_are_called_pixels() -> None:
    ds = source(uid("study", 0))
    found = findings([ds], [node(1, view(ds), calibrated=False)], calibrated=False)
    assert summarise(found)["nodes"][0]["unit"] == "px"


def test_a_summary_names_nobody() -> None:
    ds = source(uid("study", 0))
    text = json.dumps(summarise(findings([ds], [node(1, view(ds))])))
    for secret in ("Test^Axilla", "AX-1", "ACC42", "19700101"):
        assert secret not in text
