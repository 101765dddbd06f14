"""Reception: who may associate, and the way of an instance into spool and rows.

Durable before success: bytes synced, file renamed, folder synced, row committed, then 0x0000.
Nothing is decoded here.
"""

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from daemon import failpoints, identity
from daemon.arrival import Arrival, Discard
from daemon.audit_notes import Notes
from daemon.callers import Callers
from daemon.clock import Clock
from daemon.commitment import Reports
from daemon.config import Config
from daemon.database import Database
from daemon.errors import UnavailableError
from daemon.refused import ASSOCIATION, CUT_SHORT
from daemon.spool import Incoming, Spool
from daemon.store import (
    Known,
    Received,
    add_conflict,
    add_instance,
    add_refusal,
    add_transcoded,
    is_result,
    is_spooled,
)
from dicom_io import syntaxes
from dicom_io.acceptor import (
    CONGESTED,
    Peer,
    Rejection,
    Sink,
    StoreRequest,
)
from dicom_io.compare import same_image_transcoded
from dicom_io.errors import StoreRefused
from dicom_io.walker import InstanceHeader

log = logging.getLogger(__name__)
OUR_MANUFACTURER = "AxNode"
_SUCCESS = 0x0000
_DUPLICATE_UID = 0x0111  # PS3.7 C.5.6 Duplicate SOP Instance
_OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3 Refused: Out of Resources
_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.5.22 SOP Class Not Supported
_NOT_AUTHORISED = 0x0124  # PS3.7 annex C, Refused: Not Authorized
_NO_SPACE = "less disk space is free than node.disk_floor_gb"
_GIB = 1 << 30


