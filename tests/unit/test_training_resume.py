"""Checkpoints: a run that was stopped anywhere ends bit for bit where an unbroken one does."""

import dataclasses
import resource
from multiprocessing import get_context
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from model.errors import TrainingError
from model.training.checkpoint import NAME
from model.training.config import About, Augmentation, Loss, Points, Stage
from model.training.loop import BEST
from tests.builders_training import FAST, die, disks, mortal, quiet

# everything random is on: augmentation, one node alone, dropout, a share of the images
SETTINGS = dataclasses.replace(
    FAST,
    drawn=0.3,
    average=0.9,
    augmentation=Augmentation(),
    checkpoint_steps=1,
    stages=(
        Stage(epochs=2, batch=4, learning_rate=3e-3, schedule="cosine", share=0.75),
        Stage(epochs=1, batch=4, learning_rate=1e-3),
    ),
)
TRAIN, VALIDATION = disks(16, seed=1), disks(6, seed=2)
STEPS = 3 + 3 + 4


class Crash(Exception):
    """Ends a run within this process."""


def _crash() -> None:
    raise Crash


def _run(out: Path, *, last: int = 0, end=_crash, resume: bool = False, settings=SETTINGS) -> None:
    trainer = quiet(settings, out)
    if resume:
        trainer.resume()
    trainer.fit(mortal(TRAIN, last, end), VALIDATION)


def _same(one: Path, other: Path) -> None:
    """Weights, Adam's averages and the best weights are equal to the last bit; the logs too."""
    for name in (NAME, BEST):
        left, right = load_file(one / name), load_file(other / name)
        assert list(left) == list(right)
        different = [key for key in left if left[key].tobytes() != right[key].tobytes()]
        assert different == []
    assert _log(one) == _log(other)


def _log(out: Path) -> list[str]:
    """Rows of the log without the seconds."""
    rows = (out / "log.csv").read_text().splitlines()
    return [",".join(row.split(",")[:6] + row.split(",")[8:]) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    _run(out)
    return out


@pytest.mark.parametrize("step", range(2, STEPS + 1))
def test_stopped_in_any_step_a_run_ends_where_an_unbroken_one_does(tmp_path, whole, step) -> None:
    with pytest.raises(Crash):
        _run(tmp_path, last=step)
    _run(tmp_path, resume=True)
    _same(whole, tmp_path)


def test_killed_again_and_again_a_run_ends_where_an_unbroken_one_does(tmp_path, whole) -> None:
    """By SIGKILL, in processes of their own: the fourth is let live."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.builders_training"])
    codes = []
    for last in (3, 2, 4, 0):
        process = context.Process(
            target=_run, args=(tmp_path,), kwargs={"last": last, "end": die, "resume": last != 3}
        )
        process.start()
        process.join(120)
        codes.append(process.exitcode)
    assert codes == [-9, -9, -9, 0]
    _same(whole, tmp_path)


def test_between_checkpoints_steps_are_taken_again(tmp_path, whole) -> None:
    seldom = dataclasses.replace(SETTINGS, checkpoint_steps=2)
    with pytest.raises(Crash):
        _run(tmp_path, last=10, settings=seldom)
    _run(tmp_path, resume=True, settings=seldom)
    _same(whole, tmp_path)


def test_a_finished_run_resumed_stays_as_it_is(tmp_path, whole) -> None:
    _run(tmp_path)
    (tmp_path / "log.csv").unlink()  # killed between the checkpoint and the log
    _run(tmp_path, last=1, resume=True)
    _same(whole, tmp_path)


# a disk that is full


def _on_a_full_disk(out: Path, room: int, answer) -> None:
    """Go on where no file may grow beyond `room` bytes; tell what is said."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        _run(out, resume=True)
    except TrainingError as error:
        answer.send(str(error))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, whole, share) -> None:
    """The limit strikes while a checkpoint is written; the run goes on once there is room."""
    with pytest.raises(Crash):
        _run(tmp_path, last=6)
    before = (tmp_path / NAME).read_bytes()
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.builders_training"])
    ours, theirs = context.Pipe()
    # the log is small: it still fits, and the checkpoint does not
    room = max(int(share * len(before)), 4096)
    process = context.Process(target=_on_a_full_disk, args=(tmp_path, room, theirs))
    process.start()
    assert ours.poll(120)
    said = ours.recv()
    process.join(60)
    assert "make room, then go on with --resume" in said
    assert (tmp_path / NAME).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    _run(tmp_path, resume=True)
    _same(whole, tmp_path)


