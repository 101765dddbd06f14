"""A copy of the node's state that can be taken while it runs, and its way back.

A back-up is a folder like the state folder: the database, and the files that its rows name. The
database is copied first, and files never change under their name, so that whatever the copy's rows
name is there when the files have been copied too. A second back-up into the same folder copies what
is new and deletes what no row names any more; until it is complete the one before it stays whole.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daemon import reconcile, setup
from daemon.config import Config
from daemon.database import Database
from daemon.errors import ConfigError, InputError
from daemon.reconcile import Kind
from daemon.spool import Spool

_DATABASE = "axnode.sqlite"
_KINDS: tuple[tuple[str, Callable[[Spool], Kind]], ...] = (
    ("spool", reconcile.instances),
    ("objects", reconcile.objects),
)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Report:
    """What was copied."""

    files: int  # that rows name
    copied: int  # of them, those that were not there before
    problems: tuple[str, ...]  # a line for each that is missing or damaged


def back_up(config: Config, to: Path) -> Report:
    """Copy the state of a node, which may be running, into a folder.

    Raises
    ------
    ConfigError
        The database is not the embedded one, which only its own tools can copy.
    InputError
        The node has no state yet.
    OSError
        The folder cannot be written, or is full.
    """
    _embedded(config)
    if not (config.state_dir / _DATABASE).is_file():
        raise InputError(f"nothing to back up in {config.state_dir}: axnode serve has not run")
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = to / f"{_DATABASE}.new"
    fresh.unlink(missing_ok=True)
    uri = f"file:{config.state_dir / _DATABASE}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True)) as source,
        closing(sqlite3.connect(fresh)) as target,
    ):
        source.backup(target)
    with closing(Database(f"sqlite:///{fresh}", owner=False)) as database:
        report = _copy(database, config.state_dir, to)
    fresh.replace(to / _DATABASE)
    with closing(Database(f"sqlite:///{to / _DATABASE}", owner=False)) as database:
        for name, kind_of in _KINDS:
            reconcile.sweep(database, kind_of(Spool(to / name)), older_s=0.0)
    return report


def restore(config: Config, source: Path) -> Report:
    """Make a back-up the state of a node that does not run and has none.

    The database's identity is renewed: what is analysed from now on gets UIDs of its own, whatever
    the node had sent between the back-up and its loss.

    Raises
    ------
    ConfigError
        The database is not the embedded one.
    InputError
        There is no back-up, or the node has a state already.
    UnavailableError
        The node is running, or its folder cannot be written.
    """
    _embedded(config)
    if not (source / _DATABASE).is_file():
        raise InputError(f"no back-up in {source}: name a folder that axnode backup wrote")
    state = config.state_dir
    setup.check_writable(config)
    with setup.lock_state(config):
        if (state / _DATABASE).exists():
            raise InputError(f"{state} holds a node's state: move it away first")
        fresh = state / f"{_DATABASE}.new"
        shutil.copyfile(source / _DATABASE, fresh)
        with closing(Database(f"sqlite:///{fresh}")) as database:
            report = _copy(database, source, state)
            database.renew_identity()
        fresh.replace(state / _DATABASE)
    return report


def _embedded(config: Config) -> None:
    if config.database.url is not None:
        raise ConfigError(
            "configuration: database.url names a database of its own: copy it with its own tools "
            "(pg_dump), and then the folders spool and objects of node.state_dir"
        )


def _copy(database: Database, source: Path, to: Path) -> Report:
    """Copy the files that rows name and that are not there yet, each seen to be whole."""
    files = copied = 0
    problems = []
    for name, kind_of in _KINDS:
        kind, target = kind_of(Spool(source / name, owner=False)), Spool(to / name)
        for digest in reconcile.names(database, kind):
            files += 1
            if target.path(digest).exists():
                continue
            problem = reconcile.harm(database, kind, digest)
            if problem:
                problems.append(problem)
                continue
            _copy_one(kind.folder.path(digest), target, digest)
            copied += 1
    return Report(files, copied, tuple(problems))


def _copy_one(path: Path, target: Spool, digest: str) -> None:
    with path.open("rb") as file, closing(target.incoming()) as copy:
        while chunk := file.read(_CHUNK):
            copy.write(chunk)
        copy.keep(digest)
