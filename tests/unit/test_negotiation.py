import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC

from dicom_io.negotiation import Agreement, Context, Negotiator, read_proposal
from dicom_io.pdu import Cut
from dicom_io.reception import CONTEXT_UNKNOWN, PROTOCOL_UNKNOWN
from tests import builders_wire as wire

DEFLATED = "1.2.840.10008.1.2.1.99"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
NEGOTIATOR = Negotiator({wire.US_IMAGE: (wire.EXPLICIT, wire.IMPLICIT, wire.JPEG)}, 131072)


def agree(*contexts: bytes, user_items: bytes = b"") -> Agreement:
    return NEGOTIATOR.answer(read_proposal(wire.associate_rq(contexts, user_items=user_items)))


def roles(agreement: Agreement) -> dict[str, tuple[bool, bool]]:
    """Role items of the answer, as another implementation reads them."""
    pdu = A_ASSOCIATE_AC()
    pdu.decode(agreement.pdu)
    return {
        str(uid): (bool(item.scu_role), bool(item.scp_role))
        for uid, item in pdu.user_information.role_selection.items()
    }


def test_a_proposal_is_read() -> None:
    proposal = read_proposal(wire.associate_rq(called="NODE", calling="US 1", maximum=0))

    assert (proposal.called_ae, proposal.calling_ae) == ("NODE", "US 1")
    assert proposal.maximum_length == 0
    assert proposal.fault is None


def test_the_first_proposed_syntax_that_is_known_is_taken() -> None:
    agreement = agree(
        wire.context(1, wire.US_IMAGE, [DEFLATED, wire.JPEG, wire.EXPLICIT]),
        wire.context(3, wire.US_IMAGE, [wire.IMPLICIT, wire.JPEG]),
    )

    assert agreement.contexts == {
        1: Context(wire.US_IMAGE, wire.JPEG),
        3: Context(wire.US_IMAGE, wire.IMPLICIT),
    }


def test_what_is_not_accepted_is_named_with_its_reason() -> None:
    agreement = agree(
        wire.context(1, CT_IMAGE, [wire.IMPLICIT]),
        wire.context(3, wire.US_IMAGE, [DEFLATED]),
    )

    assert agreement.contexts == {}
    assert [(r.abstract_syntax, r.transfer_syntaxes, r.reason) for r in agreement.rejected] == [
        (CT_IMAGE, (wire.IMPLICIT,), "SOP class not supported"),
        (wire.US_IMAGE, (DEFLATED,), "none of its transfer syntaxes is supported"),
    ]


def test_verification_and_commitment_are_always_taken() -> None:
    agreement = agree(
        wire.context(1, wire.VERIFICATION, [wire.IMPLICIT]),
        wire.context(3, wire.COMMITMENT, [wire.IMPLICIT]),
    )

    assert set(agreement.contexts) == {1, 3}


def test_a_pacs_may_report_commitment_as_scp() -> None:
    agreement = agree(
        wire.context(1, wire.COMMITMENT, [wire.IMPLICIT]),
        user_items=wire.role(wire.COMMITMENT, scu=False, scp=True),
    )

    assert set(agreement.contexts) == {1}
    assert roles(agreement) == {wire.COMMITMENT: (False, True)}


def test_a_sender_that_asks_for_both_roles_gets_its_own() -> None:
    agreement = agree(
        wire.context(1, wire.US_IMAGE, [wire.IMPLICIT]),
        user_items=wire.role(wire.US_IMAGE, scu=True, scp=True),
    )

    assert set(agreement.contexts) == {1}
    assert roles(agreement) == {wire.US_IMAGE: (True, False)}


def test_a_peer_that_would_only_be_scp_of_storage_is_not_taken() -> None:
    agreement = agree(
        wire.context(1, wire.US_IMAGE, [wire.IMPLICIT]),
        user_items=wire.role(wire.US_IMAGE, scu=False, scp=True),
    )

    assert agreement.contexts == {}
    assert "role" in agreement.rejected[0].reason


@pytest.mark.parametrize(("respond", "answers"), [(True, 1), (False, 0)])
def test_a_user_name_is_confirmed_only_where_asked(respond: bool, answers: int) -> None:
    agreement = agree(user_items=wire.user_name(b"tech", respond=respond))

    assert agreement.pdu.count(b"\x59\x00\x00\x02\x00\x00") == answers


def test_faults_that_are_rejected_whoever_asks() -> None:
    other = wire.associate_rq(application_context="1.2.3")
    future = wire.associate_rq(version=2)

    assert read_proposal(other).fault == CONTEXT_UNKNOWN
    assert read_proposal(future).fault == PROTOCOL_UNKNOWN


def test_control_characters_in_a_title_do_not_reach_a_log() -> None:
    pdu = wire.associate_rq(calling="US1").replace(b"US1 ", b"U\x1b\n ")

    try:
        title = read_proposal(pdu).calling_ae
    except Cut:
        return  # refused altogether is as good
    assert title.isprintable()


@pytest.mark.parametrize(
    "contexts",
    [
        [wire.context(n % 256, wire.VERIFICATION, [wire.IMPLICIT]) for n in range(1, 401, 2)],
        [wire.context(1, wire.VERIFICATION, [wire.IMPLICIT])] * 2,
        [wire.context(2, wire.VERIFICATION, [wire.IMPLICIT])],
        [wire.context(1, wire.VERIFICATION, [])],
        [wire.sub_item(0x20, bytes((1, 0, 0, 0)) + wire.sub_item(0x40, b"1.2"))],
        [wire.sub_item(0x20, bytes((1, 0, 0, 0)) + wire.sub_item(0x30, b"1.2", length=99))],
        [wire.sub_item(0x20, b"", length=60000)],
        [wire.sub_item(0x99, b"?")],
    ],
)
def test_proposals_that_break_the_rules_are_cut(contexts: list[bytes]) -> None:
    with pytest.raises(Cut) as caught:
        read_proposal(wire.associate_rq(contexts))
    assert caught.value.abort_reason is not None


@pytest.mark.parametrize(
    "contexts",
    [
        [wire.context(1, wire.VERIFICATION, [wire.IMPLICIT] + [""] * 9000)],
        [wire.sub_item(0x99, b"")] * 9000,
        [wire.context(n % 256, wire.VERIFICATION, [wire.IMPLICIT]) for n in range(1, 401, 2)],
    ],
)
def test_the_number_of_items_is_bounded_before_they_are_decoded(contexts: list[bytes]) -> None:
    with pytest.raises(Cut, match="too many items"):
        read_proposal(wire.associate_rq(contexts))


@settings(max_examples=200, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(6, 400), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(6, 400),
)
def test_damage_is_cut_or_answered(flips: list[tuple[int, int]], cut: int) -> None:
    """Whatever the bytes, nothing but a Cut escapes."""
    data = bytearray(
        wire.associate_rq(
            [
                wire.context(1, wire.US_IMAGE, [wire.JPEG, wire.EXPLICIT]),
                wire.context(3, wire.COMMITMENT, [wire.IMPLICIT]),
            ],
            user_items=wire.role(wire.COMMITMENT, scu=False, scp=True)
            + wire.user_name(b"tech", respond=True),
        )
    )
    for position, value in flips:
        data[position % len(data)] = value
    try:
        NEGOTIATOR.answer(read_proposal(bytes(data[:cut])))
    except Cut:
        return
