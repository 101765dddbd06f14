"""Tables of what the node does on the network, most of them read off the wire of a real one."""

import ssl
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ

from daemon.commitment import Reports
from daemon.config import Config
from daemon.receive import Reception
from daemon.spool import Spool
from dicom_io import syntaxes
from dicom_io.acceptor import Acceptor, Limits
from dicom_io.decode import decoder_for
from dicom_io.errors import FrameError
from tests import builders
from tests import builders_wire as wire
from tests.certificates import a_site
from tests.fakes import FakeClock
from tests.fakes_wire import RawPeer

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
DEFLATED = "1.2.840.10008.1.2.1.99"

LIMIT_WORDS: Mapping[str, str] = {
    "associate_s": "s, from the connection to the whole A-ASSOCIATE-RQ, TLS handshake included",
    "pdu_s": "s, for one PDU from its first byte",
    "message_gap_s": "s, between two PDUs of one message",
    "idle_s": "s, between two messages",
    "dataset_s": "s, for one data set, and longer by its bytes over the next rate",
    "dataset_min_rate": "bytes/s that a sender must reach on average",
    "send_s": "s, for the peer to take an answer",
    "linger_s": "s, for the peer to read a reject, abort or release",
    "associate_bytes": "bytes, longest A-ASSOCIATE-RQ",
    "pdu_bytes": "bytes, longest P-DATA-TF; advertised",
    "command_bytes": "bytes, longest command set",
    "dataset_bytes": "bytes, longest data set",
    "report_bytes": "bytes, longest data set of an N-EVENT-REPORT or N-ACTION",
    "max_associations": "associations at once (`node.max_associations`)",
    "max_associations_per_address": "associations at once from one address",
    "max_connections": "connections without an association; the oldest makes room",
    "pending_bytes_per_address": "bytes held for one address before association",
    "backlog": "connections that the kernel holds",
}


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def sentence(text: str) -> str:
    """Return text in lines as long as the page's own."""
    return textwrap.fill(text, 100)


def named(uid: str) -> str:
    """Return the name of a UID in words."""
    known = UID(uid)
    return known.name + " (retired)" * known.is_retired


_CHOICE = "each only where it is configured, see 4.4"


def sop_class_table() -> str:
    """Return the SOP classes with the node's roles."""
    rows = [(named(syntaxes.VERIFICATION), syntaxes.VERIFICATION, "yes", "yes", "")]
    for uid in dict.fromkeys((*syntaxes.RECEIVED_SOP_CLASSES, *syntaxes.RESULT_SOP_CLASSES)):
        analysed, sent = (
            uid in syntaxes.RECEIVED_SOP_CLASSES,
            uid in syntaxes.RESULT_SOP_CLASSES,
        )
        note = "" if analysed else "as SCP its own objects only, which are not kept"
        rows.append((named(uid), uid, "yes" if sent else "no", "yes", note))
    rows.append(
        (named(syntaxes.STORAGE_COMMITMENT), syntaxes.STORAGE_COMMITMENT, "yes", "yes", _CHOICE)
    )
    return table(("SOP class", "UID", "SCU", "SCP", "Note"), rows)


def syntax_table() -> str:
    """Return the transfer syntaxes of received images, and whether they can be analysed."""
    rows = [
        (named(uid), uid, "yes" if _is_read(uid) else "no: stored, ends `not_evaluable`")
        for uid in syntaxes.RECEIVED_TRANSFER_SYNTAXES
    ]
    return table(("Transfer syntax", "UID", "Analysed"), rows)


def _is_read(uid: str) -> bool:
    try:
        decoder_for(UID(uid))
    except FrameError:
        return False
    return True


@contextmanager
def node(
    folder: Path,
    limits: Limits | None = None,
    secured: ssl.SSLContext | None = None,
    **tables: Any,
) -> Iterator[tuple[int, Any]]:
    """Run the node's reception on a free port; yields the port and the reception."""
    folder.mkdir(parents=True)
    with builders.database(folder) as database:
        config: Config = builders.config(folder, **tables)
        clock = FakeClock()
        reports = Reports(database, Spool(folder / "objects"), clock)
        reception = Reception(config, database, Spool(folder / "spool"), clock, reports)
        acceptor = Acceptor(reception, reception.accepted, limits=limits or Limits(), tls=secured)
        acceptor.start()
        try:
            yield acceptor.port, reception
        finally:
            acceptor.stop(drain_s=5)


