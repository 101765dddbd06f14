"""Hashes and UIDs."""

import re

from hypothesis import given
from hypothesis import strategies as st

from daemon import identity

PAIRS = [("1.2.3", "aa"), ("1.2.4", "bb")]


@given(st.lists(st.text(), min_size=1))
def test_a_uid_is_one_by_the_standard(parts: list[str]) -> None:
    """PS3.5 9.1: at most 64 characters, no component with a leading zero."""
    uid = identity.uid(*parts)
    assert len(uid) <= 64
    assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid)
    assert uid == identity.uid(*parts)


def test_a_uid_depends_on_every_part_and_their_borders() -> None:
    uids = {
        identity.uid("ab", "c"),
        identity.uid("a", "bc"),
        identity.uid("abc"),
        identity.uid("c", "ab"),
        identity.uid("ab", "c", ""),
    }
    assert len(uids) == 5


def test_the_input_hash_knows_no_order() -> None:
    assert identity.input_hash(PAIRS) == identity.input_hash(reversed(PAIRS))


def test_the_input_hash_changes_with_each_pair() -> None:
    others = [
        PAIRS[:1],
        [("1.2.3", "aa"), ("1.2.4", "bc")],
        [("1.2.3", "bb"), ("1.2.4", "aa")],
        [*PAIRS, ("1.2.5", "cc")],
    ]
    assert len({identity.input_hash(pairs) for pairs in [PAIRS, *others]}) == 5


def test_the_recipe_knows_no_order_of_keys_and_every_value() -> None:
    one = identity.recipe_digest({"a": 1, "b": {"c": 2, "d": None}})
    assert one == identity.recipe_digest({"b": {"d": None, "c": 2}, "a": 1})
    assert one != identity.recipe_digest({"a": 1, "b": {"c": 3, "d": None}})


def test_a_patient_key_tells_patients_apart_and_names_nobody() -> None:
    key = identity.patient_key("salt", b"AX-1")
    assert key == identity.patient_key("salt", b" AX-1 ")
    assert key != identity.patient_key("salt", b"AX-2")
    assert key != identity.patient_key("other", b"AX-1")
    assert "AX-1" not in key
