"""The service manager: its side channel (sd_notify(3)) and its socket (sd_listen_fds(3))."""

import contextlib
import os
import socket

from daemon.errors import ConfigError

_FIRST = 3  # SD_LISTEN_FDS_START


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


def listener() -> socket.socket | None:
    """Take over the listening socket of the socket unit; None: there is no such unit.

    Raises
    ------
    ConfigError
        The unit opens more than one: reception has one port.
    """
    if not has_listener():
        return None  # meant for nobody, or for a parent of ours
    number = os.environ.get("LISTEN_FDS")
    if number != "1":
        raise ConfigError(
            f"the socket unit opens {number} sockets, and the node receives on one: leave one"
            " ListenStream= in axnode.socket"
        )
    os.set_inheritable(_FIRST, False)  # the analysing process has no business with it
    return socket.socket(fileno=os.dup(_FIRST))  # the unit's own outlives a stop, for `hand_over`


def has_listener() -> bool:
    """Tell whether a socket unit opened the port of this process."""
    return os.environ.get("LISTEN_PID") == str(os.getpid())


def hand_over() -> None:
    """Leave the socket unit's socket open to the program that is executed next in this process."""
    if has_listener():
        os.set_inheritable(_FIRST, True)
