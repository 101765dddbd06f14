"""What a maintainer needs to know of a node, in one archive: nothing about a person, no secret."""

import io
import json
import os
import platform
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url

from daemon import __version__, logs
from daemon.config import Config
from daemon.console.desk import Desk

_HIDDEN = "hidden"
_SECRETS = ("password_hash", "token_hash", "secret", "password", "token")


def settings(config: Config) -> dict[str, Any]:
    """Return the configuration as it was read, with its secrets hidden."""
    return {key: _safe(key, value) for key, value in config.model_dump(mode="json").items()}


def _safe(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _safe(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_safe(key, item) for item in value]
    if key in _SECRETS and value is not None:
        return _HIDDEN
    if key == "webhook" and value is not None:
        return urlsplit(str(value))._replace(path=f"/{_HIDDEN}", query="", fragment="").geturl()
    if key == "url" and value is not None:
        shown: URL = make_url(value)
        return shown.set(query={}).render_as_string(hide_password=True)
    return value


def archive(desk: Desk) -> bytes:
    """Return a ZIP of settings, state, latest log lines, versions and machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in _parts(desk):
            zipped.writestr(name, text)
    return buffer.getvalue()


def _parts(desk: Desk) -> Iterator[tuple[str, str]]:
    shown = desk.overview()
    yield "settings.json", json.dumps(settings(desk.config), indent=1)
    yield (
        "state.json",
        json.dumps(
            {
                "ailments": desk.health.ailments(),
                "unready": desk.health.unready(),
                "device": desk.health.device(),
                "bundle": desk.bundle.digest,
                "studies": shown.studies,
                "oldest_waiting_s": shown.oldest_waiting_s,
                "destinations": [vars(each) for each in shown.destinations],
                "refusals": [vars(each) for each in desk.peers().refusals],
                "certificates": list(desk.peers().certificates),
            },
            indent=1,
        ),
    )
    yield "log.jsonl", "".join(f"{line}\n" for line in logs.RECENT.lines(""))
    yield "versions.txt", "\n".join(_versions())
    yield "machine.txt", "\n".join(_machine(desk.config))


def _versions() -> list[str]:
    found = sorted({f"{each.name}=={each.version}" for each in distributions()})
    return [f"axnode {__version__}", f"python {platform.python_version()}", *found]


def _machine(config: Config) -> list[str]:
    disk = shutil.disk_usage(config.spool_dir)
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return [
        platform.platform(),
        f"processors {os.cpu_count()}",
        f"memory {pages * page_bytes / 2**30:.1f} GiB",
        f"disk {disk.total / 2**30:.0f} GiB, {disk.free / 2**30:.0f} GiB free",
        f"load {' '.join(f'{load:.2f}' for load in os.getloadavg())}",
    ]
