"""The loopback address: what goes there leaves this machine for nobody to see."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine's loopback address, by name or number."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