def asked(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Send an association request; return type and body of the answer."""
    with RawPeer(port, tls=tls) as peer:
        peer.send(request)
        return peer.receive()


@dataclass(frozen=True)
class Proposed:
    """A presentation context that a table asks the node for."""

    words: str
    context: bytes
    role: bytes = b""


_COMMITMENT = wire.context(1, wire.COMMITMENT, [wire.IMPLICIT])
PROPOSED = (
    Proposed("Verification", wire.context(1, wire.VERIFICATION, [wire.EXPLICIT, wire.IMPLICIT])),
    Proposed(
        "a class of 1.1, JPEG Baseline before Explicit VR Little Endian",
        wire.context(1, wire.US_IMAGE, [wire.JPEG, wire.EXPLICIT]),
    ),
    Proposed(
        "the same, the other way round",
        wire.context(1, wire.US_IMAGE, [wire.EXPLICIT, wire.JPEG]),
    ),
    Proposed(
        "a class of 1.1, an unknown syntax before Implicit VR Little Endian",
        wire.context(1, wire.US_IMAGE, ["1.2.3.4.5", wire.IMPLICIT]),
    ),
    Proposed("a class of 1.1, deflated only", wire.context(1, wire.US_IMAGE, [DEFLATED])),
    Proposed("another class (CT Image)", wire.context(1, CT, [wire.EXPLICIT])),
    Proposed(
        "a class of 1.1, the peer as SCP",
        wire.context(1, wire.US_IMAGE, [wire.EXPLICIT]),
        wire.role(wire.US_IMAGE, scu=False, scp=True),
    ),
    Proposed(
        "Storage Commitment, the peer as SCP",
        _COMMITMENT,
        wire.role(wire.COMMITMENT, scu=False, scp=True),
    ),
)
_RESULTS = {
    0: "accepted",
    1: "1, user rejection",
    2: "2, no reason",
    3: "3, abstract syntax not supported",
    4: "4, transfer syntaxes not supported",
}


def context_table(port: int) -> str:
    """Return the answers of a running node to presentation contexts."""
    rows = []
    for proposed in PROPOSED:
        request = wire.associate_rq([proposed.context], user_items=proposed.role)
        (answer,) = accepted(asked(port, request)).presentation_context
        syntax = named(str(answer.transfer_syntax)) if answer.result == 0 else "-"
        rows.append((proposed.words, _RESULTS[answer.result], syntax))
    return table(("Proposed", "Result", "Transfer syntax"), rows)


def accepted(answer: tuple[int, bytes]) -> A_ASSOCIATE_AC:
    """Decode an A-ASSOCIATE-AC with another implementation's codec."""
    kind, body = answer
    assert kind == 2, f"PDU type {kind}"
    pdu = A_ASSOCIATE_AC()
    pdu.decode(wire.pdu(kind, body))
    return pdu


def rejection_table(folder: Path) -> str:
    """Return the A-ASSOCIATE-RJ of running nodes, by cause."""
    request = wire.associate_rq
    source = {"ae_title": "US1", "host": "10.9.9.9"}
    rows = []
    with node(folder / "plain", Limits(max_associations=0)) as (port, _):
        causes = (
            ("called AE title is not `node.ae_title`", request(called="OTHER")),
            ("application context name is unknown", request(application_context="1.2.3")),
            ("protocol version is unknown", request(version=2)),
            ("`node.max_associations`, or the limit per address, is reached", request()),
        )
        rows += [(words, *_rejected(asked(port, pdu))) for words, pdu in causes]
    with node(folder / "sources", sources=[source]) as (port, _):
        words = "calling AE title is not among `[[sources]]`, or calls from another address"
        rows.append((words, *_rejected(asked(port, request(calling="OTHER")))))
        assert _rejected(asked(port, request(calling="US1"))) == rows[-1][1:]
    certified = [{"ae_title": "US1", "certificate_name": "us1.example.org"}]
    files = dict.fromkeys(("certificate", "key", "ca"), "not read here")
    site = a_site(folder / "site")
    with node(folder / "tls", secured=site.server(), sources=certified, tls=files) as (port, _):
        words = "with TLS: the certificate does not hold the title's `sources.certificate_name`"
        other = site.client(site.us2)
        rows.append((words, *_rejected(asked(port, request(calling="US1"), other))))
        assert asked(port, request(calling="US1"), site.client())[0] == 2
    with node(folder / "full", node={"disk_floor_gb": 1e9}) as (port, _):
        words = "less disk space is free than `node.disk_floor_gb`"
        rows.append((words, *_rejected(asked(port, request()))))
    return table(("Cause", "Result", "Source", "Reason"), rows)


def _rejected(answer: tuple[int, bytes]) -> tuple[str, str, str]:
    kind, body = answer
    assert kind == 3, f"PDU type {kind}"
    pdu = A_ASSOCIATE_RJ()
    pdu.decode(wire.pdu(kind, body))
    return (
        f"{pdu.result}, {pdu.result_str}",
        f"{pdu.source}, {pdu.source_str}",
        f"{pdu.reason_diagnostic}, {pdu.reason_str}",
    )


def tls_table(folder: Path) -> str:
    """Return the versions and suites that the node's contexts allow, at both ends."""
    site = a_site(folder)
    rows = []
    for role, context in (("acceptor", site.server()), ("requestor", site.client())):
        suites = [c["name"] for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"]
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        rows += [(role, "1.2", ", ".join(f"`{name}`" for name in suites))]
        rows += [(role, "1.3", "those of OpenSSL")]
    return table(("As", "TLS", "Cipher suites, by OpenSSL's names"), rows)


def limit_table() -> str:
    """Return the deadlines and caps of reception."""
    limits = Limits()
    rows = [(f"{getattr(limits, f.name):,g}", LIMIT_WORDS[f.name]) for f in fields(Limits)]
    return table(("Limit", "Of what"), rows)


def identity_table(port: int, requests: Sequence[Any]) -> str:
    """Return how the node names itself, in answers and in requests, and the PDU it takes."""
    pdu = accepted(asked(port, wire.associate_rq()))
    answer = pdu.to_primitive().user_information
    rows = [_identity("acceptor", answer)]
    rows += [_identity("requestor", one.primitive.user_information) for one in requests]
    return table(
        ("As", "Implementation class UID", "Version name", "Longest PDU, bytes"),
        list(dict.fromkeys(rows)),
    )


def _identity(role: str, items: Sequence[Any]) -> tuple[str, str, str, str]:
    values: dict[str, Any] = {}
    for item in items:
        for name in _IDENTITY:
            values[name] = getattr(item, name, values.get(name))
    uid, version, length = (values[name] for name in _IDENTITY)
    return role, str(uid), str(version), str(length)


_IDENTITY = (
    "implementation_class_uid",
    "implementation_version_name",
    "maximum_length_received",
)
