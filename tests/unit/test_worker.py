"""The worker: what becomes of a job, whatever the analysing process or the disk does."""

import errno
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from daemon import answer, schema, unpark
from daemon.analysis import Analysis, Frame
from daemon.bell import Bell
from daemon.child import ChildFailed, ChildLost
from daemon.errors import UnavailableError
from daemon.jobs import LEASE_US
from daemon.publish import Publisher
from daemon.pulse import Pulse
from daemon.reading import Reader, reader
from daemon.spool import Folders, Spool
from daemon.worker import Worker
from dicom_io.errors import ObjectError
from dicom_io.findings import Calibration, Exclusion, ImageRead, Reason, StudyFindings
from tests import builders
from tests.builders import Picture, Rows
from tests.builders_objects import node, view
from tests.fakes import SilentSpool
from tests.peers import wait_until

pytestmark = pytest.mark.engines

CANARY = "Testperson^Canary"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
ONE_NODE = Analysis(
    images=(ImageRead("1.2.3.1", (1,), Calibration(0.2, 0.2), (), "R"),),
    nodes=(node(1, view(builders.dataset(Picture(), builders.tissue()))),),
    exclusions=(),
)
NOTHING = Analysis((), (), (Exclusion("1.2.3.1", None, Reason.NO_B_MODE),))


@dataclass
class FakeChild:
    """The analysing process: answers as scripted, and does `meanwhile` while it is asked."""

    analysis: Analysis = ONE_NODE
    meanwhile: Callable[[], object] = lambda: None
    problem: Exception | None = None  # why it cannot start
    asked: list[dict[str, Any]] = field(default_factory=list)
    together: int = 1
    digests: frozenset[str] = frozenset()  # it does not say
    short: bool = False  # it answers for one study less than it was asked for

    def start(self) -> None:
        """Start, unless there is a problem."""
        if self.problem is not None:
            raise self.problem

    def stop(self) -> None:
        """Be ended."""

    def submit(self, request: dict[str, Any]) -> None:
        """Take a request."""
        self.asked.append(request)

    def answer(self) -> dict[str, Any]:
        """Answer it."""
        studies = self.asked[-1]["studies"]
        values = [answer.save(self.analysis, Path(study["masks"])) for study in studies]
        self.meanwhile()
        return {"studies": values[self.short :]}


@dataclass(frozen=True)
class FailingReader(Reader):
    """A reader that breaks while it puts an analysis into words."""

    error: Exception = field(default_factory=RuntimeError)

    def findings(self, *arguments: object) -> StudyFindings:
        """Break."""
        raise self.error


class FailingSpool(Spool):
    """A folder of results whose disk says no."""

    error = OSError(errno.ENOSPC, "No space left on device")

    def put(self, data: bytes) -> str:
        """Fail."""
        raise self.error


class WatchedSpool(Spool):
    """A folder of results; `after` is called with the name of each file that it has put."""

    def __init__(self, folder: Path, after: Callable[[str], object]) -> None:
        super().__init__(folder)
        self._after = after

    def put(self, data: bytes) -> str:
        """Put, and tell."""
        name = super().put(data)
        self._after(name)
        return name


class Site:
    """A worker with everything around it, and studies in its queue."""

    def __init__(self, folder: Path, rows: Rows) -> None:
        self.rows = rows
        self.child = FakeChild()
        self.reader = reader(
            builders.bundle(),
            aggregation=None,
            operating_point=None,
            ae_title="AXNODE",
            node_id=rows.database.node_id,
        )
        (folder / "scratch").mkdir()
        self.folders = Folders(
            Spool(folder / "spool"), Spool(folder / "objects"), folder / "scratch"
        )
        self.config = builders.config(folder, destinations=[PACS])

    def queue(self, study: str = builders.STUDY) -> None:
        """Bring a study of one image to the queue, its file in the spool."""
        digest = builders.spooled(self.folders.spool, Picture(f"{study}.1", study))
        self.rows.queued(f"{study}.1", study, digest)

    @property
    def worker(self) -> Worker:
        """A worker as the site is now."""
        return builders.worker(
            self.config,
            self.rows.database,
            self.rows.clock,
            self.folders,
            self.reader,
            self.child,
        )

    @property
    def analysis(self) -> Any:
        """The row of the latest analysis."""
        return self.rows.all(schema.analyses)[-1]

    def fail_with(self, error: Exception) -> None:
        """Let the reader break."""
        values = {name: getattr(self.reader, name) for name in Reader.__dataclass_fields__}
        self.reader = FailingReader(**values, error=error)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with builders.database(tmp_path) as opened:
        made = Site(tmp_path, Rows(opened))
        made.queue()
        yield made