def test_no_space_left_says_so(tmp_path) -> None:
    """/dev/full answers every write as a full disk does."""
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="No space left on device"):
        _run(tmp_path)


# checkpoints that do not fit


def _broken(name: str, data: bytes) -> bytes:
    middle = len(data) // 2
    return {
        "short": data[:middle],
        "empty": b"",
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "other": b"\x89PNG" + data[4:],
    }[name]


@pytest.mark.parametrize("name", ["short", "empty", "flipped", "other"])
def test_a_damaged_checkpoint_is_refused(tmp_path, whole, name) -> None:
    (tmp_path / NAME).write_bytes(_broken(name, (whole / NAME).read_bytes()))
    with pytest.raises(TrainingError, match="cannot be resumed"):
        _run(tmp_path, resume=True)


def test_another_network_s_checkpoint_is_refused(tmp_path, whole) -> None:
    wider = dataclasses.replace(SETTINGS.architecture, classifier_hidden=9)
    (tmp_path / NAME).write_bytes((whole / NAME).read_bytes())
    with pytest.raises(TrainingError, match="cannot be resumed"):
        _run(tmp_path, resume=True, settings=dataclasses.replace(SETTINGS, architecture=wider))


SLOWER = dataclasses.replace(SETTINGS.stages[0], learning_rate=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "other seed:"),
        ({"initial": "file", "initial_sha256": "0" * 64}, "other initial, initial_sha256:"),
        ({"loss": Loss(dice=0.5)}, "other loss:"),
        ({"input": dataclasses.replace(SETTINGS.input, width=80)}, "other input:"),
        ({"average": 0.99}, "other average:"),
        ({"stages": (SLOWER, SETTINGS.stages[1])}, "other stages:"),
        ({"stages": SETTINGS.stages[1:]}, "other stages:"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(tmp_path, change, says) -> None:
    with pytest.raises(Crash):
        _run(tmp_path, last=2)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(TrainingError, match=says):
        _run(tmp_path, resume=True, settings=dataclasses.replace(SETTINGS, **change))
    assert (tmp_path / NAME).read_bytes() == before


def test_a_run_does_not_go_on_with_other_images(tmp_path) -> None:
    with pytest.raises(Crash):
        _run(tmp_path, last=2)
    trainer = quiet(SETTINGS, tmp_path)
    trainer.resume()
    with pytest.raises(TrainingError, match="other images"):
        trainer.fit(disks(18), VALIDATION)


def test_a_run_goes_on_with_settings_that_leave_the_weights_as_they_are(tmp_path, whole) -> None:
    with pytest.raises(Crash):
        _run(tmp_path, last=2)
    other = dataclasses.replace(
        SETTINGS, workers=1, points=Points(named=("youden",)), about=About(name="Other")
    )
    _run(tmp_path, resume=True, settings=other)
    _same(whole, tmp_path)


def test_a_finished_run_can_be_prolonged_but_not_cut(tmp_path) -> None:
    first = dataclasses.replace(SETTINGS, stages=(Stage(epochs=2, batch=4),))
    _run(tmp_path, settings=first)
    longer = dataclasses.replace(SETTINGS, stages=(Stage(epochs=3, batch=4),))
    _run(tmp_path, resume=True, settings=longer)
    assert len(_log(tmp_path)) == 1 + 3
    with pytest.raises(TrainingError, match="other stages"):
        _run(tmp_path, resume=True, settings=first)


def test_within_an_epoch_its_steps_stay_the_same(tmp_path) -> None:
    """As many processes as before share an epoch."""
    trainer = quiet(SETTINGS, tmp_path)
    trainer.progress = dataclasses.replace(trainer.progress, step=1, steps=2)
    with pytest.raises(TrainingError, match="an epoch of 2 steps, not 3"):
        trainer.fit(TRAIN, VALIDATION)
