"""Statuses of DIMSE answers: what a running node returns, and how it takes what it is returned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from daemon.asker import REPORT
from daemon.commitment import RESEND
from daemon.custody import HERE_FIRST_S
from daemon.retry import RetryPolicy, Verdict
from dicom_io import scu
from dicom_io.commitment import PUSH_MODEL_INSTANCE
from dicom_io.commitment_scu import LINGER_S
from dicom_io.scu import Outcome
from tests import builders_wire as wire
from tests.conformance.network import CT, SR, node, sentence, table
from tests.fakes import full_disk
from tests.fakes_wire import RawPeer

_C_FIND = 0x0020
_CONTEXTS = (
    wire.context(1, wire.US_IMAGE, [wire.EXPLICIT]),
    wire.context(3, SR, [wire.EXPLICIT]),
    wire.context(5, wire.VERIFICATION, [wire.EXPLICIT]),
    wire.context(7, wire.COMMITMENT, [wire.EXPLICIT]),
    wire.context(9, CT, [wire.EXPLICIT]),
)
_IMAGE = wire.dataset(instance="1.2.3.4")
_REPORT = wire.dataset(sop_class=SR, instance="1.2.3.5", pixels=None)


@dataclass(frozen=True)
class Message:
    """A request that a table sends to the node."""

    words: str
    field: int = 0x0001
    context_id: int = 1
    sop_class: str = wire.US_IMAGE
    instance: str = "1.2.3.4"
    data: bytes | None = _IMAGE

    def pdu(self) -> bytes:
        """Return the request as one P-DATA-TF."""
        command = wire.command(
            self.field,
            sop_class=self.sop_class,
            instance=self.instance,
            has_data_set=self.data is not None,
            event_type=1 if self.field == 0x0100 else None,
        )
        values = [(self.context_id, 3, command)]
        if self.data is not None:
            values.append((self.context_id, 2, self.data))
        return wire.p_data(*values)


MESSAGES = (
    Message("C-ECHO", 0x0030, 5, wire.VERIFICATION, "", None),
    Message("C-STORE: a new image; it is on disk and in the database before the answer"),
    Message("C-STORE: the same bytes again"),
    Message(
        "C-STORE: another image under a known SOPInstanceUID; the first one is kept",
        data=wire.dataset(instance="1.2.3.4", pixels=b"\2" * 16),
    ),
    Message(
        "C-STORE: a result of this product comes back; it is not kept",
        context_id=3,
        sop_class=SR,
        instance="1.2.3.5",
        data=_REPORT.replace(b"Maker ", b"AxNode"),
    ),
    Message(
        "C-STORE: a SEG, SR or presentation state of another manufacturer",
        context_id=3,
        sop_class=SR,
        instance="1.2.3.5",
        data=_REPORT,
    ),
    Message(
        "C-STORE: a class of `node.ignore_classes`; recorded and discarded",
        context_id=9,
        sop_class=CT,
        instance="1.2.3.6",
    ),
    Message("C-STORE: the class is not that of its presentation context", sop_class=CT),
    Message("C-STORE: SOPInstanceUID is no UID", instance="1.2.x"),
    Message("C-STORE: command and data set name different instances", instance="1.2.3.7"),
    Message("C-STORE: the data set cannot be walked", data=_IMAGE[:-3]),
    Message("C-STORE: no data set", data=None),
    Message(
        "N-EVENT-REPORT: a storage commitment result that nobody asked for, or not its sender",
        0x0100,
        7,
        wire.COMMITMENT,
        PUSH_MODEL_INSTANCE,
        wire.uid(0x00081195, "1.2.9"),
    ),
    Message("any other request, such as C-FIND", _C_FIND),
)


def answers(port: int, messages: Sequence[Message] = MESSAGES) -> Iterator[tuple[str, int]]:
    """Send messages over one association; yield each with the status it was answered with."""
    with RawPeer(port) as peer:
        peer.send(wire.associate_rq(_CONTEXTS))
        assert peer.receive()[0] == 2
        for message in messages:
            peer.send(message.pdu())
            yield message.words, peer.status()


def answer_table(folder: Path) -> str:
    """Return the statuses that a running node answers with."""
    with node(folder, node={"ignore_classes": [CT]}) as (port, _):
        rows = list(answers(port))
    words = "C-STORE: no space is left on the disk, or less than `node.disk_floor_gb`"
    rows[-2:-2] = _on_a_full_disk(folder / "full", words)  # before the requests of other kinds
    return table(
        ("Request", "Status", "Meaning"),
        [(words, f"0x{status:04X}", _meaning(status)) for words, status in rows],
    )


def _on_a_full_disk(folder: Path, words: str) -> list[tuple[str, int]]:
    """Let the disk fill after the association, which would be rejected before."""
    with node(folder) as (port, _), RawPeer(port) as peer:
        peer.send(wire.associate_rq(_CONTEXTS[:1]))
        assert peer.receive()[0] == 2
        with full_disk(0):
            peer.send(Message(words).pdu())
            return [(words, peer.status())]


def _meaning(status: int) -> str:
    category, words = STORAGE_SERVICE_CLASS_STATUS[status]
    return f"{category}: {words}" if words else str(category)


_TREATMENT = {
    Verdict.DELIVERED: "delivered",
    Verdict.AGAIN: "sent again later",
    Verdict.PARK: "parked; `axnode retry` after the cause is removed",
}


def received_table() -> str:
    """Return how every C-STORE status of a PACS is treated, equal neighbours together."""
    rows = []
    for first, last, outcome, words in _ranges():
        span = f"0x{first:04X}" if first == last else f"0x{first:04X} to 0x{last:04X}"
        rows.append((span, words, outcome.value, treatment(outcome)))
    return table(("Status", "Taken as", "Outcome", "What follows"), rows)


def treatment(outcome: Outcome) -> str:
    """Return what becomes of a delivery with an outcome."""
    if outcome is Outcome.UNSUPPORTED:
        return "pictures stand in for a SEG (4.3); without any, parked"
    return _TREATMENT[RetryPolicy().judge(outcome, 1)]


def _ranges() -> Iterator[tuple[int, int, Outcome, str]]:
    """Yield runs of statuses of one outcome and wording; those of no entry of their own go last."""
    runs: list[tuple[int, int, Outcome, str]] = []
    for status in range(0x10000):
        outcome, words = scu.classify(status)
        text = words.rpartition(" (")[0]
        if runs and runs[-1][2:] == (outcome, text):
            runs[-1] = (runs[-1][0], status, outcome, text)
        else:
            runs.append((status, status, outcome, text))
    other = scu.classify(0xFFFF)[0], scu.classify(0xFFFF)[1].rpartition(" (")[0]
    yield from (run for run in runs if run[2:] != other)


def other_statuses() -> str:
    """Return in a sentence what becomes of every status that the table does not list."""
    outcome, words = scu.classify(0xFFFF)
    return sentence(
        f"Any other status: {words.rpartition(' (')[0]}, {outcome.value}, {treatment(outcome)}."
    )


def commitment_sentences() -> str:
    """Return the waits of storage commitment in sentences."""
    waits = [REPORT.wait_us(attempt) / 60e6 for attempt in range(1, REPORT.attempts + 1)]
    first, longest, days = waits[0], waits[-1] / 60, sum(waits) / 1440
    return sentence(
        f"The association stays open for {LINGER_S:g} s, or until every report is there. Without "
        f"one the node asks again, under a new Transaction UID, after {first:g} minutes, then "
        f"after twice as long each time, up to {longest:g} hours; after {REPORT.attempts} requests "
        f"({days:.1f} days) the delivery is parked. What the PACS does not commit to is sent again "
        f"at most {RESEND.attempts - 1} times. A result for a modality is kept for "
        f"{HERE_FIRST_S:g} s for the association that asked; then the node calls back."
    )


def retry_sentence() -> str:
    """Return the waits between attempts in a sentence."""
    policy = RetryPolicy()
    waits = [policy.wait_us(attempt) // 1_000_000 for attempt in range(1, policy.attempts)]
    growing = [str(wait) for wait in dict.fromkeys(waits)]
    days = sum(waits) / 86_400
    return sentence(
        f"Waits after a failed attempt: {', '.join(growing)} s, then the last one again. After "
        f"{policy.attempts} attempts ({days:.1f} days) the delivery is parked."
    )
