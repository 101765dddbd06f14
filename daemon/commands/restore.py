"""``axnode restore``: a back-up becomes the state of a node that does not run and has none."""

import argparse
import os
from pathlib import Path

from daemon.commands.backup import say
from daemon.commands.common import add_config, read_config
from daemon.errors import UnavailableError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder that axnode backup wrote",
    )


def run(arguments: argparse.Namespace) -> int:
    """Restore; 1 where a file of the back-up is missing or damaged."""
    config = read_config(arguments)
    os.umask(0o077)  # it holds images and names
    from daemon import backup

    try:
        report = backup.restore(config, arguments.source)
    except OSError as error:
        raise UnavailableError(
            f"the back-up was not restored ({error.strerror}: {error.filename}); what was copied "
            f"to {config.state_dir} can stay, and the command can be repeated"
        ) from error
    return say(report, f"the database and {report.files} files are in {config.state_dir}")
