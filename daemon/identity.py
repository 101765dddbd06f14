"""Hashes and UIDs: what makes a study's input, a recipe and a result the same or another."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from daemon import __version__


def uid(*parts: object) -> str:
    """Derive a UID from its parts (PS3.5 B.2: 2.25 and a 128-bit integer)."""
    text = "\x1f".join(str(part) for part in parts)
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])}"


def input_hash(instances: Iterable[tuple[str, str]]) -> str:
    """Hash the sorted (SOPInstanceUID, instance hash) pairs of a study."""
    lines = sorted(f"{sop_uid} {digest}\n" for sop_uid, digest in instances)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def recipe_digest(settings: Mapping[str, Any]) -> str:
    """Hash every setting that changes output bytes, and AxNode's version."""
    canonical = json.dumps(
        {**settings, "axnode": __version__}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def patient_key(database_id: str, patient_id: bytes) -> str:
    """Hash a PatientID with the database's salt: tells two patients apart, names nobody."""
    return hashlib.sha256(database_id.encode() + b"\x1f" + patient_id.strip()).hexdigest()
