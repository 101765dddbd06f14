"""``axnode check``: the first-line doctor; each failure says what to do."""

import argparse
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.commands.common import add_config, read_config
from daemon.errors import DaemonError, UnavailableError

if TYPE_CHECKING:
    from daemon.certificates import TlsSetup
    from daemon.config import Config
    from daemon.config_destination import Destination


class _Doubt(Exception):
    """It works today, and needs a person before long."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument(
        "--deep",
        action="store_true",
        help="hold rows and stored files against each other as well: every file is read and hashed",
    )
    parser.add_argument(
        "--local", action="store_true", help="leave out the destinations, which may be away"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run every check; 0 if all passed, doubts included, 1 if not."""
    config = read_config(arguments)
    print(f"ok    configuration  {arguments.config}")
    checks: list[tuple[str, Callable[[], str]]] = [
        ("tls", lambda: _certificates(config)),
        ("bundle", lambda: _bundle(config)),
        ("disk", lambda: _disk(config)),
        ("database", lambda: _database(config)),
        ("port", lambda: _port(config)),
        ("console", lambda: _console(config)),
        ("model", lambda: _model(config)),
    ]
    peers = () if arguments.local else config.destinations
    checks += [(d.name, lambda d=d: _echo(config, d)) for d in peers]  # type: ignore[misc]
    if arguments.deep:
        checks += [
            ("rows", lambda: _rows(config)),
            ("images", lambda: _stored(config, "spool")),
            ("results", lambda: _stored(config, "objects")),
        ]
    passed = [_report(name, check) for name, check in checks]
    return 0 if all(passed) else 1


def _report(name: str, check: Callable[[], str]) -> bool:
    from dicom_io.errors import PeerError

    try:
        words = check()
    except (DaemonError, PeerError) as error:
        for line in str(error).splitlines():
            print(f"FAIL  {name:13}  {line}")
        return False
    except _Doubt as doubt:
        print(f"warn  {name:13}  {doubt}")
        return True
    print(f"ok    {name:13}  {words}")
    return True


def _tls(config: "Config") -> "TlsSetup | None":
    from daemon import certificates, clock

    return certificates.load(config, clock.now_us())


def _certificates(config: "Config") -> str:
    from daemon import certificates, clock

    now, setup = clock.now_us(), _tls(config)
    if setup is None:
        return "off: DICOM goes unencrypted"
    doubts = [one.words(now) for one in setup.certificates if one.ends_soon(now)]
    if certificates.key_is_open(config.tls):
        doubts.append(f"tls.key: every user can read {config.tls.key}; chmod 600 it")
    if doubts:
        raise _Doubt("; ".join(doubts))
    return setup.certificates[0].words(now)


def _bundle(config: "Config") -> str:
    from daemon import bundles

    return "; by rule ".join(
        f"{each.name} {each.version} {each.digest[:12]} "
        f"({'demonstration, not for patients' if each.demonstration else 'yours'})"
        for each in bundles.load(config).every
    )


def _disk(config: "Config") -> str:
    from daemon import setup

    setup.check_writable(config)
    try:
        free = shutil.disk_usage(config.spool_dir).free / 2**30
    except OSError as error:
        raise UnavailableError(
            f"node.spool_dir {config.spool_dir}: {error.strerror}; is it mounted?"
        ) from error
    if free < config.node.disk_floor_gb:
        raise UnavailableError(
            f"{free:.1f} GiB free in {config.spool_dir}, below node.disk_floor_gb = "
            f"{config.node.disk_floor_gb:g}: instances are refused until there is room"
        )
    words = (
        f"{free:.0f} GiB free in {config.spool_dir}, of which {config.node.disk_floor_gb:g} stay so"
    )
    if free < 2 * config.node.disk_floor_gb:
        raise _Doubt(f"{words} (node.disk_floor_gb): make room before images are refused")
    return words


