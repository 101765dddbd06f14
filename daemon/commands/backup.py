"""``axnode backup``: the state of a node, which may be running, into a folder."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.common import add_config, read_config
from daemon.errors import UnavailableError

if TYPE_CHECKING:
    from daemon.backup import Report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="DIR",
        help="where to; a second back-up into the same folder copies what is new",
    )


def run(arguments: argparse.Namespace) -> int:
    """Back up; 1 where a file is missing or damaged."""
    config = read_config(arguments)
    os.umask(0o077)  # it holds images and names
    from daemon import backup

    try:
        report = backup.back_up(config, arguments.to)
    except OSError as error:
        raise UnavailableError(
            f"cannot write {arguments.to} ({error.strerror}): the back-up is not complete"
        ) from error
    return say(report, f"the database and {report.files} files are in {arguments.to}")


def say(report: "Report", words: str) -> int:
    """Print what was copied and what was not; return the exit code."""
    print(f"{words}: {report.copied} of them new")
    for line in report.problems:
        print(f"FAIL  {line}")
    return 1 if report.problems else 0
