from dicom_io.admission import Admission, Ticket
from dicom_io.reception import LIMIT_EXCEEDED, Limits


def ticket(address: str = "10.0.0.1", evicted: list[str] | None = None) -> Ticket:
    return Ticket(address, lambda: evicted.append(address) if evicted is not None else None)


def test_associations_are_limited_in_all_and_per_address() -> None:
    admission = Admission(Limits(max_associations=3, max_associations_per_address=2))

    assert admission.associate(ticket("a")) is None
    assert admission.associate(ticket("a")) is None
    assert admission.associate(ticket("a")) == LIMIT_EXCEEDED
    assert admission.associate(ticket("b")) is None
    assert admission.associate(ticket("c")) == LIMIT_EXCEEDED


def test_a_place_is_given_back_once() -> None:
    admission = Admission(Limits(max_associations=1))
    first = ticket()
    admission.associate(first)
    admission.leave(first)
    admission.leave(first)

    assert admission.counts() == (0, 0)
    assert admission.associate(ticket()) is None
    assert admission.associate(ticket()) == LIMIT_EXCEEDED


def test_silent_connections_hold_no_association_and_the_oldest_makes_room() -> None:
    evicted: list[str] = []
    admission = Admission(Limits(max_connections=2, max_associations=1))
    for address in ("old", "newer", "newest"):
        admission.connect(ticket(address, evicted))

    assert evicted == ["old"]
    assert admission.counts() == (2, 0)
    assert admission.associate(ticket()) is None


def test_memory_before_association_is_limited_per_address() -> None:
    admission = Admission(Limits(pending_bytes_per_address=100))
    first, second, other = ticket("a"), ticket("a"), ticket("b")

    assert admission.reserve(first, 60)
    assert not admission.reserve(second, 60)
    assert admission.reserve(other, 60)
    admission.leave(first)
    assert admission.reserve(second, 60)
