"""Exceptions of the DICOM side.

DicomIOError
 ├─ StoreRefused            a C-STORE answered with a failure status
 │   ├─ MalformedInstance   0xC000: the bytes are not a data set
 │   ├─ InvalidInstanceUID  0x0117: the SOP Instance UID is not a UID
 │   └─ IdentifierMismatch  0xA900: command and data set disagree
 ├─ MultipartError          a request's body is not the parts that it says it is
 ├─ CommitmentRefused       a storage commitment message answered with a failure status
 ├─ FrameError              an image cannot be analysed; carries its reason code
 ├─ PeerError               another node could not be reached or refused us
 ├─ TlsSetupError           a certificate or key cannot be used; names the setting
 └─ ObjectError             a result object could not be built or does not validate

Messages are written for the operator: what is wrong and what to do. They never hold a patient's
name, identifier or dates.
"""


class DicomIOError(Exception):
    """Base of everything that `dicom_io` raises on purpose."""


class StoreRefused(DicomIOError):
    """A C-STORE that is answered with `status` (PS3.4 B.2.3, PS3.7 C)."""

    def __init__(self, message: str, status: int = 0xC000) -> None:
        super().__init__(message)
        self.status = status


class MalformedInstance(StoreRefused):
    """The bytes cannot be walked as a data set of the negotiated transfer syntax (0xC000)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0xC000)


class InvalidInstanceUID(StoreRefused):
    """The SOP Instance UID is not a UID by PS3.5 section 9 (0x0117)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0x0117)


class IdentifierMismatch(StoreRefused):
    """Command set and data set name different instances or SOP classes (0xA900)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0xA900)


class MultipartError(DicomIOError):
    """A body cannot be read as ``multipart/related`` (RFC 2046); says where it is wrong."""


class CommitmentRefused(DicomIOError):
    """A storage commitment request or report that is answered with `status` (PS3.7 C)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class FrameError(DicomIOError):
    """An image that cannot be analysed; `reason` is one of `dicom_io.findings.Reason`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PeerError(DicomIOError):
    """Another node could not be reached or refused us; `transient` says whether to try again."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class TlsSetupError(DicomIOError):
    """A file of the TLS set-up cannot be used; `setting` is certificate, key or ca."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


class ObjectError(DicomIOError):
    """A result object could not be built, or does not validate."""