class Reception:
    """What the acceptor asks of the node (`dicom_io.acceptor.Handler`)."""

    def __init__(
        self,
        config: Config,
        database: Database,
        spool: Spool,
        clock: Clock,
        reports: Reports,
        notes: Notes | None = None,
    ) -> None:
        self._notes = notes or Notes()
        self._config = config
        self._database = database
        self._spool = spool
        self._clock = clock
        self._reports = reports
        self._callers = Callers(config)
        self._floor = int(config.node.disk_floor_gb * _GIB)

    @property
    def accepted(self) -> dict[str, tuple[str, ...]]:
        """Presentation contexts of the node: SOP class to transfer syntaxes.

        Result classes are among them so that our own objects, forwarded back, get their success.
        """
        classes = (
            *syntaxes.RECEIVED_SOP_CLASSES,
            *syntaxes.RESULT_SOP_CLASSES,
            *self._config.node.ignore_classes,
        )
        return dict.fromkeys(classes, syntaxes.RECEIVED_TRANSFER_SYNTAXES)

    def associate(self, peer: Peer, what: str = ASSOCIATION) -> Rejection | None:
        """Admit or reject a peer (PS3.8 9.3.4); `what` it comes with, where it is another thing."""
        rejection = self._judge(peer)
        if rejection is not None:
            self.refused(peer, what, "", rejection.message)
            self._notes.rejected(peer, rejection)
        return rejection

    def _judge(self, peer: Peer) -> Rejection | None:
        stranger = self._callers.judge(peer)
        if stranger is not None:
            return stranger
        # a report of storage commitment needs no space, and may be what makes some
        if self._callers.may_report_for(peer):
            return None
        try:
            full = _NO_SPACE if self._spool.room() < self._floor else ""
        except UnavailableError as error:
            full = str(error)
        return replace(CONGESTED, message=full) if full else None

    def store(self, request: StoreRequest) -> Sink:
        """Open the way of one instance; see `daemon.arrival`."""
        if not self._callers.may_push(request.peer):
            who = request.peer.calling_ae
            raise StoreRefused(f"{who} may only report: it is no [[sources]]", _NOT_AUTHORISED)
        if self._spool.free_bytes() < self._floor:
            raise StoreRefused(_NO_SPACE, _OUT_OF_RESOURCES)
        if request.sop_class_uid in self._config.node.ignore_classes:
            return Discard(lambda: self._ignored(request))
        return Arrival(self.accept, self._spool.incoming(), request)

    def _ignored(self, request: StoreRequest) -> None:
        self.refused(
            request.peer,
            f"ignored {syntaxes.name(request.sop_class_uid)}",
            "",
            "its class is in node.ignore_classes: answered with success and discarded",
        )

    def context_rejected(
        self, peer: Peer, abstract_syntax: str, transfer_syntaxes: tuple[str, ...], reason: str
    ) -> None:
        """Record a presentation context that was not accepted."""
        names = ", ".join(syntaxes.name(uid) for uid in transfer_syntaxes)
        what = syntaxes.name(abstract_syntax)
        self.refused(peer, what, names, reason)

    def association_failed(
        self, address: str, reason: str, *, abuse: bool, calling_ae: str = ""
    ) -> None:
        """Record an association that broke a rule of the protocol or ran out of time."""
        if abuse:
            self._notes.abused(address, reason)
        what = CUT_SHORT if calling_ae else ASSOCIATION
        self.refused(Peer(address, calling_ae, "", ""), what, "", reason)

    def event_report(
        self, peer: Peer, event_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> int:
        """Take a storage commitment report of a destination (PS3.4 J.3.3)."""
        names = self._callers.may_report_for(peer)
        status = self._reports.take(names, event_type_id, dataset, transfer_syntax_uid)
        if status != _SUCCESS:
            what, why = "storage commitment report", f"answered with 0x{status:04X}; see the log"
            self.refused(peer, what, "", why)
        return status

    def refused(self, peer: Peer, what: str, names: str, reason: str) -> None:
        """Note what a peer was refused, and why; `names`: of transfer syntaxes."""
        now, who = self._clock(), (peer.address, peer.calling_ae)
        try:
            self._database.write(
                lambda c: add_refusal(c, *who, what, names, reason, now), alone=False
            )
        except UnavailableError as error:  # a note that fails must not end an association
            log.warning("refusal not noted", extra={"action": "refusal", "reason": str(error)})

    def accept(
        self, request: StoreRequest, header: InstanceHeader, digest: str, file: Incoming
    ) -> int:
        """Make an instance durable and known; return its C-STORE status."""
        if self._is_ours(header):
            log.info("our own object came back", extra={"action": "own_object"})
            return _SUCCESS
        if request.sop_class_uid not in syntaxes.RECEIVED_SOP_CLASSES:
            raise StoreRefused(
                "results of other systems are not for this node", _CLASS_NOT_SUPPORTED
            )
        size, source = file.size, self._callers.source(request.peer)
        kept = file.keep(digest)
        received = Received(
            study_uid=header.study_instance_uid,
            series_uid=header.series_instance_uid,
            sop_instance_uid=request.sop_instance_uid,
            sop_class_uid=request.sop_class_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            instance_hash=digest,
            patient_key=identity.patient_key(self._database.node_id, header.patient_id),
            size=size,
            source_ae=request.peer.calling_ae,
            assumed=source is not None and source.assume_axilla,
        )
        now = self._clock()
        known = self._recorded(received, kept, now)
        failpoints.reach("receive.recorded")
        if known is None or known.instance_hash == digest:
            if known is not None:
                log.info("the same instance again", extra={"action": "known_instance"})
            self._notes.received(received, request.peer, known=known is not None)
            return _SUCCESS
        same = known.kept and same_image_transcoded(self._spool.path(known.instance_hash), kept)
        self._database.write(lambda c: _drop(c, kept, digest))
        failpoints.reach("receive.dropped")
        if same:
            self._database.write(lambda c: add_transcoded(c, known, request.peer.calling_ae, now))
            self._notes.received(received, request.peer, known=True)
            return _SUCCESS
        log.warning("conflicting instance", extra={"action": "conflict"})
        self._database.write(lambda c: add_conflict(c, known, request.peer.calling_ae, now))
        self._notes.conflict(received, request.peer)
        return _DUPLICATE_UID

    def _recorded(self, received: Received, kept: Path, now_us: int) -> Known | None:
        """Record an instance; a file whose row cannot be had goes again, for the disk is short."""
        try:
            # its study's row is locked by what it writes, and its UID is there once
            return self._database.write(
                lambda c: _record(c, received, self._spool, now_us), alone=False
            )
        except UnavailableError:
            with suppress(UnavailableError):
                self._database.write(lambda c: _drop(c, kept, received.instance_hash))
            raise

    def _is_ours(self, header: InstanceHeader) -> bool:
        if header.manufacturer == OUR_MANUFACTURER and (
            header.sop_class_uid in syntaxes.RESULT_SOP_CLASSES
        ):
            return True
        if header.sop_class_uid not in syntaxes.RESULT_SOP_CLASSES:
            return False
        with self._database.read() as connection:
            return is_result(connection, header.sop_instance_uid)


def _record(connection: Connection, received: Received, spool: Spool, now_us: int) -> Known | None:
    if not spool.holds(received.instance_hash):  # `_drop` of another association was faster
        raise StoreRefused("the file was removed meanwhile; send it again", _OUT_OF_RESOURCES)
    return add_instance(connection, received, now_us)


def _drop(connection: Connection, kept: Path, digest: str) -> None:
    """Delete a file that no row rests on; in the writer, so that no row can appear meanwhile."""
    if not is_spooled(connection, digest):  # two UIDs may own one data set that has none itself
        kept.unlink(missing_ok=True)
