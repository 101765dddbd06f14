"""What a run tells: a line per epoch and how long it will take, and log.csv."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: a row of log.csv."""

    epoch: int  # 1-based, over all stages
    scale: int  # images were shrunk by this factor
    learning_rate: float  # of its last step
    loss: float  # mean over its steps
    dice: float  # of the validation part, 0..1
    auroc: float  # of validation patients, 0..1; nan without both classes
    seconds: float  # training and validation, stops left out
    waited: float  # seconds of them without a batch to train on
    best: bool  # its weights were the best so far


def table(history: Sequence[Epoch]) -> str:
    """Return log.csv, whole: written anew after each epoch, no stop can double a row of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Epoch)])
    for row in history:
        numbers = {k: f"{getattr(row, k):.4f}" for k in ("loss", "dice", "auroc")}
        more = {"learning_rate": f"{row.learning_rate:.3g}", "seconds": round(row.seconds)}
        more["waited"] = f"{row.waited:.1f}"
        writer.writerow({**asdict(row), **numbers, **more, "best": int(row.best)}.values())
    return text.getvalue()


def finished(row: Epoch, epochs: int) -> str:
    """One line for people about a finished epoch; a star marks the best weights so far."""
    return (
        f"epoch {row.epoch}/{epochs} at 1/{row.scale}: loss {row.loss:.3f}, validation Dice"
        f" {row.dice:.3f}, AUROC {row.auroc:.3f}, {row.seconds:.0f} s{' *' if row.best else ''}"
    )


def under_way(epoch: int, epochs: int, step: int, steps: int, loss: float, left: str) -> str:
    """One line for people within an epoch."""
    done = 20 * step // max(steps, 1)
    bar = "#" * done + "." * (20 - done)
    return f"epoch {epoch}/{epochs} [{bar}] step {step}/{steps}, loss {loss:.3f}, {left}"


def time_left(elapsed_s: float, done: float, todo: float) -> str:
    """Say how long `todo` units of work take where `done` units took `elapsed_s` seconds."""
    if done <= 0:
        return "time left unknown"
    minutes = math.ceil(elapsed_s * todo / done / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min left" if hours else f"{minutes} min left"
