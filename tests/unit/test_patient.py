"""Questions that may never be answered: to the server of a share that has gone away."""

import threading
from pathlib import Path

import pytest

from daemon.errors import UnavailableError
from daemon.health import Health
from daemon.patient import Patient
from daemon.threads import Threads
from tests import builders
from tests.fakes import FakeClock, SilentSpool
from tests.peers import wait_until


def test_an_answer_is_returned_and_an_error_raised() -> None:
    answers = iter([1, 2])
    ask = Patient(lambda: next(answers), 30)
    assert [ask(), ask()] == [1, 2]
    with pytest.raises(StopIteration):
        ask()


def test_what_is_not_answered_is_asked_once_until_it_is() -> None:
    back = threading.Event()
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        back.wait(60)
        return "back"

    patient = Patient(ask, 0.05)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            patient()
    assert len(asked) == 1
    back.set()
    wait_until(lambda: _answers(patient), 30)


def _answers(patient: Patient[str]) -> bool:
    try:
        return patient() == "back"
    except TimeoutError:
        return False


def test_a_share_whose_server_is_away_says_so(tmp_path: Path) -> None:
    spool = SilentSpool(tmp_path / "spool")
    with pytest.raises(UnavailableError, match="does not answer; is its server there"):
        spool.room()
    spool.back.set()
    wait_until(lambda: _has_room(spool), 30)
    spool.mark.unlink()
    with pytest.raises(UnavailableError, match="is not there; is it mounted"):
        spool.room()


def _has_room(spool: SilentSpool) -> bool:
    try:
        return spool.room() > 0
    except UnavailableError:
        return False


def test_the_probes_tell_of_a_share_whose_server_is_away(tmp_path: Path) -> None:
    spool = SilentSpool(tmp_path / "spool")
    threads = Threads(threading.Event(), 60)
    with builders.database(tmp_path) as database:
        health = Health(
            builders.config(tmp_path, node={"disk_floor_gb": 0}),
            database,
            spool,
            FakeClock(),
            threads,
            None,
            [],
            None,
            lambda: True,
            lambda: "",
        )
        assert health.unready() == ["node.spool_dir does not answer; is its server there?"]
        assert health.metrics()["axnode_ready"] == 0.0
        spool.back.set()
        wait_until(lambda: health.unready() == [], 30)


def test_a_thread_that_cannot_be_had_is_asked_for_again() -> None:
    asked = Patient(lambda: "there", 5.0)
    usual = threading.stack_size(1 << 45)  # no machine has so much
    try:
        with pytest.raises(RuntimeError, match="new thread"):
            asked()
    finally:
        threading.stack_size(usual)
    assert asked() == "there"
