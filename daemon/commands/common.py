"""Options and openings that several commands share."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import UnavailableError

if TYPE_CHECKING:  # help must not wait for the libraries behind these
    from daemon.config import Config
    from daemon.database import Database


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/axnode/axnode.toml"),
        metavar="FILE",
        help="the configuration (default: %(default)s)",
    )


@contextmanager
def rows(config: "Config") -> Iterator["Database"]:
    """Open the database of a service, which may be running, for a look or a small change."""
    from daemon.database import Database

    if config.database.url is None and not (config.state_dir / "axnode.sqlite").exists():
        raise UnavailableError(
            f"no database in {config.state_dir}: axnode serve has not run with this configuration"
        )
    database = Database(config.database_url, owner=False)
    try:
        yield database
    finally:
        database.close()


def local(at_us: int) -> str:
    """Return a time of the rows in this machine's zone."""
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}"


def read_config(arguments: argparse.Namespace) -> "Config":
    """Read the configuration that the command line names."""
    from daemon.config import load

    return load(arguments.config)
