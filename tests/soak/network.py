"""Two networks of one machine, for nodes in namespaces of their own: `ip` makes them, as root."""

import subprocess
from types import TracebackType
from typing import Self

HOST = "10.77.0.1"  # this machine, in the network of modalities and PACS
DATABASE = "10.77.1.1"  # and in that of the database


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """Namespaces `axnode-0` and on, each with a leg in either network."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes

    def __enter__(self) -> Self:
        self._clear()
        for number, address in ((0, HOST), (1, DATABASE)):
            bridge = f"axbr{number}"
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{address}/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
        for node in range(self._nodes):
            space = self.namespace(node)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            for number in (0, 1):
                near, far = f"ax{node}h{number}", f"ax{node}n{number}"
                _ip("link", "add", near, "type", "veth", "peer", "name", far)
                _ip("link", "set", near, "master", f"axbr{number}", "up")
                _ip("link", "set", far, "netns", space)
                address = f"10.77.{number}.{node + 11}/24"
                _ip("-n", space, "address", "add", address, "dev", far)
                _ip("-n", space, "link", "set", far, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        for node in range(self._nodes):
            self._try("netns", "delete", self.namespace(node))
        for number in (0, 1):
            self._try("link", "delete", f"axbr{number}")

    @staticmethod
    def _try(*words: str) -> None:
        subprocess.run(["ip", *words], check=False, capture_output=True)

    @staticmethod
    def namespace(node: int) -> str:
        """Return the name of a node's namespace."""
        return f"axnode-{node}"

    @staticmethod
    def address(node: int) -> str:
        """Return a node's address in the network of modalities and PACS."""
        return f"10.77.0.{node + 11}"

    @staticmethod
    def cut(node: int) -> None:
        """Take a node's way to the database; packets are lost, and nobody is told."""
        _ip("link", "set", f"ax{node}h1", "down")

    @staticmethod
    def mend(node: int) -> None:
        """Give it back."""
        _ip("link", "set", f"ax{node}h1", "up")
