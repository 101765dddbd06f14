"""A copy of the node's state that can be taken while it runs, and its way back.

A back-up is a folder like the state folder: the database, and the files that its rows name. The
database is copied first, and files never change under their name, so that whatever the copy's rows
name is there when the files have been copied too. A second back-up into the same folder copies what
is new and deletes what no row names any more; until it is complete the one before it stays whole.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from daemon import reconcile, setup
from daemon.config import Config
from daemon.database import Database
from daemon.errors import ConfigError, InputError, UnavailableError
from daemon.reconcile import Kind
from daemon.spool import Spool

_DATABASE = "axnode.sqlite"
_KINDS: tuple[tuple[str, Callable[[Spool], Kind]], ...] = (
    ("spool", reconcile.instances),
    ("objects", reconcile.objects),
)
_CHUNK = 1 << 20
_TRIES = 2  # more, where rows went while their files were copied


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
        The node has no state yet, or the folder is its own state or another node's back-up.
    UnavailableError
        The database cannot be copied, or another back-up into the folder is under way.
    OSError
        The folder cannot be written, or is full.
    """
    _embedded(config)
    if not (config.state_dir / _DATABASE).is_file():
        raise InputError(f"nothing to back up in {config.state_dir}: axnode serve has not run")
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    if to.samefile(config.state_dir):
        raise InputError(f"{to} is node.state_dir itself: name another folder")
    with setup.lock(to, "--to"):
        return _back_up(config, to)


def _back_up(config: Config, to: Path) -> Report:
    report, copied = _copy_all(config, to), 0
    for _ in range(_TRIES):  # a file whose row went meanwhile is no damage
        if not report.problems:
            break
        copied += report.copied
        report = _copy_all(config, to)
    report = replace(report, copied=copied + report.copied)
    with closing(Database(f"sqlite:///{to / _DATABASE}", owner=False)) as database:
        for name, kind_of in _KINDS:
            reconcile.sweep(database, kind_of(Spool(to / name)), older_s=0.0)
    return report


def _copy_all(config: Config, to: Path) -> Report:
    fresh = _fresh(to)
    uri = f"{(config.state_dir / _DATABASE).resolve().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True)) as source,
            closing(sqlite3.connect(fresh)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise UnavailableError(f"cannot copy the database into {to} ({error})") from error
    with closing(Database(f"sqlite:///{fresh}")) as database:  # one of an older version is migrated
        _guard_other(database, to)
        report = _copy(database, config.state_dir, to)
    fresh.replace(to / _DATABASE)
    return report


def _guard_other(database: Database, to: Path) -> None:
    """Raise `InputError` where a folder holds the back-up of another node: it would be swept."""
    if not (to / _DATABASE).exists():
        return
    with closing(Database(f"sqlite:///{to / _DATABASE}", owner=False)) as before:
        if before.node_id != database.node_id:
            raise InputError(f"{to} holds the back-up of another node: name a folder of its own")


def _fresh(folder: Path) -> Path:
    """Return where a database is made before it gets its name; what was left there goes."""
    for left in folder.glob(f"{_DATABASE}.new*"):
        left.unlink()
    return folder / f"{_DATABASE}.new"


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
    with setup.lock(state):
        fresh = _fresh(state)
        if left := list(state.glob(f"{_DATABASE}*")):  # its log alone would be played into ours
            raise InputError(f"{state} holds a node's state: move it away first ({left[0].name})")
        shutil.copyfile(source / _DATABASE, fresh)
        with closing(Database(f"sqlite:///{fresh}")) as database:
            report = _copy(database, source, state)
            database.renew_identity()
        fresh.replace(state / _DATABASE)
        _give_to_owner(state)
    return report


def _give_to_owner(state: Path) -> None:
    """Give what root has restored to the folder's owner, who runs the service."""
    owner = state.stat()
    for path in state.rglob("*") if os.geteuid() == 0 else ():
        os.chown(path, owner.st_uid, owner.st_gid)


def _embedded(config: Config) -> None:
    if config.database_url != f"sqlite:///{config.state_dir / _DATABASE}":
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
