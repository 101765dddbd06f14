"""UIDs as they arrive from other nodes, and the ones that name this implementation."""

import re

# PS3.7 D.3.3.2: names the implementation, not the node; a UUID below 2.25 needs no registration
IMPLEMENTATION_CLASS_UID = "2.25.30240136664362068144514836856553887110"
IMPLEMENTATION_VERSION_NAME = "AXNODE_0_1"  # PS3.7 D.3.3.2.3: at most 16 characters

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST = 64


def is_uid(text: str) -> bool:
    """Say whether `text` is a UID by PS3.5 section 9, leading zeros tolerated.

    Modalities in the field write components such as `.01`; refusing them would lose images and
    protect nobody. Length and characters are strict, for they reach file systems and databases.
    """
    return len(text) <= _LONGEST and _UID.fullmatch(text) is not None


def uid_text(value: bytes | memoryview) -> str:
    """Text of a UI value without its padding (NUL by PS3.5 6.2, space by habit)."""
    return bytes(value).decode("ascii", "replace").rstrip("\0 ").lstrip(" ")