def _database(config: "Config") -> str:
    from daemon.database import Database, has_schema

    if config.database.url is None and not (config.state_dir / "axnode.sqlite").exists():
        return "will be made by the first axnode serve"
    if not has_schema(config.database_url):
        return "answers; the first axnode serve makes its tables"
    Database(config.database_url, owner=False).close()
    return "opened"


def _rows(config: "Config") -> str:
    from daemon import reconcile
    from daemon.commands.common import rows

    with rows(config) as database:
        damage = database.damage()
        with database.read() as connection:
            problems = damage or list(reconcile.inconsistent(connection))
    if problems:
        raise UnavailableError("\n".join(problems))
    return "the database is whole, and no study's rows contradict each other"


def _stored(config: "Config", folder: str) -> str:
    from daemon import reconcile
    from daemon.commands.common import rows
    from daemon.spool import Spool

    kind_of = reconcile.instances if folder == "spool" else reconcile.objects
    with rows(config) as database:
        kind = kind_of(Spool(config.spool_dir / folder, owner=False))
        problems = list(reconcile.harmed(database, kind))
        extra = [path.stat().st_size for path in reconcile.unnamed(database, kind)]
        with database.read() as connection:
            number = reconcile.count(connection, kind)
    if problems:
        raise UnavailableError("\n".join(problems))
    left = f"; {len(extra)} that no row names ({sum(extra)} bytes) go tonight" if extra else ""
    return f"{number} files, every one whole{left}"


def _port(config: "Config") -> str:
    from daemon import setup

    where = f"{config.node.host}:{config.node.port}"
    if not _free(config, "node"):
        return f"{where} is served by a running {config.node.ae_title}"
    if setup.is_running(config):
        return f"{where} is free; axnode runs here, without the role receiver"
    return f"{where} is free; the service is not running"


def _free(config: "Config", table: str) -> bool:
    """Tell whether a port is free, or else taken by the service itself; raise otherwise."""
    from daemon import setup
    from daemon.ports import listen

    settings = getattr(config, table)
    try:
        listen(settings.host, settings.port).close()
    except OSError as error:
        # one of root's is refused before it is looked at: a running service has it from systemd
        if setup.is_running(config):
            return False
        where = f"{settings.host}:{settings.port}"
        raise UnavailableError(f"cannot listen on {where}{_why_not(error, table)}") from error
    return True


def _why_not(error: OSError, table: str) -> str:
    if isinstance(error, PermissionError):
        return (
            ": ports below 1024 are root's; let systemd open it (deploy/axnode.socket), or set "
            f"{table}.port to one above"
        )
    return f" ({error.strerror}): another program has it; change {table}.port or stop that program"


def _console(config: "Config") -> str:
    from daemon import certificates, clock, http
    from daemon.console.app import closed

    http.check_certificate(config.http)
    _free(config, "http")
    now = clock.now_us()
    doubts = [one.words(now) for one in certificates.watched(config, None) if one.ends_soon(now)]
    problem = closed(config)
    if problem:
        doubts.append(problem)
    if doubts:
        raise _Doubt("; ".join(doubts))
    scheme = "https" if config.http.certificate else "http"
    return f"{scheme}://{config.http.host}:{config.http.port}, {len(config.users)} may sign in"


def _model(config: "Config") -> str:
    from daemon import bundles
    from daemon.child import Child, ChildOptions

    bundles.load(config)
    child = Child(ChildOptions.of(config))
    try:
        child.start()
        return f"self-test passed on {child.description['device']}"
    finally:
        child.stop()


def _echo(config: "Config", destination: "Destination") -> str:
    from daemon import ways
    from dicom_io import commitment_scu
    from dicom_io.scu import Remote

    tls = _tls(config) if destination.tls else None
    peer = ways.peer(destination, config, tls.client if tls else None)
    asked = ways.echo(peer)
    found = f"{asked} answered by {destination.place}{' over TLS' if tls else ''}"
    if destination.storage_commitment and isinstance(peer, Remote):
        commitment_scu.ask(peer, (), lambda *report: 0)  # for nothing: is the service there?
        found += ", which offers storage commitment"
    return found
