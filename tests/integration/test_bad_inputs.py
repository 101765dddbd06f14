"""Peers that send what no peer should: each gets its answer, leaves nothing, and disturbs nobody.

The node runs in a process of its own, so that its memory, threads and descriptors can be counted. A
well-behaved modality works beside every bad peer.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon import schema
from tests.bad_inputs import BadInput, catalogue, play
from tests.footprint import MIB, Footprint, forget_peak
from tests.misbehaviour import CALLING
from tests.reception_node import MODALITY, Modality, ReceptionNode

pytestmark = pytest.mark.integration

LIMITS = {
    "associate_s": 2,
    "pdu_s": 2,
    "message_gap_s": 2,
    "dataset_s": 2,
    "linger_s": 0.2,
    "dataset_bytes": 64 << 20,
}
SOURCES = [{"ae_title": "US1", "host": MODALITY}, {"ae_title": CALLING}]
CASES = catalogue()
# Allocators and the database's pool of connections breathe; the inputs are up to 256 MiB.
MOST_AT_ONCE = 24 * MIB
LEFT_BEHIND = 12 * MIB
POOLED = 10  # descriptors of connections to the database that may come and go


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceptionNode]:
    folder = tmp_path_factory.mktemp("node")
    with ReceptionNode(folder, LIMITS, {"sources": SOURCES}) as running:
        running.warm_up()
        yield running


def refused(node: ReceptionNode) -> int:
    """Count what the node has noted as refused or broken off."""
    return sum(count for _, count in node.refusals().values())


def kept(node: ReceptionNode) -> set[str]:
    """SOP Instance UIDs of the recorded instances, whose files are all that lies in the spool."""
    rows = node.rows(schema.instances)
    assert {path.stem for path in node.files()} == {row.instance_hash for row in rows}
    return {row.sop_instance_uid for row in rows}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}: {case.name}")
def test_a_bad_input_gets_its_answer_and_leaves_nothing(
    node: ReceptionNode, case: BadInput
) -> None:
    before, noted, instances = node.at_rest(), refused(node), kept(node)
    told = len(node.log)
    forget_peak(node.pid)
    with Modality(node) as modality:
        reply = play(case, node.port, patience_s=20)
    assert reply.words in case.reply.split("|")
    after = node.at_rest()
    assert kept(node) == instances | set(modality.stored)
    assert after.descriptors <= before.descriptors + POOLED
    assert after.peak - before.memory < MOST_AT_ONCE
    assert after.memory - before.memory < LEFT_BEHIND
    check_what_was_noted(node, case, noted, node.log[told:])


def check_what_was_noted(node: ReceptionNode, case: BadInput, noted: int, log: str) -> None:
    """Check that a person can see what was refused; a connection without a byte is nothing."""
    if case.reply == "closed":
        assert refused(node) == noted
    elif case.reply.startswith("0x"):
        assert f"C-STORE refused with {case.reply}" in log
    else:
        assert refused(node) > noted


def test_every_row_that_bytes_can_show_is_here() -> None:
    assert {case.row for case in CASES} == {*range(1, 17), 23}


def test_the_reason_names_who_and_what(node: ReceptionNode) -> None:
    for case in CASES:
        if case.row in (8, 23):
            play(case, node.port, patience_s=20)
    refusals = node.refusals()
    words = {key[1:]: reason for key, (reason, _) in refusals.items()}
    assert "it called NOBODY; this node is AXNODE" in words[CALLING, "association"]
    assert "is not among the [[sources]]" in words["STRANGER", "association"]
    assert "may not call from this address" in words["US1", "association"]
    assert words[CALLING, "Media Storage Directory Storage"] == "SOP class not supported"


def test_many_bad_inputs_leave_no_more_than_a_few(node: ReceptionNode) -> None:
    """What every one of them would leave behind, this shows."""
    quick = [case for case in CASES if case.row not in (1, 3, 4, 10, 16)]
    after: list[Footprint] = []
    for _ in range(8):
        for case in quick:
            play(case, node.port, patience_s=20)
        after.append(node.at_rest())
    assert len(quick) > 25
    assert after[-1].memory - after[1].memory < LEFT_BEHIND / 3
    assert after[-1].descriptors <= after[1].descriptors + POOLED


def test_before_association_the_deadline_is_ten_seconds(tmp_path: Path) -> None:
    """With the limits as they are by default; the others are shortened here."""
    cases = [case for case in catalogue(trickled_s=0.2) if case.row in (1, 3, 4)]
    cases = [case for case in cases if case.request is None]
    assert len(cases) == 3
    with ReceptionNode(tmp_path) as running, ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda case: play(case, running.port, patience_s=25), cases))
    assert [reply.words for reply in replies] == [case.reply for case in cases]
    assert all(reply.seconds < 15 for reply in replies)
