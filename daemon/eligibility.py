"""Whether a study is one for this node, by what its headers say of body part and procedure."""

from collections.abc import Sequence

from daemon.assemble import Eligible
from daemon.spool import Spool
from dicom_io.errors import DicomIOError
from dicom_io.facts import eligible, facts
from dicom_io.frames import read_header


def by_headers(spool: Spool) -> Eligible:
    """Return what reads the headers of a study's images until one gives a reason."""

    def why(hashes: Sequence[str]) -> str | None:
        for digest in hashes:
            try:
                reason = eligible(facts(read_header(spool.path(digest))))
            except (DicomIOError, OSError):
                continue  # what cannot be read names nothing; the worker says so if it must
            if reason is not None:
                return reason
        return None

    return why
