"""``axnode serve``: the service."""

import argparse
import signal
import threading

from daemon.commands.common import add_config, read_config


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    config = read_config(arguments)
    from daemon import logs
    from daemon.service import Service

    logs.configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Service(config).run(stop)
    return 0