def raising(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_an_empty_queue_is_no_work(site: Site) -> None:
    site.rows.claimed()
    assert site.worker.work_one() is False
    assert site.child.asked == []


def test_a_study_is_analysed_built_and_queued_for_delivery(site: Site) -> None:
    assert site.worker.work_one() is True
    (request,) = site.child.asked
    (asked,) = request["studies"]
    ((uid, path),) = asked["inputs"]
    assert (uid, Path(path).is_file()) == ("1.2.3.1", True)
    assert site.analysis.state == "done"
    assert site.rows.study().state == "delivering"
    objects = site.rows.all(schema.objects)
    assert [row.role for row in objects] == ["seg", "sr"]
    for row in objects:
        made = pydicom.dcmread(site.folders.objects.path(row.file_hash))
        assert (made.StudyInstanceUID, made.SOPInstanceUID) == ("1.2.3", row.sop_instance_uid)
    assert site.rows.states(schema.deliveries) == ["pending", "pending"]
    assert list(site.folders.scratch.iterdir()) == []


def test_pictures_are_built_with_the_rest_and_wait(site: Site) -> None:
    """`auto`: they are there, and go only where a SEG is refused or not drawn."""
    frame = Frame("1.2.3.1", 1, np.full((40, 60, 3), 90, np.uint8))
    site.child.analysis = replace(ONE_NODE, frames=(frame,))
    site.worker.work_one()
    assert site.child.asked[0]["studies"][0]["pictures"] == "with_nodes"
    objects = {row.id: row.role for row in site.rows.all(schema.objects)}
    assert list(objects.values()) == ["seg", "sr", "sc"]
    assert [objects[row.object_id] for row in site.rows.all(schema.deliveries)] == ["seg", "sr"]


def test_pictures_that_are_off_are_neither_asked_for_nor_built(site: Site) -> None:
    site.config = builders.config(
        Path(site.config.node.state_dir), results={"secondary_capture": "off"}
    )
    site.worker.work_one()
    assert site.child.asked[0]["studies"][0]["pictures"] == "never"
    assert [row.role for row in site.rows.all(schema.objects)] == ["seg", "sr"]


def test_what_is_not_evaluable_is_said_in_the_row(site: Site) -> None:
    left_out = (Exclusion("1.2.3.1", None, Reason.NO_B_MODE),)
    site.child.analysis = Analysis((), (), left_out)
    site.worker.work_one()
    assert site.analysis.not_evaluable == "no_b_mode"
    assert [row.role for row in site.rows.all(schema.objects)] == ["sr"]


def test_a_later_version_names_the_report_that_it_replaces(site: Site) -> None:
    site.worker.work_one()
    first = site.rows.all(schema.objects)[1]
    digest = builders.spooled(site.folders.spool, Picture("1.2.3.2"))
    site.rows.receive("1.2.3.2", digest=digest)
    site.rows.assemble()
    site.rows.clock.advance(builders.INTERVAL_S)
    site.child.analysis = Analysis(
        (*ONE_NODE.images, replace(ONE_NODE.images[0], sop_instance_uid="1.2.3.2")),
        ONE_NODE.nodes,
        (),
    )
    site.worker.work_one()
    report = pydicom.dcmread(site.folders.objects.path(site.rows.all(schema.objects)[-1].file_hash))
    (study,) = report.PredecessorDocumentsSequence
    item = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert item.ReferencedSOPInstanceUID == first.sop_instance_uid
    assert report.SeriesDescription.endswith("v2 (replaces v1)")


def test_without_a_model_nothing_is_claimed(site: Site) -> None:
    """A driver that is gone must not cost every study its attempts."""
    site.child.problem = UnavailableError("model: no CUDA device")
    with pytest.raises(UnavailableError, match="no CUDA device"):
        site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 0)


