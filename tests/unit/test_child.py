"""The parent's end of the analysing process, with scripts that behave badly in its place.

The scripts stand in for `daemon.inference` in real processes; one test runs the real one.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.child import Child, ChildLost, ChildOptions
from daemon.errors import AttemptFailed, LostLease, UnavailableError

PREAMBLE = """
import json, os, signal, sys, time
options = json.loads(sys.argv[1])
def say(**message):
    print(json.dumps(message), flush=True)
"""
READY = 'say(ready={"digest": "d", "device": "cpu", "pid": str(os.getpid())})\n'
ECHO = "for line in sys.stdin: say(answer=json.loads(line))\n"
Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that makes a child of a script's text."""
    made: list[Child] = []

    def child(script: str, on_life: Callable[[], None] = lambda: None, **options: Any) -> Child:
        path = tmp_path / f"child-{len(made)}.py"
        path.write_text(PREAMBLE + script)
        settings = ChildOptions(
            tmp_path, "cpu", 2**30, command=(sys.executable, str(path)), **options
        )
        made.append(Child(settings))
        made[-1].on_life = on_life
        return made[-1]

    yield child
    for one in made:
        one.stop()


def ask(child: Child, request: dict[str, Any]) -> dict[str, Any]:
    """Submit a request and wait for its answer."""
    child.submit(request)
    return child.answer()


def gone(pid: int) -> bool:
    """Whether a process has ended and left no zombie."""
    return not Path(f"/proc/{pid}").exists()


def test_questions_are_answered_by_one_process(start: Start) -> None:
    child = start(READY + ECHO)
    assert child.pid is None
    assert ask(child, {"n": 1}) == {"n": 1}
    pid = child.pid
    assert ask(child, {"n": 2}) == {"n": 2}
    assert child.pid == pid
    assert child.description["device"] == "cpu"


def test_it_gets_its_options(start: Start, tmp_path: Path) -> None:
    child = start(READY + "for line in sys.stdin: say(answer=options)\n")
    answer = ask(child, {})
    assert answer["bundles"] == [str(tmp_path)]
    assert (answer["device"], answer["memory_bytes"]) == ("cpu", 2**30)


def test_a_long_answer_comes_whole(start: Start) -> None:
    child = start(READY + 'for line in sys.stdin: say(answer={"text": "x" * 300_000})\n')
    assert len(ask(child, {})["text"]) == 300_000


def test_every_sign_of_life_is_passed_on(start: Start) -> None:
    signs: list[None] = []
    script = READY + "for line in sys.stdin:\n say(alive=True)\n say(alive=True)\n say(answer={})\n"
    ask(start(script, lambda: signs.append(None)), {})
    assert len(signs) == 2


def test_signs_of_life_keep_a_slow_one_alive(start: Start) -> None:
    script = (
        READY
        + "for line in sys.stdin:\n"
        + " for _ in range(6):\n  time.sleep(0.5)\n  say(alive=True)\n"
        + " say(answer={})\n"
    )
    assert ask(start(script, silence_s=2.5), {}) == {}


@pytest.mark.parametrize(
    "death", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "os.close(1); time.sleep(60)"]
)
def test_one_that_dies_is_lost_and_replaced(start: Start, death: str) -> None:
    script = READY + f"for line in sys.stdin:\n if 'die' in line: {death}\n say(answer={{}})\n"
    child = start(script)
    ask(child, {})
    first = child.pid
    with pytest.raises(ChildLost, match="died"):
        ask(child, {"die": True})
    assert first is not None
    assert gone(first)
    assert ask(child, {}) == {}
    assert child.pid != first


def test_one_that_died_between_two_questions_is_replaced(start: Start) -> None:
    child = start(READY + ECHO)
    child.start()
    assert child.pid is not None
    os.kill(child.pid, 9)
    answers = []
    for _ in range(2):  # the death may be seen at the first question only
        try:
            answers.append(ask(child, {}))
        except ChildLost:
            continue
    assert {} in answers


def test_one_that_hangs_is_killed(start: Start) -> None:
    child = start(READY + "for line in sys.stdin: time.sleep(600)\n", silence_s=0.3)
    child.start()
    pid = child.pid
    with pytest.raises(ChildLost, match="no sign of life"):
        ask(child, {})
    assert pid is not None
    assert gone(pid)


def test_one_that_ignores_sigterm_is_killed_too(start: Start) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY
    child = start(script + "for line in sys.stdin: time.sleep(600)\n", silence_s=0.3)
    child.start()
    pid = child.pid
    with pytest.raises(ChildLost):
        ask(child, {})
    assert pid is not None
    assert gone(pid)


def test_one_that_never_gets_ready_is_killed(start: Start) -> None:
    child = start("time.sleep(600)\n", start_s=0.3)
    with pytest.raises(ChildLost, match="no sign of life"):
        child.start()
    assert child.pid is None


