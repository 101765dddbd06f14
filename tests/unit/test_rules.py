"""Rules: what is analysed, and where its results go."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

import sample_dicoms
from daemon import cli, schema
from daemon.config_rules import Rule
from daemon.eligibility import HeaderOf, by_headers
from daemon.errors import ConfigError
from daemon.fallback import destinations_for
from daemon.rules import IGNORED, Verdict, judge
from daemon.spool import Spool
from dicom_io.facts import InstanceFacts, facts
from tests import builders
from tests.builders import Picture, Rows
from tests.fakes import mounted

SAMPLES = Path(sample_dicoms.__file__).parent
BLANK = facts(Dataset())
PACS = [
    {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": 4242}
    for name in ("pacs", "research")
]


@dataclass(frozen=True)
class Seen:
    """An image, as rules look at it."""

    facts: InstanceFacts | None = BLANK
    source_ae: str = "US1"
    assumed: bool = False


def image(source_ae: str = "US1", *, assumed: bool = False, **values: Any) -> Seen:
    return Seen(replace(BLANK, **values), source_ae, assumed)


def rule(**values: Any) -> Rule:
    parsed = builders.config(
        Path("unused"), rules=[{"name": "a rule", "analyse": True, **values}], destinations=PACS
    )
    return parsed.rules[0]


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({}, True),
        ({"source_ae": "US1"}, True),
        ({"source_ae": "us1"}, True),
        ({"source_ae": ["LOGIQ*", "US?"]}, True),
        ({"source_ae": "US"}, False),
        ({"modality": "US", "body_part": "AXILLA"}, True),
        ({"modality": "US", "body_part": "BREAST"}, False),
        ({"study_description": "*axill*"}, True),
        ({"series_description": "-"}, True),
        ({"series_description": "*"}, True),
        ({"laterality": ["L"]}, False),
        ({"laterality": ["R", "L"]}, True),
        ({"study_description": "[AX]*"}, True),
    ],
)
def test_a_rule_holds_where_every_condition_does(conditions: dict[str, Any], holds: bool) -> None:
    seen = image(
        modality="US", body_part="AXILLA", study_description="Axilla rechts", laterality="R"
    )
    assert rule(**conditions).holds(seen) is holds


def test_what_cannot_be_read_fulfils_what_its_sender_tells_only() -> None:
    unreadable = Seen(None)
    assert rule(source_ae="US1").holds(unreadable)
    assert not rule(modality="*").holds(unreadable)


def test_without_rules_headers_decide() -> None:
    assert judge((), [image()]) == Verdict(False, IGNORED)
    assert judge((), [image(), image(body_part="AXILLA")]) == Verdict(True, "body part says axilla")


def test_the_first_rule_that_answers_counts_for_each_question() -> None:
    rules = [
        rule(name="elsewhere", source_ae="OTHER", analyse=False),
        rule(name="research", source_ae="US1", analyse=None, destinations=["research"]),
        rule(name="no biopsies", study_description="*biopsy*", analyse=False),
        rule(name="all", analyse=True, destinations=["pacs"]),
    ]
    assert judge(rules, [image()]) == Verdict(True, "rule 'all'", ("research",), "rule 'research'")
    biopsy = image("US2", study_description="Axilla, core biopsy")
    assert judge(rules, [biopsy]) == Verdict(False, "rule 'no biopsies'", ("pacs",), "rule 'all'")


def test_a_rule_counts_that_holds_for_one_image_of_the_study() -> None:
    rules = [rule(name="no biopsies", series_description="*biopsy*", analyse=False)]
    images = [image(body_part="AXILLA"), image(series_description="biopsy")]
    assert judge(rules, images) == Verdict(False, "rule 'no biopsies'")


def test_a_persons_word_comes_before_rules() -> None:
    assert judge([rule(analyse=False)], [image(assumed=True)]).analyse


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"analyse": None}, "decides nothing"),
        ({"destinations": ["nowhere"]}, "no destination 'nowhere'"),
        ({"modalty": "US"}, r"rules\.0\.modalty: unknown key"),
        ({"name": ""}, r"rules\.0\.name"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rule(**values)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def test_a_study_is_sent_where_its_rule_says(rows: Rows, tmp_path: Path) -> None:
    """From the header in the spool to the deliveries."""
    spool = Spool(tmp_path / "spool")
    rows.receive(digest=builders.spooled(spool, Picture()))
    config = builders.config(
        tmp_path,
        destinations=PACS,
        rules=[{"name": "to research", "source_ae": "US1", "destinations": ["research"]}],
    )
    assembler = rows.assembler()
    assembler._judge = by_headers(spool, config.rules)
    rows.clock.advance(builders.QUIET_S)
    assembler.sweep()
    job = rows.claimed()
    assert job.destinations == ("research",)
    assert destinations_for("seg", config, job.destinations) == ["research"]
    assert destinations_for("seg", config, None) == ["pacs", "research"]
    story = next(row for row in rows.all(schema.events) if row.action == "eligible")
    assert story.detail.endswith("results go to research (rule 'to research')")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_study_that_the_disk_does_not_give_waits(rows: Rows, tmp_path: Path, number: int) -> None:
    """It might say axilla: nobody ignores it unread."""
    spool = Spool(tmp_path / "spool")
    digest = builders.spooled(spool, Picture())
    rows.receive(digest=digest)
    assembler = rows.assembler()
    assembler._judge = by_headers(spool, [])
    rows.clock.advance(builders.QUIET_S)
    with mounted() as share:
        share.fails(spool.path(digest), number)
        assert assembler.sweep() == 0
        assert rows.study().state == "receiving"
        share.errors.clear()
        share.missing(spool.path(digest))  # looked for before it was there
        assembler._not_before.clear()
        assert assembler.sweep() == 1
    assert rows.study().state == "queued"


def test_a_study_whose_share_is_not_mounted_waits(rows: Rows, tmp_path: Path) -> None:
    mark = tmp_path / "database"
    spool = Spool(tmp_path / "spool", mark=mark)
    rows.receive(digest="ab" + "0" * 62)
    assembler = rows.assembler()
    assembler._judge = by_headers(spool, [])
    rows.clock.advance(builders.QUIET_S)
    assert assembler.sweep() == 0
    assert rows.study().state == "receiving"
    mark.write_text("mine")
    assembler._not_before.clear()
    assembler.sweep()
    assert rows.study().state == "ignored"


def test_what_is_urgent_is_claimed_before_what_has_waited_longer(
    rows: Rows, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    assembler = rows.assembler()
    assembler._judge = by_headers(spool, [rule(name="theatre", source_ae="OR*", urgent=True)])
    for number, source in enumerate(("US1", "US1", "OR7"), 1):
        rows.receive(f"1.{number}.1", study=f"1.{number}", source=source, assumed=True)
        rows.clock.advance(builders.QUIET_S)
        assembler.sweep()
    claimed = [rows.claimed() for _ in range(3)]
    assert [job.study_uid for job in claimed] == ["1.3", "1.1", "1.2"]
    story = [row.detail for row in rows.all(schema.events) if row.action == "eligible"]
    assert story[2].endswith("; urgent (rule 'theatre')")
    assert "urgent" not in story[0]


def test_the_first_rule_that_says_so_decides_what_is_urgent() -> None:
    rules = [rule(name="not at night", urgent=False), rule(name="all", urgent=True)]
    image = HeaderOf(Path("unused"), "US1", assumed=True)
    assert judge(rules, [image]).urgent_by == ""
    assert judge(rules[1:], [image]).urgent_by == "rule 'all'"
    assert judge([], [image]).urgent_by == ""


def test_a_study_that_a_rule_ignores_says_which(rows: Rows, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    rows.receive(digest=builders.spooled(spool, Picture()))
    assembler = rows.assembler()
    assembler._judge = by_headers(spool, [rule(name="nothing of US1", analyse=False)])
    rows.clock.advance(builders.QUIET_S)
    assembler.sweep()
    assert (rows.study().state, rows.study().reason) == ("ignored", "rule 'nothing of US1'")


def test_rules_are_tried_on_files_before_they_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "axnode.toml"
    file.write_text('[[rules]]\nname = "US9"\nsource_ae = "US9"\nanalyse = false\n')
    command = ["rules", "test", str(SAMPLES / "7-normal-1.dcm"), "--config", str(file)]
    assert cli.main(command) == 0
    assert "analysed (" in capsys.readouterr().out
    assert cli.main([*command, "--source", "US9"]) == 0
    assert capsys.readouterr().out == "7-normal-1.dcm, study 1, 1 images: ignored: rule 'US9'\n"


def test_the_first_rule_that_names_a_bundle_decides(rows: Rows, tmp_path: Path) -> None:
    rules = [
        rule(name="high", source_ae="HF*", bundle="/bundles/high"),
        rule(name="low", source_ae="*", bundle="/bundles/low"),
    ]
    assembler = rows.assembler()
    assembler._judge = by_headers(Spool(tmp_path / "spool"), rules)
    assembler._bundle_of = lambda folder: builders.named(f"digest of {folder}")
    for number, source in enumerate(("HF1", "US1"), 1):
        rows.receive(f"1.{number}.1", study=f"1.{number}", source=source, assumed=True)
    rows.clock.advance(builders.QUIET_S)
    assembler.sweep()
    found = [row.bundle_digest for row in rows.all(schema.analyses)]
    assert found == ["digest of /bundles/high", "digest of /bundles/low"]
    story = [row.detail for row in rows.all(schema.events) if row.action == "eligible"]
    assert story[0].endswith("; by Test bundle 1.0 (rule 'high')")


def test_a_study_is_analysed_anew_where_a_rule_names_another_bundle(
    rows: Rows, tmp_path: Path
) -> None:
    assembler = rows.assembler()
    assembler._judge = by_headers(Spool(tmp_path / "spool"), [rule(bundle="/b")])
    rows.queued()
    rows.finish(rows.claimed())
    rows.receive("1.2.3.2")
    rows.clock.advance(builders.QUIET_S)
    assembler._bundle_of = lambda folder: builders.named(folder or "first")
    assembler.sweep()
    assert [row.bundle_digest for row in rows.all(schema.analyses)] == ["bundle", "/b"]


def test_a_rule_may_decide_on_a_bundle_only() -> None:
    assert rule(analyse=None, bundle="/b").decides