def test_an_object_that_cannot_be_built_is_final(site: Site) -> None:
    """The same findings give the same object: a second attempt would only cost time."""
    site.fail_with(ObjectError("a result object's StudyInstanceUID is no valid UID"))
    assert site.worker.work_one() is True
    assert site.analysis.state == "parked"
    assert site.rows.study().state == "parked"
    assert site.rows.study().reason == "a result object's StudyInstanceUID is no valid UID"


@pytest.mark.parametrize(
    "error", [ChildFailed("out of memory", fatal=False), ChildLost("the analysing process died")]
)
def test_a_failed_attempt_is_counted_and_tried_again(site: Site, error: Exception) -> None:
    site.child.meanwhile = raising(error)
    site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 1)
    assert (site.rows.study().state, site.rows.study().reason) == ("queued", str(error))
    assert site.worker.work_one() is False  # not at once
    site.child.meanwhile = lambda: None
    site.rows.clock.advance(60)
    site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("done", 2)


def test_after_three_attempts_it_is_parked_and_the_next_study_goes_on(site: Site) -> None:
    site.child.meanwhile = raising(ChildFailed("it cannot be read", fatal=False))
    worker = site.worker
    for _ in range(3):
        worker.work_one()
        site.rows.clock.advance(60)
    assert site.rows.study().state == "parked"
    assert site.rows.study().reason == "it cannot be read (3 attempts)"
    site.child.meanwhile = lambda: None
    site.child.analysis = Analysis((), (), (Exclusion("1.2.4.1", None, Reason.NO_B_MODE),))
    site.queue("1.2.4")
    worker.work_one()
    assert site.rows.study("1.2.4").state == "delivering"


@pytest.mark.parametrize("error", [ChildLost("the analysing process died"), ObjectError("x")])
def test_a_job_cut_short_by_the_stop_counts_no_attempt(site: Site, error: Exception) -> None:
    """Three restarts during a long study must not park it; what is final stays final."""
    stopping = threading.Event()

    def stopped() -> None:
        stopping.set()
        raise error

    site.child.meanwhile = stopped
    site.worker.run(stopping, Pulse())
    final = isinstance(error, ObjectError)
    assert (site.analysis.state, site.analysis.attempts) == (
        ("parked", 1) if final else ("queued", 0)
    )


def test_while_the_images_server_is_away_nothing_is_claimed(site: Site, tmp_path: Path) -> None:
    """Each of many workers would wait for it with a job whose lease ends: attempts, one by one."""
    spool = SilentSpool(tmp_path / "spool")
    site.folders = replace(site.folders, spool=spool)
    worker = site.worker
    with pytest.raises(UnavailableError, match="is its server there"):
        worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 0)
    spool.back.set()
    wait_until(lambda: _works(worker), 30)
    assert (site.analysis.state, site.analysis.attempts) == ("done", 1)


