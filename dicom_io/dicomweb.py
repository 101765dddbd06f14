"""An archive's DICOMweb (PS3.18): how it is asked, and what it means where it does not answer."""

import contextlib
from collections.abc import Callable, Iterator

import requests

from dicom_io.archive import Archive
from dicom_io.errors import PeerError

TIMEOUT_S = (10.0, 60.0)  # to connect; between two bytes
JSON = "application/dicom+json"
LATER = frozenset({401, 403, 404, 408, 425, 429})  # an admin, or time, puts it right


@contextlib.contextmanager
def opened(archive: Archive) -> Iterator[requests.Session]:
    """Open a session; no proxy of the environment is used, nor its passwords."""
    with requests.Session() as session:
        session.trust_env = False
        session.max_redirects = 0  # who we are is for nobody else
        if archive.ca is not None:
            session.verify = str(archive.ca)
        if archive.user is not None:
            session.auth = (archive.user, archive.password or "")
        if archive.token is not None:
            session.headers["Authorization"] = f"Bearer {archive.token}"
        yield session


def asked(archive: Archive, ask: Callable[[], requests.Response]) -> requests.Response:
    """Return the answer to a request; raise `PeerError` where there is none."""
    try:
        return ask()
    except requests.RequestException as error:
        raise unreachable(archive, error) from None


def unreachable(archive: Archive, error: requests.RequestException) -> PeerError:
    """Return what it means that a request had no answer."""
    # its own text may hold the address with its password
    return PeerError(f"{archive} cannot be reached ({_reason(error)})", transient=True)


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


def status_of(answer: requests.Response) -> str:
    """Return the status of an answer, in words."""
    return f"{answer.status_code} {answer.reason or ''}".strip()


def echo(archive: Archive) -> None:
    """Ask for one study (QIDO-RS), to see whether the archive answers.

    Raises
    ------
    PeerError
        It does not, or not us.
    """
    with opened(archive) as session:
        answer = asked(
            archive,
            lambda: session.get(
                f"{archive.url}/studies",
                params={"limit": "1"},
                headers={"Accept": JSON},
                timeout=TIMEOUT_S,
            ),
        )
        if answer.status_code not in (200, 204):
            raise PeerError(f"{archive} answered {status_of(answer)}", transient=True)
