"""Files stored in an archive by STOW-RS (PS3.18 10.5), as they lie."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import requests

from dicom_io.archive import Archive
from dicom_io.dicomweb import JSON, LATER, TIMEOUT_S, asked, opened, status_of
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, StoreResult, classify
from dicom_io.store_response import FAILED, REASON, STORED

_PIECE = 1 << 18  # bytes of a file that are read at once
_PROCESSING_FAILURE = 0x0110


def store(
    archive: Archive,
    paths: Sequence[Path],
    on_result: Callable[[StoreResult], None] = lambda result: None,
    on_tick: Callable[[], None] = lambda: None,
) -> list[StoreResult]:
    """Store files (PS3.18 10.5), each in a request of its own, byte for byte.

    Every file has a result, in the order of `paths`; `on_result` is called as they come, and
    `on_tick` at each piece of a file. What `on_result` raises ends it before the next file.

    Raises
    ------
    PeerError
        The archive does not answer, or not us; what had no result yet has none.
    """
    results = []
    with opened(archive) as session:
        for path in paths:
            result = _stored(archive, session, path, on_tick)
            on_result(result)
            results.append(result)
    return results


def _stored(
    archive: Archive, session: requests.Session, path: Path, on_tick: Callable[[], None]
) -> StoreResult:
    try:
        with path.open("rb") as file:
            body = _Body(file, path.stat().st_size, on_tick)
            answer = _posted(archive, session, body)
    except OSError as error:
        words = f"the file cannot be read ({error.strerror})"
        return StoreResult(path, Outcome.TRANSIENT, None, words)
    if answer.status_code in LATER or answer.status_code == 503:
        raise PeerError(f"{archive} answered {status_of(answer)}", transient=True)
    return _result(path, answer)


def _posted(archive: Archive, session: requests.Session, body: "_Body") -> requests.Response:
    kind = f'multipart/related; type="application/dicom"; boundary={body.mark}'
    try:
        return asked(
            archive,
            lambda: session.post(
                f"{archive.url}/studies",
                data=body,
                headers={"Content-Type": kind, "Accept": JSON},
                timeout=TIMEOUT_S,
                allow_redirects=False,  # it would be asked again without the object
            ),
        )
    except PeerError:
        if body.fault is not None:  # what looked like a broken line
            raise body.fault from None
        raise


class _Body:
    """A file as the one part of a request, read in pieces while it is sent.

    Parameters
    ----------
    size
        Of the file, in bytes.
    on_tick
        Called at each piece.
    """

    def __init__(self, file: BinaryIO, size: int, on_tick: Callable[[], None]) -> None:
        self.mark = secrets.token_hex(16)
        self.fault: OSError | None = None  # why the file could not be read to its end
        self._head = f"--{self.mark}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._tail = f"\r\n--{self.mark}--\r\n".encode()
        self._file = file
        self._size = size
        self._on_tick = on_tick

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        try:
            while piece := self._file.read(_PIECE):
                self._on_tick()
                yield piece
        except OSError as error:
            self.fault = error
            raise
        yield self._tail


def _result(path: Path, answer: requests.Response) -> StoreResult:
    """Read an answer by what it says of the object, else by its status (PS3.18 10.5.3)."""
    stored, failures = _said(answer)
    if failures:
        outcome, words = classify(failures[0])
        return StoreResult(path, outcome, failures[0], words)
    said = f"the archive answered {status_of(answer)}"
    if answer.status_code in (200, 202):
        if stored:
            return StoreResult(path, Outcome.STORED, 0, "stored")
        return StoreResult(path, Outcome.TRANSIENT, None, f"{said}, and not what became of it")
    if answer.status_code >= 500:  # at this object, perhaps at no other
        return StoreResult(path, Outcome.TRANSIENT, None, said)
    taken = answer.status_code != 415  # Unsupported Media Type: its class or transfer syntax
    return StoreResult(path, Outcome.PERMANENT if taken else Outcome.UNSUPPORTED, None, said)


def _said(answer: requests.Response) -> tuple[bool, list[int]]:
    """Return whether objects are among those stored, and the Failure Reasons of others.

    What cannot be read says neither (PS3.18 annex I).
    """
    try:
        found = json.loads(answer.content)
    except ValueError:
        return False, []
    if isinstance(found, list):
        found = found[0] if found else {}
    failures = [_reason_of(item) for item in _items(found, FAILED)]
    return bool(_items(found, STORED)), failures


def _items(found: object, tag: str) -> list[object]:
    element = found.get(tag) if isinstance(found, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _reason_of(item: object) -> int:
    try:
        return int(_items(item, REASON)[0])  # type: ignore[call-overload,no-any-return]
    except (IndexError, TypeError, ValueError):
        return _PROCESSING_FAILURE