def _works(worker: Worker) -> bool:
    try:
        return worker.work_one()
    except UnavailableError:
        return False


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_gives_the_job_back(site: Site, number: int, tmp_path: Path) -> None:
    """The node's trouble, not the study's; it is analysed when there is room again."""
    full = FailingSpool(tmp_path / "objects")
    full.error = OSError(number, "the disk says no")
    room, site.folders = site.folders, replace(site.folders, objects=full)
    for _ in range(4):
        assert site.worker.work_one() is True
        assert (site.analysis.state, site.analysis.attempts) == ("queued", 0)
        site.rows.clock.advance(60)
    assert site.rows.study().reason == "the disk says no while the results were built"
    site.folders = room
    site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("done", 1)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (Path.unlink, "missing"),
        (flipped, "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
    ],
    ids=["gone", "one bit", "one byte short", "empty"],
)
def test_an_image_that_is_not_what_was_acknowledged_is_not_analysed(
    site: Site, harm: Callable[[Path], object], what: str
) -> None:
    path = site.folders.spool.path(site.rows.all(schema.instances)[0].instance_hash)
    whole = path.read_bytes()
    harm(path)
    site.worker.work_one()
    assert (site.rows.study().state, site.child.asked) == ("parked", [])
    assert f"the stored file of an image is {what}: have the modality send" in (
        site.rows.study().reason
    )
    assert [row.file for row in site.rows.all(schema.instances)] == ["gone"]  # to be taken again
    path.write_bytes(whole)  # as the modality's second sending does
    site.rows.database.write(lambda c: unpark.retry(c, builders.STUDY, ["pacs"], site.rows.clock()))
    site.worker.work_one()
    assert site.rows.study().state == "delivering"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_an_error_of_one_file_counts(site: Site, number: int, tmp_path: Path) -> None:
    odd = FailingSpool(tmp_path / "objects")
    odd.error = OSError(number, "no such thing")
    site.folders = replace(site.folders, objects=odd)
    site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 1)


def test_an_unexpected_error_fails_the_attempt_without_its_words(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A library's message may quote the data set."""
    site.fail_with(ValueError(f"Invalid value for VR PN: '{CANARY}'"))
    with caplog.at_level(logging.INFO):
        assert site.worker.work_one() is True
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 1)
    assert site.analysis.reason.startswith("ValueError at test_worker.py:")
    told = [str(site.rows.all(table)) for table in schema.metadata.sorted_tables]
    assert CANARY not in "".join(told)
    assert CANARY not in "".join(
        f"{record.msg}{vars(record)['action']}" for record in caplog.records
    )


def test_an_answer_that_is_damaged_fails_the_attempt(site: Site) -> None:
    def spoil() -> None:
        Path(site.child.asked[-1]["studies"][0]["masks"]).write_bytes(b"PK no archive")

    site.child.meanwhile = spoil
    site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 1)
    assert "damaged answer" in site.analysis.reason
    assert list(site.folders.scratch.iterdir()) == []


