"""What of a node a process does: all of it, or, beside others with the same rows, a part."""

from collections.abc import Iterable
from enum import StrEnum

from daemon.config import Config
from daemon.errors import ConfigError


class Role(StrEnum):
    """A part of a node that may run as a process of its own."""

    RECEIVER = "receiver"  # takes images, assembles studies, commits to storage
    WORKER = "worker"  # analyses
    DELIVERER = "deliverer"  # sends results, and does the nightly work
    CONSOLE = "console"  # the pages and /api/v1; probes are everywhere


EVERY = frozenset(Role)


def chosen(names: Iterable[str], config: Config) -> frozenset[Role]:
    """Return the roles of a command line's words; none, or `all`, are all.

    Raises
    ------
    ConfigError
        Some only are asked for, and no other process could do the rest.
    """
    named = set(names)
    roles = EVERY if not named or "all" in named else frozenset(Role(name) for name in named)
    if roles != EVERY and not config.shares_rows:
        missing = ", ".join(sorted(EVERY - roles))
        raise ConfigError(
            f"--role: with SQLite one process does everything; nobody would be {missing}. "
            "Leave --role out, or set database.url to a PostgreSQL database"
        )
    return roles
