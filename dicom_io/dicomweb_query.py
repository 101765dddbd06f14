"""Studies of an archive, found by QIDO-RS and fetched by WADO-RS (PS3.18 10.6, 10.4)."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dicom_io.archive import Archive
from dicom_io.dicomweb import LATER, TIMEOUT_S, opened, unreachable
from dicom_io.errors import PeerError


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
    with opened(archive) as session:
        client = DICOMwebClient(archive.url, session=session, timeout=TIMEOUT_S)
        client.set_http_retry_params(retry=False)
        try:
            yield client
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            words = f"{archive} answered {code} to a query"
            raise PeerError(words, transient=code >= 500 or code in LATER) from None
        except requests.RequestException as error:
            raise unreachable(archive, error) from None


def _value(row: Mapping[str, Any], tag: str) -> str:
    values = row.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""
