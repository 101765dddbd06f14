"""What every command that opens the service's state needs: recipe, folders, guards."""

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import TextIO

from daemon import bundles, http, identity
from daemon.config import Config
from daemon.config_source import guard_open_door
from daemon.database import Database, check_url, has_schema
from daemon.errors import ConfigError, UnavailableError
from daemon.ports import listen
from daemon.spool import Folders, Spool, found


def check_usable(config: Config, now: Config) -> None:
    """Raise `DaemonError` where a service that runs with `now` could not start with `config`."""
    from daemon import certificates, clock, systemd

    bundles.load(config)
    certificates.load(config, clock.now_us())
    http.check_certificate(config.http)
    check_url(config.database_url)
    if config.database_url != now.database_url and config.shares_rows:
        has_schema(config.database_url)
    if config.node.spool_dir is not None and not config.spool_dir.is_dir():
        raise ConfigError(f"configuration: node.spool_dir: {config.spool_dir} is no folder")
    check_writable(config)
    if systemd.has_listener():
        guard_open_door(config, "0.0.0.0")  # noqa: S104 - the unit's port is everybody's
    taken = {(each.host, each.port) for each in (now.node, now.http)}
    for name, each in (("node", config.node), ("http", config.http)):
        if (each.host, each.port) not in taken:
            try:
                listen(each.host, each.port).close()
            except OSError as error:
                raise ConfigError(
                    f"configuration: {name}: cannot listen on {each.host}:{each.port} "
                    f"({error.strerror})"
                ) from error


def recipe_digest(config: Config) -> str:
    """Hash every setting that changes what the objects say."""
    return identity.recipe_digest(
        {
            "ae_title": config.node.ae_title,
            "cine_frames": config.study.cine_frames,
            "aggregation": config.model.aggregation,
            "operating_point": config.model.operating_point,
            "results": config.results.model_dump(),
        }
    )


def check_writable(config: Config) -> None:
    """Raise `UnavailableError` unless the state folder can be written; leave nothing in it."""
    state = config.state_dir
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        raise _not_writable("node.state_dir", config.state_dir, error) from error


def _not_writable(name: str, folder: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"cannot write {name} {folder} ({error.strerror}): make it a folder that the service's "
        "user owns"
    )


def lock(folder: Path, name: str = "node.state_dir") -> TextIO:
    """Claim a state folder, or a back-up of one, for this process; the lock goes with it.

    Raises
    ------
    UnavailableError
        Another service uses the folder.
    """
    try:
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise _not_writable(name, folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise UnavailableError(
            f"{name} {folder} is in use by another axnode: stop that one, or give this one "
            "a folder of its own"
        ) from None
    return lock


def is_running(config: Config) -> bool:
    """Tell whether a service has claimed the state folder; leave nothing in it."""
    try:
        with (config.state_dir / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(config: Config) -> str:
    """Name this node in the leases of its jobs, the same after every start.

    Whoever has locked the state folder knows that an earlier process of this name is gone. Machines
    may have one name, and the same folders: part of it is drawn, and lies in the state folder.
    """
    file = config.state_dir / "instance"
    with contextlib.suppress(FileNotFoundError):
        if found := file.read_text():
            return found
    name = f"{socket.gethostname()[:64]}:{secrets.token_hex(8)}"
    part = file.with_suffix(".part")
    part.write_text(name)
    part.replace(file)
    return name


def make_state(config: Config) -> Path:
    """Make the state folder; return where masks and pictures are handed over."""
    state = config.state_dir
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = state / "scratch"
        scratch.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_writable("node.state_dir", config.state_dir, error) from error
    return scratch


def make_folders(config: Config) -> Folders:
    """Make what is missing of the state folder and of that of images and results, and open them."""
    scratch = make_state(config)
    shared, writer = config.spool_dir, holder(config)
    mark = None if config.node.spool_dir is None else shared / MARK
    spool, objects = (
        Spool(shared / name, writer=writer, mark=mark) for name in ("spool", "objects")
    )
    return Folders(spool, objects, scratch)


MARK = "database"  # the file in a shared folder that says whose it is


def guard_folder(config: Config, database: Database) -> None:
    """See that a folder that several nodes share is this database's; the first node marks it.

    Nothing is made in it before: the folder of a share that is not mounted is an empty one, and
    every image would count as missing.

    Raises
    ------
    ConfigError
        It belongs to another database.
    UnavailableError
        It is not there.
    """
    if config.node.spool_dir is None:
        return
    folder, ours = config.spool_dir, database.folder_id()
    mark = folder / MARK
    try:
        name = _named(mark)
        if not name and not ours:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            name = _marked(mark, secrets.token_hex(16))
            ours = database.take_folder(name)
    except OSError as error:
        raise _not_writable("node.spool_dir", folder, error) from error
    if not name:
        raise UnavailableError(
            f"node.spool_dir {folder} does not hold this database's images: mount the folder that "
            "the other nodes use"
        )
    if name != ours:
        raise ConfigError(
            f"node.spool_dir {folder} belongs to another database than database.url: "
            "name the one that the other nodes name"
        )


def _named(mark: Path) -> str:
    try:
        return found(mark, Path.read_text)
    except FileNotFoundError:
        return ""


def _marked(mark: Path, name: str) -> str:
    """Write a mark, whole; return what stands in it, for another node may be faster."""
    part = mark.with_name(f"{MARK}.{os.getpid()}.{name}")
    part.write_text(name)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(part, mark)
    finally:
        part.unlink()
    return mark.read_text()
