"""Listening sockets of the service, IPv4 and IPv6."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raise OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
