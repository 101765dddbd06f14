"""What the audit trail tells of (PS3.15 A.5.3), and the codes that it is told in (PS3.16)."""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias


class Code(NamedTuple):
    """A coded value (A.5.1: CodedValueType)."""

    value: str
    meaning: str
    scheme: str = "DCM"


APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")  # PS3.16 CID 400
INSTANCES_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
SECURITY_ALERT: Final = Code("110113", "Security Alert")
USER_AUTHENTICATION: Final = Code("110114", "User Authentication")
APPLICATION_START: Final = Code("110120", "Application Start")  # CID 401
APPLICATION_STOP: Final = Code("110121", "Application Stop")
LOGIN: Final = Code("110122", "Login")  # CID 403
LOGOUT: Final = Code("110123", "Logout")
NODE_AUTHENTICATION: Final = Code("110126", "Node Authentication")  # CID 403
SOFTWARE_CONFIGURATION: Final = Code("110131", "Software Configuration")
RESTRICTED_FUNCTION: Final = Code("110132", "Use of Restricted Function")

SUCCESS: Final = "0"  # EventOutcomeIndicator
MINOR_FAILURE: Final = "4"
SERIOUS_FAILURE: Final = "8"
CREATED: Final = "C"  # EventActionCode of a transfer: the receiver had no copy
KNOWN: Final = "R"  # the receiver had it, and keeps what it had
READ: Final = "R"
UPDATED: Final = "U"


@dataclass(frozen=True)
class Activity:
    """The service starts or stops (A.5.3.1)."""

    started: bool


@dataclass(frozen=True)
class Transfer:
    """An instance went from one application entity to another, or should have (A.5.3.7)."""

    sent: bool  # by this node; otherwise to it
    peer_ae: str
    peer_address: str  # IP address or host name
    study_uid: str
    patient_key: str
    sop_class_uid: str
    sop_instance_uid: str
    action: str = CREATED
    outcome: str = SUCCESS
    words: str = ""  # EventOutcomeDescription


@dataclass(frozen=True)
class Alert:
    """Something that guards the node has refused or found (A.5.3.11)."""

    kind: Code
    words: str
    peer_ae: str = ""
    peer_address: str = ""  # "": this node itself


@dataclass(frozen=True)
class SignIn:
    """A person signed in to the console or out of it, or tried (A.5.3.12)."""

    name: str
    address: str  # IP address
    kind: Code = LOGIN
    outcome: str = SUCCESS
    words: str = ""


@dataclass(frozen=True)
class Access:
    """A person looked at a study's images or results, or changed what becomes of it (A.5.3.4)."""

    name: str
    address: str  # IP address
    study_uid: str
    action: str  # READ or UPDATED
    words: str


@dataclass(frozen=True)
class Administered:
    """A person did something to the node itself (A.5.3.11)."""

    name: str
    address: str  # IP address
    words: str


Event: TypeAlias = Activity | Transfer | Alert | SignIn | Access | Administered


class Noted(NamedTuple):
    """An event and when it happened, UTC microseconds."""

    at_us: int
    event: Event
