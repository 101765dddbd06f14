"""The service manager's side channel: ready, stopping, watchdog (sd_notify(3))."""

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Tell the service manager; does nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # a manager that went away needs no word
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
    ):
        channel.sendto("\n".join(lines).encode(), address)
