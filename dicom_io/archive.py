"""An archive that is reached by DICOMweb, as it is configured; `dicom_io.dicomweb` talks to it."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Archive:
    """Where an archive's DICOMweb is, and who asks."""

    name: str
    url: str  # of the service: /studies comes behind it
    user: str | None = None
    password: str | None = None  # of `user`
    token: str | None = None  # bearer
    ca: Path | None = None  # PEM of whom to trust; None: those of the system

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"

    @property
    def ae_title(self) -> str:
        """None: web services have no such title."""
        return ""

    @property
    def host(self) -> str:
        """Name or address of its machine."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of its service."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)