@pytest.mark.parametrize(
    "then",
    [None, ChildLost("died"), UnavailableError("gone"), ObjectError("no"), OSError(errno.EIO, "x")],
)
def test_a_job_that_was_taken_over_is_the_others(
    site: Site, then: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Fenced: neither answer nor failure of the slower worker reaches the rows."""
    others = []

    def taken_over() -> None:
        site.rows.clock.advance(2 * LEASE_US / 1e6)
        others.append(site.rows.claimed())
        if then is not None:
            raise then

    site.child.meanwhile = taken_over
    assert site.worker.work_one() is True
    assert (site.analysis.state, site.analysis.fence) == ("running", 2)
    assert [vars(record)["action"] for record in caplog.records][-1] == "lost_lease"
    assert "unexpected" not in [record.message for record in caplog.records]
    assert site.rows.all(schema.objects) == []
    site.rows.finish(others[0])
    assert site.rows.study().state == "delivered"


def test_signs_of_life_renew_the_lease(site: Site) -> None:
    worker = site.worker
    leases = []

    def lives() -> None:
        for _ in range(4):
            site.rows.clock.advance(LEASE_US / 1e6 * 0.8)
            worker.alive()
            leases.append(site.analysis.lease_us - site.rows.clock())
        assert site.rows.claim() is None

    site.child.meanwhile = lives
    worker.work_one()
    assert leases == [LEASE_US] * 4
    assert site.analysis.state == "done"
    worker.alive()  # between two jobs there is nothing to renew


def test_the_thread_works_until_it_is_stopped(site: Site) -> None:
    site.queue("1.2.4")
    stopping = threading.Event()

    def last() -> None:
        if len(site.child.asked) == 2:
            stopping.set()

    site.child.meanwhile = last
    site.child.analysis = Analysis((), (), ())
    site.worker.run(stopping, Pulse())
    assert len(site.child.asked) == 2
    assert site.rows.states(schema.analyses) == ["done", "done"]


def test_results_that_the_sweep_took_for_old_are_never_recorded(site: Site, tmp_path: Path) -> None:
    """A clock set ahead between their files and their rows; the job is done again."""
    kept = site.folders.objects
    swept = WatchedSpool(tmp_path / "objects", after=kept.remove)
    site.folders = replace(site.folders, objects=swept)
    site.worker.work_one()
    assert (site.analysis.state, site.rows.all(schema.objects)) == ("queued", [])
    assert "was removed before its row" in site.rows.study().reason
    site.folders = replace(site.folders, objects=kept)
    site.rows.clock.advance(60)
    site.worker.work_one()
    assert site.analysis.state == "done"


def test_the_child_has_the_next_study_before_the_last_one_is_built(
    site: Site, tmp_path: Path
) -> None:
    """It would wait for SEG and report otherwise, study after study."""
    site.queue("1.2.4")
    asked: list[int] = []
    stopping = threading.Event()

    def built(name: str) -> None:
        asked.append(len(site.child.asked))
        if len(asked) == 2:  # both objects of the first study
            site.child.analysis = Analysis((), (), (Exclusion("1.2.4.1", None, Reason.NO_B_MODE),))
            stopping.set()

    site.folders = replace(site.folders, objects=WatchedSpool(tmp_path / "objects", built))
    site.worker.run(stopping, Pulse())
    assert asked == [2, 2, 2]  # and the report of the second, which the stop lets finish
    assert site.rows.states(schema.analyses) == ["done", "done"]


def test_a_model_that_is_gone_takes_no_finished_study_with_it(site: Site) -> None:
    def gone() -> None:
        site.child.problem = UnavailableError("model: no CUDA device")

    site.child.meanwhile = gone
    with pytest.raises(UnavailableError, match="no CUDA device"):
        site.worker.run(threading.Event(), Pulse())
    assert (site.analysis.state, site.rows.study().state) == ("done", "delivering")


def test_a_worker_is_woken_by_its_bell_and_wakes_who_delivers(site: Site) -> None:
    """The poll is an hour here: who comes sooner was rung for."""
    site.rows.finish(site.rows.claimed())
    bell, published, stopping = Bell(), threading.Event(), threading.Event()
    publisher = Publisher(
        site.config, site.rows.database, site.rows.clock, site.folders.objects, [site.reader], "r"
    )
    worker = Worker(
        site.config,
        site.rows.database,
        site.rows.clock,
        site.folders,
        site.child,  # type: ignore[arg-type]
        publisher,
        bell=bell,
        published=published.set,
    )
    thread = threading.Thread(target=worker.run, args=(stopping, Pulse(), 3600.0))
    thread.start()
    try:
        site.child.analysis = Analysis((), (), (Exclusion("1.2.4.1", None, Reason.NO_B_MODE),))
        site.queue("1.2.4")
        bell.ring()
        assert published.wait(60)
    finally:
        stopping.set()
        bell.ring()
        thread.join(60)
    assert not thread.is_alive()
    assert site.rows.study("1.2.4").state == "delivering"


def three(site: Site) -> None:
    """Have three studies in the queue, and a process that reads up to four frames at once."""
    site.child.together = 4
    for study in ("1.2.4", "1.2.5"):
        site.queue(study)


def states(site: Site) -> list[str]:
    return site.rows.states(schema.analyses)


def test_small_studies_are_asked_for_together_and_end_one_by_one(site: Site) -> None:
    three(site)
    site.child.analysis = NOTHING
    assert site.worker.work_one()
    (request,) = site.child.asked
    assert len(request["studies"]) == 3
    assert request["bundle"] == site.reader.bundle.digest
    roots = {study["tracking_root"].rpartition("/")[2] for study in request["studies"]}
    assert roots == {"1.2.3", "1.2.4", "1.2.5"}
    assert states(site) == ["done"] * 3
    assert not site.worker.work_one()


@pytest.mark.parametrize("error", [ChildLost("it died"), ChildFailed("nonsense", fatal=False)])
def test_studies_that_failed_together_are_tried_apart_at_once(site: Site, error: Exception) -> None:
    three(site)
    site.child.meanwhile = raising(error)
    worker = site.worker
    worker.work_one()
    assert states(site) == ["queued"] * 3
    site.child.meanwhile = lambda: None
    site.child.analysis = NOTHING
    for number in range(1, 4):
        assert worker.work_one()
        assert len(site.child.asked[-1]["studies"]) == 1
        assert states(site).count("done") == number


def test_a_damaged_file_takes_down_its_own_study_only(site: Site) -> None:
    three(site)
    digest = site.rows.all(schema.instances)[1].instance_hash
    site.folders.spool.path(digest).write_bytes(b"not what it was")
    site.child.analysis = NOTHING
    site.worker.work_one()
    assert len(site.child.asked[0]["studies"]) == 2
    assert states(site) == ["done", "parked", "done"]


def test_an_answer_that_leaves_a_study_out_is_damaged(site: Site) -> None:
    three(site)
    site.child.short = True
    site.worker.work_one()
    assert states(site) == ["queued"] * 3
    assert "damaged answer" in site.rows.all(schema.analyses)[0].reason


def test_a_job_whose_bundle_is_gone_is_read_by_the_node_s_and_says_so(site: Site) -> None:
    assert site.analysis.bundle_digest == "bundle"
    site.worker.work_one()
    assert site.child.asked[0]["bundle"] == site.reader.bundle.digest
    assert site.analysis.bundle_digest == site.reader.bundle.digest
    (told,) = [row.detail for row in site.rows.all(schema.events) if row.action == "bundle"]
    assert told == (
        "read by Test bundle 1.0: the bundle that it was queued for (bundle) is not loaded here"
    )


def test_a_job_is_read_by_the_bundle_that_it_is_for(site: Site) -> None:
    theirs = replace(site.reader, bundle=builders.bundle(digest="bundle"))
    worker = builders.worker(
        site.config,
        site.rows.database,
        site.rows.clock,
        site.folders,
        site.reader,
        site.child,
        others=[theirs],
    )
    worker.work_one()
    assert site.child.asked[0]["bundle"] == "bundle"
    assert site.analysis.bundle_digest == "bundle"
    assert "bundle" not in {row.action for row in site.rows.all(schema.events)}
    assert json.loads(site.analysis.summary)["bundle"]["version"] == "1.0 bundle"


def test_a_batch_is_not_taken_over_while_it_is_published_slowly(site: Site) -> None:
    three(site)
    site.child.analysis = NOTHING
    others: list[object] = []

    def slowly(name: str) -> None:
        site.rows.clock.advance(20)
        others.append(site.rows.claim())

    spool = WatchedSpool(site.folders.objects.root, slowly)
    site.folders = Folders(site.folders.spool, spool, site.folders.scratch)
    site.worker.work_one()
    assert others == [None] * 3
    assert states(site) == ["done"] * 3


def test_a_bundle_that_was_replaced_in_its_place_costs_no_study(site: Site) -> None:
    site.child.digests = frozenset({"another"})
    with pytest.raises(UnavailableError, match="replaced while it was in use: restart"):
        site.worker.work_one()
    assert (site.analysis.state, site.analysis.attempts) == ("queued", 0)
    site.child.digests = frozenset({"another", site.reader.bundle.digest})
    assert site.worker.work_one()
