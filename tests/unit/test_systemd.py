"""What the service manager hands over, taken from a real one."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon import systemd
from tests.peers import free_port

ROOT = Path(__file__).parents[2]
TAKE = """
import os
from daemon import systemd
listener = systemd.listener()
assert not os.get_inheritable(listener.fileno())
peer, _ = listener.accept()
peer.sendall(str(listener.getsockname()[1]).encode())
"""
RECEIVE = """
from types import SimpleNamespace
from daemon.config import parse
from daemon.receiving import acceptor
opened = acceptor(parse({}), SimpleNamespace(accepted={}), None, None)
print(opened.port)
"""
ASK = """
from daemon import systemd
print(systemd.listener())
"""

needs_activator = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd is not installed"
)


def connect(port: int) -> socket.socket:
    """Connect as soon as somebody listens."""
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


def activated(code: str, *addresses: str) -> list[str]:
    """Return the command that has systemd's own tool open sockets and run code with them."""
    where = [option for address in addresses for option in ("--listen", address)]
    return ["systemd-socket-activate", *where, sys.executable, "-c", code]


def said(code: str, *addresses: str) -> str:
    """Run code that is started by a connection to the last address; return what it printed."""
    out, port = subprocess.PIPE, int(addresses[-1].rpartition(":")[2])
    command = activated(code, *addresses)
    with subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT) as process:
        connect(port).close()
        return process.communicate(timeout=300)[0].decode()


@needs_activator
def test_the_socket_of_the_unit_is_taken_over() -> None:
    port = free_port()
    with subprocess.Popen(activated(TAKE, f"127.0.0.1:{port}"), cwd=ROOT) as process:
        with connect(port) as peer:
            assert peer.recv(16) == str(port).encode()
        assert process.wait(60) == 0


@needs_activator
def test_two_sockets_are_one_too_many() -> None:
    words = said(ASK, f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    assert "opens 2 sockets, and the node receives on one" in words


@needs_activator
def test_the_node_receives_on_it() -> None:
    port = free_port()
    assert said(RECEIVE, f"127.0.0.1:{port}").endswith(f"\n{port}\n")


@needs_activator
def test_a_socket_beyond_loopback_is_no_open_door() -> None:
    assert "beyond loopback and no [[sources]]" in said(RECEIVE, f"0.0.0.0:{free_port()}")


def test_a_socket_for_another_process_is_left_alone() -> None:
    """Such variables come along where a parent took its socket and did not clear them."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"


def test_without_a_socket_unit_there_is_none() -> None:
    assert systemd.listener() is None