@pytest.mark.parametrize(
    "garbage", ["Segmentation fault", "{", "5", "null", '"text"', "[1, 2]", '{"answer": 5}']
)
def test_garbage_is_no_answer(start: Start, garbage: str) -> None:
    script = READY + f"for line in sys.stdin: print({garbage!r}, flush=True)\n"
    child = start(script, silence_s=5)
    with pytest.raises(ChildLost):
        ask(child, {})
    assert child.pid is None


def test_bytes_that_are_no_text_are_no_answer(start: Start) -> None:
    script = READY + "for line in sys.stdin: os.write(1, bytes(range(256)) + b'\\n')\n"
    with pytest.raises(ChildLost):
        ask(start(script, silence_s=5), {})


def test_an_error_fails_the_attempt_and_keeps_the_process(start: Start) -> None:
    script = READY + 'for line in sys.stdin: say(error="out of memory", fatal=False)\n'
    child = start(script)
    with pytest.raises(AttemptFailed, match="out of memory"):
        ask(child, {})
    pid = child.pid
    with pytest.raises(AttemptFailed, match="out of memory"):
        ask(child, {})
    assert child.pid == pid is not None


def test_a_fatal_error_ends_the_process(start: Start) -> None:
    script = READY + 'for line in sys.stdin: say(error="device lost", fatal=True)\n'
    child = start(script)
    with pytest.raises(AttemptFailed, match="device lost"):
        ask(child, {})
    assert child.pid is None


def test_a_bundle_that_cannot_be_loaded_is_told(start: Start) -> None:
    child = start('say(error="no model bundle at /x", fatal=True)\nsys.exit(1)\n')
    with pytest.raises(UnavailableError, match="model: no model bundle at /x"):
        ask(child, {})
    assert child.pid is None


@pytest.mark.parametrize("interruption", [LostLease("taken over"), UnavailableError("database")])
def test_an_interrupted_question_answers_no_other(start: Start, interruption: Exception) -> None:
    """The late answer to study A must never be taken for study B's."""
    script = (
        READY
        + "for line in sys.stdin:\n say(alive=True)\n time.sleep(0.2)\n"
        + " say(answer=json.loads(line))\n"
    )
    pending = [interruption]

    def on_life() -> None:
        if pending:
            raise pending.pop()

    child = start(script, on_life)
    with pytest.raises(type(interruption)):
        ask(child, {"study": "A"})
    time.sleep(0.5)
    assert ask(child, {"study": "B"}) == {"study": "B"}


def test_stopping_ends_it_and_a_later_question_starts_another(start: Start) -> None:
    child = start(READY + ECHO)
    child.start()
    pid = child.pid
    child.stop()
    child.stop()
    assert pid is not None
    assert gone(pid)
    assert ask(child, {"n": 1}) == {"n": 1}


def test_the_real_process_names_a_missing_bundle(tmp_path: Path) -> None:
    child = Child(ChildOptions(tmp_path / "none", "cpu", 8 * 2**30))
    with pytest.raises(UnavailableError, match="no model bundle at"):
        child.start()
    assert child.pid is None


def test_losing_it_is_logged_with_an_action(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ChildLost):
        ask(start(READY + "sys.stdin.readline()\n"), {})
    assert [getattr(record, "action", "") for record in caplog.records] == ["child_lost"]


def test_a_request_is_one_line(start: Start) -> None:
    """Newlines in values are escaped by JSON, so that they cannot split a request."""
    child = start(READY + "for line in sys.stdin: say(answer={'line': line})\n")
    answer = ask(child, {"text": "a\nb"})
    assert json.loads(answer["line"]) == {"text": "a\nb"}


def test_an_answer_that_nobody_took_is_not_the_next_one_s(start: Start) -> None:
    """Whoever submits again has given the earlier request up."""
    child = start(READY + ECHO)
    child.submit({"study": "A"})
    assert ask(child, {"study": "B"}) == {"study": "B"}


def test_threads_of_the_process_wait_asleep(start: Start) -> None:
    """One that waits awake takes the processor from the one that it waits for."""
    script = READY + "for line in sys.stdin: say(answer=dict(os.environ))\n"
    assert ask(start(script), {})["OMP_WAIT_POLICY"] == os.environ.get("OMP_WAIT_POLICY", "PASSIVE")


def test_what_was_launched_is_waited_for_and_not_started_twice(start: Start) -> None:
    child = start(READY + ECHO)
    child.launch()
    pid = child.pid
    assert ask(child, {"n": 1}) == {"n": 1}
    assert child.pid == pid


def test_what_was_launched_and_died_before_it_was_ready_is_lost(start: Start) -> None:
    child = start("")
    child.launch()
    with pytest.raises(ChildLost, match="died"):
        child.start()
    assert child.pid is None
