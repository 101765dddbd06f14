"""A change of one setting in a configuration that somebody has written and commented."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

_TABLE = re.compile(r"^\s*\[model\]\s*(?:#.*)?$", re.MULTILINE)
_NEXT = re.compile(r"^\s*\[", re.MULTILINE)
_LINE = re.compile(r"^[ \t]*bundle[ \t]*=[ \t]*(\"[^\"\n]*\"|'[^'\n]*')[ \t]*(#.*)?$", re.MULTILINE)
_BEFORE = re.compile(r"#\s*before: (.+?)\s*$")
SHIPPED = "the one that ships"  # in words, where no bundle is named


def with_bundle(text: str, bundle: str | None) -> str:
    """Return a configuration with another `model.bundle`; None: the one that ships.

    What it was stands in a comment behind it, so that `bundle_before` finds it.
    """
    table = _TABLE.search(text)
    if table is None:
        text = f"{text.rstrip()}\n\n[model]\n"
        table = _TABLE.search(text)
        assert table is not None  # noqa: S101 - it has just been written
    begin = table.end()
    follows = _NEXT.search(text, begin)
    end = follows.start() if follows else len(text)
    body = text[begin:end]
    line = _LINE.search(body)
    before = f"# before: {_value(line) or SHIPPED}"
    new = f"bundle = {json.dumps(bundle)}  {before}" if bundle else f"#bundle = left out  {before}"
    body = _left_out(body)
    line = _LINE.search(body)
    body = f"{body[: line.start()]}{new}{body[line.end() :]}" if line else f"\n{new}{body}"
    return text[:begin] + body + text[end:]


def bundle_before(text: str) -> str | None:
    """Return what `model.bundle` was before the last change; `SHIPPED`; None: it never changed."""
    for line in text.splitlines():
        found = _BEFORE.search(line)
        if found and re.match(r"\s*#?bundle = ", line):
            return found[1]
    return None


def _value(line: "re.Match[str] | None") -> str:
    return line[1][1:-1] if line else ""


def _left_out(body: str) -> str:
    """Take away the note that the bundle is left out."""
    return re.sub(r"^#bundle = left out.*\n?", "", body, flags=re.MULTILINE)


def replace(path: Path, text: str) -> None:
    """Write a file anew, with its mode and owner; it is never half written."""
    held = path.stat()
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, name)
        with contextlib.suppress(PermissionError):
            os.chown(name, held.st_uid, held.st_gid)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
