"""Which analysis is next, and which are read together."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from daemon import claims, schema
from daemon.clock import seconds
from daemon.jobs import LEASE_US, Job
from tests import builders
from tests.builders import INTERVAL_S, Rows

pytestmark = pytest.mark.engines


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with builders.database(tmp_path) as opened:
        yield Rows(opened)


def queue(rows: Rows, source: str, study: str, images: int = 1) -> None:
    """Bring a study of a source to the queue."""
    for number in range(images):
        rows.receive(f"{study}.{number}", study=study, source=source)
    rows.assemble()


def take(rows: Rows, after: str = "", frames: int = 1) -> list[Job]:
    """Claim as a worker does."""
    return rows.database.write(
        lambda c: claims.claim(c, rows.clock(), seconds(INTERVAL_S), "worker", after, frames)
    )


def in_turn(rows: Rows) -> list[Job]:
    """Claim one after another until there is none."""
    taken: list[Job] = []
    while found := take(rows, taken[-1].source_ae if taken else ""):
        taken += found
    return taken


def names(found: Sequence[Job]) -> list[str]:
    return [job.study_uid for job in found]


def test_a_source_with_many_studies_holds_up_another_by_one(rows: Rows) -> None:
    for number in range(5):
        queue(rows, "BUSY", f"1.{number}")
    queue(rows, "QUIET", "2.0")
    queue(rows, "", "3.0")
    found = in_turn(rows)
    assert names(found[:3]) == ["1.0", "2.0", "3.0"]
    assert names(found[3:]) == ["1.1", "1.2", "1.3", "1.4"]


def test_sources_take_turns_and_each_has_its_oldest_first(rows: Rows) -> None:
    for number in range(3):
        for source in ("US2", "US10", "US1"):
            queue(rows, source, f"{source[2:]}.{number}")
    found = in_turn(rows)
    assert len(found) == 9
    for start in (0, 3, 6):
        assert {job.source_ae for job in found[start : start + 3]} == {"US1", "US2", "US10"}
    by_source = sorted(found, key=lambda job: job.source_ae)  # which is stable
    for _, own in groupby(by_source, lambda job: job.source_ae):
        assert [name[-1] for name in names(list(own))] == ["0", "1", "2"]


def test_what_is_not_due_holds_up_nobody(rows: Rows) -> None:
    queue(rows, "US1", "1.0")
    queue(rows, "US2", "2.0")
    analyses = schema.analyses
    later = rows.clock() + seconds(INTERVAL_S / 2)
    rows.database.write(
        lambda c: (
            c.execute(update(analyses).where(analyses.c.source_ae == "US1").values(due_us=later))
            and None
        )
    )
    assert names(in_turn(rows)) == ["2.0"]
    rows.clock.advance(INTERVAL_S)
    rows.clock.advance(LEASE_US // seconds(1))
    assert "1.0" in names(in_turn(rows))


def test_small_studies_fill_a_batch_together(rows: Rows) -> None:
    queue(rows, "US1", "1.0", images=2)
    queue(rows, "US2", "2.0")
    queue(rows, "US1", "1.1", images=3)
    queue(rows, "US2", "2.1")
    assert names(take(rows, frames=4)) == ["1.0", "2.0", "1.1"]
    assert names(take(rows, frames=4)) == ["2.1"]
    assert take(rows, frames=4) == []


def test_a_job_of_no_images_takes_no_others_with_it(rows: Rows) -> None:
    queue(rows, "US1", "1.0")
    queue(rows, "US1", "1.1")
    rows.database.write(lambda c: c.execute(delete(schema.analysis_instances)) and None)
    assert names(take(rows)) == ["1.0"]


def test_a_study_that_fills_a_batch_goes_alone(rows: Rows) -> None:
    queue(rows, "US1", "1.0", images=4)
    queue(rows, "US1", "1.1")
    assert names(take(rows, frames=4)) == ["1.0"]


def test_a_cine_goes_alone(rows: Rows) -> None:
    queue(rows, "US1", "1.0")
    queue(rows, "US2", "2.0")
    queue(rows, "US3", "3.0")
    instances = schema.instances
    cine = update(instances).where(instances.c.source_ae == "US2")
    cine = cine.values(sop_class_uid=builders.US_MULTIFRAME)
    rows.database.write(lambda c: c.execute(cine) and None)
    taken = [names(take(rows, after, frames=4)) for after in ("", "US1", "US2")]
    assert taken == [["1.0"], ["2.0"], ["3.0"]]


def test_what_has_failed_before_goes_alone(rows: Rows) -> None:
    queue(rows, "US1", "1.0")
    queue(rows, "US2", "2.0")
    (bad,) = take(rows)
    rows.fail(bad)
    rows.clock.advance(60)
    assert names(take(rows, frames=4)) == ["1.0"]
    assert names(take(rows, frames=4)) == ["2.0"]
    rows.clock.advance(2 * LEASE_US // seconds(1))
    queue(rows, "US3", "3.0")
    assert names(take(rows, frames=4)) == ["1.0"]  # both lost their worker
    assert names(take(rows, frames=4)) == ["2.0"]
    assert names(take(rows, frames=4)) == ["3.0"]


def test_what_has_failed_before_is_taken_beside_nothing(rows: Rows) -> None:
    queue(rows, "US1", "1.0")
    queue(rows, "US2", "2.0")
    (bad,) = take(rows, after="US1")
    assert bad.study_uid == "2.0"
    rows.fail(bad)
    rows.clock.advance(60)
    assert names(take(rows, frames=4)) == ["1.0"]
    assert names(take(rows, frames=4)) == ["2.0"]


def test_studies_for_several_bundles_are_read_apart(rows: Rows) -> None:
    queue(rows, "US1", "1.0")
    rows.receive("2.0.1", study="2.0", source="US2")
    rows.clock.advance(builders.QUIET_S)
    rows.assembler(bundle="another").sweep()
    assert names(take(rows, frames=4)) == ["1.0"]
    (other,) = take(rows, frames=4)
    assert (other.study_uid, other.bundle_digest) == ("2.0", "another")
