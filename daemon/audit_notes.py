"""What the parts of the node tell the audit trail, each in its own terms."""

from dataclasses import replace

from daemon.audit import Note, nowhere
from daemon.audit_events import (
    CREATED,
    KNOWN,
    LOGIN,
    LOGOUT,
    MINOR_FAILURE,
    NODE_AUTHENTICATION,
    READ,
    RESTRICTED_FUNCTION,
    SERIOUS_FAILURE,
    SOFTWARE_CONFIGURATION,
    SUCCESS,
    UPDATED,
    Access,
    Activity,
    Administered,
    Alert,
    SignIn,
    Transfer,
)
from daemon.store import Received
from daemon.ways import Receiver
from dicom_io.acceptor import Peer, Rejection
from dicom_io.scu import Outcome

_PERMANENT = 1  # result of an A-ASSOCIATE-RJ (PS3.8 9.3.4); others are for want of room
_CONFLICT = "other content under a known SOP Instance UID; the first was kept"


class Notes:
    """Turns what happened into events; `note` takes them."""

    def __init__(self, note: Note = nowhere) -> None:
        self._note = note

    def activity(self, *, started: bool) -> None:
        """Note that the service has started, or stops."""
        self._note(Activity(started))

    def misconfigured(self, words: str) -> None:
        """Note a bundle that does not verify, or may not be served."""
        self._note(Alert(SOFTWARE_CONFIGURATION, words))

    def rejected(self, peer: Peer, rejection: Rejection) -> None:
        """Note a peer that was not admitted."""
        if rejection.result == _PERMANENT:
            self._note(Alert(NODE_AUTHENTICATION, rejection.message, peer.calling_ae, peer.address))

    def abused(self, address: str, reason: str) -> None:
        """Note a peer that broke the protocol."""
        self._note(Alert(RESTRICTED_FUNCTION, reason, peer_address=address))

    def received(self, received: Received, peer: Peer, *, known: bool) -> None:
        """Note an instance that came; `known`: it was there already."""
        transfer = _received(received, peer)
        self._note(replace(transfer, action=KNOWN) if known else transfer)

    def conflict(self, received: Received, peer: Peer) -> None:
        """Note other content under a known UID, which was not kept."""
        self._note(
            replace(_received(received, peer), action=KNOWN, outcome=MINOR_FAILURE, words=_CONFLICT)
        )
        self._note(Alert(RESTRICTED_FUNCTION, _CONFLICT, peer.calling_ae, peer.address))

    def sent(
        self,
        peer: Receiver,
        study_uid: str,
        patient_key: str,
        instance: tuple[str, str],
        outcome: Outcome,
        detail: str,
    ) -> None:
        """Note a result that arrived or was refused; `instance`: SOP class and instance UID."""
        if outcome is Outcome.TRANSIENT:
            return
        arrived = outcome in (Outcome.STORED, Outcome.WARNING)
        self._note(
            Transfer(
                sent=True,
                peer_ae=peer.ae_title,
                peer_address=peer.host,
                study_uid=study_uid,
                patient_key=patient_key,
                sop_class_uid=instance[0],
                sop_instance_uid=instance[1],
                action=CREATED,
                outcome=SUCCESS if arrived else SERIOUS_FAILURE,
                words="" if arrived else detail,
            )
        )

    def signed_in(self, name: str, address: str, *, out: bool = False) -> None:
        """Note a person who signed in to the console, or out of it."""
        self._note(SignIn(name, address, LOGOUT if out else LOGIN))

    def not_signed_in(self, name: str, address: str, words: str) -> None:
        """Note a person, or a program, that failed to sign in."""
        self._note(SignIn(name, address, outcome=MINOR_FAILURE, words=words))

    def looked(self, name: str, address: str, study_uid: str, what: str) -> None:
        """Note a person who looked at something of a study."""
        self._note(Access(name, address, study_uid, READ, what))

    def acted(self, name: str, address: str, study_uid: str, what: str) -> None:
        """Note a person who changed what becomes of a study."""
        self._note(Access(name, address, study_uid, UPDATED, what))

    def administered(self, name: str, address: str, what: str) -> None:
        """Note a person who did something to the node."""
        self._note(Administered(name, address, what))


def _received(received: Received, peer: Peer) -> Transfer:
    return Transfer(
        sent=False,
        peer_ae=peer.calling_ae,
        peer_address=peer.address,
        study_uid=received.study_uid,
        patient_key=received.patient_key,
        sop_class_uid=received.sop_class_uid,
        sop_instance_uid=received.sop_instance_uid,
    )
