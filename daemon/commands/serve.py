"""``axnode serve``: the service."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.commands.common import add_config, read_config

if TYPE_CHECKING:  # help must not wait for the libraries behind it
    from daemon.child import Child, ChildOptions
    from daemon.config import Config
    from daemon.roles import Role

log = logging.getLogger("daemon.commands.serve")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument(
        "--role",
        action="append",
        choices=("receiver", "worker", "deliverer", "console", "all"),
        default=[],
        help="do a part only, beside other processes with the same PostgreSQL database; may be "
        "given several times (default: all)",
    )


def run(arguments: argparse.Namespace, child: "ChildOptions | None" = None) -> int:
    """Serve until SIGTERM or SIGINT; `child` starts another analysing process than the usual.

    SIGHUP reads the configuration again. One that is right has the process start anew in its
    place, after what is at hand is done; one that is wrong is said so, and nothing changes.
    """
    os.umask(0o077)  # images and names: for the service's user, whoever starts it
    config = read_config(arguments)
    from daemon.child import Child, ChildOptions
    from daemon.roles import Role, chosen

    roles = chosen(arguments.role, config)
    analysing = Child(child or ChildOptions.of(config))
    if Role.WORKER in roles:
        analysing.launch()  # loads its model while this process imports the rest
    try:
        return _serve(arguments, config, analysing, roles)
    finally:
        analysing.stop()


def _serve(
    arguments: argparse.Namespace, config: "Config", analysing: "Child", roles: "frozenset[Role]"
) -> int:
    from daemon import logs, setup, systemd
    from daemon.errors import DaemonError
    from daemon.roles import chosen
    from daemon.service import Service

    logs.configure()
    stop, again = threading.Event(), threading.Event()
    service: Service | None = None

    def reload(agreed: Callable[[], None] = lambda: None) -> None:
        read = read_config(arguments)
        chosen(arguments.role, read)
        setup.check_usable(read, config)
        agreed()
        log.info("reloading", extra={"action": "reload"})
        again.set()
        stop.set()

    def hung_up(*_: object) -> None:
        try:
            (reload if service is None else service.reload_here)()
        except DaemonError as error:
            log.error("not reloaded", extra={"action": "reload", "reason": str(error)})
        except Exception:
            log.exception("not reloaded", extra={"action": "reload"})

    signal.signal(signal.SIGHUP, hung_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service = Service(config, child=analysing, reload=reload, roles=roles)
    service.start()
    service.serve(stop)
    if again.is_set():
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    else:
        systemd.notify("STOPPING=1")
    service.stop()
    if again.is_set():
        systemd.hand_over()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the next one listens for it
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line again
    return 0
