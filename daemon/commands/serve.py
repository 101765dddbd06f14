"""``axnode serve``: the service."""

import argparse
import os
import signal
import threading
from typing import TYPE_CHECKING

from daemon.commands.common import add_config, read_config

if TYPE_CHECKING:  # help must not wait for the libraries behind it
    from daemon.child import ChildOptions


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)


def run(arguments: argparse.Namespace, child: "ChildOptions | None" = None) -> int:
    """Serve until SIGTERM or SIGINT; `child` starts another analysing process than the usual."""
    os.umask(0o077)  # images and names: for the service's user, whoever starts it
    config = read_config(arguments)
    from daemon import logs
    from daemon.service import Service

    logs.configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Service(config, child=child).run(stop)
    return 0
