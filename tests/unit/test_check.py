"""``axnode check`` on what a test run as root does not meet by itself."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon import setup
from daemon.commands import check
from daemon.errors import UnavailableError
from tests import builders

NOBODY = 65534
PORT = 104
FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act as a user who may not open ports of root's."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(
    not FIRST_FREE.exists() or int(FIRST_FREE.read_text()) <= PORT,
    reason="any user may open port 104 here",
)
def test_a_port_of_root_s_is_a_running_service_s_or_the_socket_unit_s_to_open() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # the lock is looked at by the service's user
        config = builders.config(Path(name), node={"port": PORT})
        check._port(builders.config(Path(name)))  # with what it imports
        held = setup.lock(Path(name))
        (Path(name) / "lock").chmod(0o644)
        with unprivileged():
            assert check._port(config) == "127.0.0.1:104 is served by a running AXNODE"
        held.close()
        with unprivileged(), pytest.raises(UnavailableError, match="ports below 1024 are root's"):
            check._port(config)
