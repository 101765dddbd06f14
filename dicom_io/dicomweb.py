"""An archive's DICOMweb (PS3.18): STOW-RS of files as they lie, QIDO-RS and WADO-RS of studies."""

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dicom_io.archive import Archive
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, StoreResult, classify
from dicom_io.store_response import FAILED, REASON, STORED

_TIMEOUT_S = (10.0, 60.0)  # to connect; between two bytes
_PIECE = 1 << 18  # bytes of a file that are read at once
_JSON = "application/dicom+json"
_LATER = frozenset({401, 403, 404, 408, 425, 429})  # an admin, or time, puts it right
_PROCESSING_FAILURE = 0x0110


@contextlib.contextmanager
def _session(archive: Archive) -> Iterator[requests.Session]:
    """Open a session; no proxy of the environment is used, nor its passwords."""
    with requests.Session() as opened:
        opened.trust_env = False
        opened.max_redirects = 0  # who we are is for nobody else
        if archive.ca is not None:
            opened.verify = str(archive.ca)
        if archive.user is not None:
            opened.auth = (archive.user, archive.password or "")
        if archive.token is not None:
            opened.headers["Authorization"] = f"Bearer {archive.token}"
        yield opened


def echo(archive: Archive) -> None:
    """Ask for one study (QIDO-RS), to see whether the archive answers.

    Raises
    ------
    PeerError
        It does not, or not us.
    """
    with _session(archive) as session:
        answer = _asked(
            archive,
            lambda: session.get(
                f"{archive.url}/studies",
                params={"limit": "1"},
                headers={"Accept": _JSON},
                timeout=_TIMEOUT_S,
            ),
        )
        if answer.status_code not in (200, 204):
            raise PeerError(f"{archive} answered {_words(answer)}", transient=True)


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
    with _session(archive) as session:
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
    if answer.status_code in _LATER or answer.status_code == 503:
        raise PeerError(f"{archive} answered {_words(answer)}", transient=True)
    return _result(path, answer)


def _posted(archive: Archive, session: requests.Session, body: "_Body") -> requests.Response:
    kind = f'multipart/related; type="application/dicom"; boundary={body.mark}'
    try:
        return _asked(
            archive,
            lambda: session.post(
                f"{archive.url}/studies",
                data=body,
                headers={"Content-Type": kind, "Accept": _JSON},
                timeout=_TIMEOUT_S,
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
    said = f"the archive answered {_words(answer)}"
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


def _words(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.reason or ''}".strip()


def _asked(archive: Archive, ask: Callable[[], requests.Response]) -> requests.Response:
    try:
        return ask()
    except requests.RequestException as error:
        # its text may hold the address with its password
        raise PeerError(f"{archive} cannot be reached ({_reason(error)})", transient=True) from None


def _reason(error: requests.RequestException) -> str:
    for kind, words in (
        (requests.exceptions.SSLError, "its certificate is not one that is trusted"),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.TooManyRedirects, "it sends us elsewhere: name that address"),
        (requests.exceptions.ConnectionError, "connection refused or lost"),
    ):
        if isinstance(error, kind):
            return words
    return type(error).__name__


@dataclass(frozen=True)
class Found:
    """A study that an archive has (QIDO-RS)."""

    study_uid: str
    date: str  # YYYYMMDD; "": unknown


class Query:
    """What of an archive is asked for, page by page."""

    def __init__(self, archive: Archive, page: int = 100) -> None:
        self._archive = archive
        self._page = page

    def studies(self, filters: Mapping[str, str]) -> Iterator[Found]:
        """Yield the studies that match, in the archive's order.

        Parameters
        ----------
        filters
            Attribute keyword to value, with the wildcards of PS3.4 C.2.2.2.

        Raises
        ------
        PeerError
            The archive does not answer, or not to this.
        """
        seen: set[str] = set()
        while True:
            with _client(self._archive) as client:
                rows = client.search_for_studies(
                    limit=self._page, offset=len(seen), search_filters=dict(filters)
                )
            # an archive may give fewer than it is asked for, or the same again
            found = [Found(_value(row, "0020000D"), _value(row, "00080020")) for row in rows]
            fresh = [each for each in found if each.study_uid not in seen]
            if not fresh:
                return
            seen.update(each.study_uid for each in fresh)
            yield from fresh

    def series(self, study_uid: str, modality: str) -> list[str]:
        """Return the series of a modality that a study has."""
        with _client(self._archive) as client:
            rows = client.search_for_series(
                study_instance_uid=study_uid, search_filters={"Modality": modality}
            )
        # not every archive filters by what it is asked for
        return [
            _value(row, "0020000E") for row in rows if _value(row, "00080060") in ("", modality)
        ]

    def instances(self, study_uid: str, series_uid: str) -> Iterator[Dataset]:
        """Yield a series' instances, in whatever transfer syntax the archive keeps them."""
        media = (("application/dicom", "*"),)
        with _client(self._archive) as client:
            yield from client.iter_series(study_uid, series_uid, media_types=media)

    def files(self, study_uid: str, modality: str, folder: Path) -> Iterator[Path]:
        """Fetch the instances of a modality that a study has; yields a Part 10 file of each."""
        for series_uid in self.series(study_uid, modality):
            for number, dataset in enumerate(self.instances(study_uid, series_uid)):
                path = folder / f"{series_uid}-{number}.dcm"
                dataset.save_as(path, enforce_file_format=True)
                yield path


@contextlib.contextmanager
def _client(archive: Archive) -> Iterator[DICOMwebClient]:
    with _session(archive) as session:
        client = DICOMwebClient(archive.url, session=session, timeout=_TIMEOUT_S)
        client.set_http_retry_params(retry=False)
        try:
            yield client
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            words = f"{archive} answered {code} to a query"
            raise PeerError(words, transient=code >= 500 or code in _LATER) from None
        except requests.RequestException as error:
            words = f"{archive} cannot be reached ({_reason(error)})"
            raise PeerError(words, transient=True) from None


def _value(row: Mapping[str, Any], tag: str) -> str:
    values = row.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""
