"""Who may come in: passwords, tokens, sessions."""

import pytest
from fastapi import HTTPException, Request

from daemon.audit_notes import Notes
from daemon.config_users import User
from daemon.console.accounts import (
    Accounts,
    Person,
    TooManyTries,
    hash_password,
    new_token,
)
from daemon.console.gate import Gate
from daemon.console.sessions import IDLE_S, LONGEST_S, Sessions

PASSWORD = "correct horse battery"  # noqa: S105 - of nobody
HASH = hash_password(PASSWORD)  # once: it takes a while on purpose
ANNA = Person("anna", "admin")
HERE = "10.0.0.1"


class Ticks:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now_s


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def accounts(ticks: Ticks) -> Accounts:
    return Accounts([User(name="anna", role="admin", password_hash=HASH)], ticks)


def fail(accounts: Accounts, times: int, name: str = "anna", address: str = HERE) -> None:
    for _ in range(times):
        assert accounts.by_password(name, "wrong", address) is None


def test_a_password_lets_its_user_in_and_no_other_does(accounts: Accounts) -> None:
    assert accounts.by_password("anna", PASSWORD, HERE) == ANNA
    assert accounts.by_password("anna", PASSWORD + " ", HERE) is None
    assert accounts.by_password("berta", PASSWORD, HERE) is None
    assert accounts.by_password("", "", HERE) is None


def test_a_password_is_not_kept_and_two_hashes_of_it_differ() -> None:
    assert PASSWORD not in HASH
    assert hash_password(PASSWORD) != HASH


def test_after_five_wrong_ones_even_the_right_one_waits(accounts: Accounts, ticks: Ticks) -> None:
    fail(accounts, 5)
    with pytest.raises(TooManyTries, match="wait 30 seconds"):
        accounts.by_password("anna", PASSWORD, "10.0.0.2")  # whatever address it comes from
    ticks.now_s += 31
    assert accounts.by_password("anna", PASSWORD, HERE) == ANNA


def test_each_further_one_doubles_the_wait_up_to_a_quarter_of_an_hour(
    accounts: Accounts, ticks: Ticks
) -> None:
    fail(accounts, 5)
    waits = []
    for _ in range(7):
        with pytest.raises(TooManyTries) as caught:
            accounts.by_password("anna", PASSWORD, HERE)
        waits.append(caught.value.wait_s)
        ticks.now_s += caught.value.wait_s + 1
        fail(accounts, 1)
    assert waits == [30, 60, 120, 240, 480, 900, 900]


def test_an_address_that_tries_many_names_waits_too(accounts: Accounts) -> None:
    for number in range(5):
        fail(accounts, 1, f"name{number}")
    with pytest.raises(TooManyTries):
        accounts.by_password("anna", PASSWORD, HERE)
    assert accounts.by_password("anna", PASSWORD, "10.0.0.2") == ANNA


def test_the_right_one_clears_what_went_wrong(accounts: Accounts) -> None:
    fail(accounts, 4)
    assert accounts.by_password("anna", PASSWORD, HERE) == ANNA
    fail(accounts, 4)
    assert accounts.by_password("anna", PASSWORD, HERE) == ANNA


def test_a_token_lets_its_program_in_and_is_no_password(ticks: Ticks) -> None:
    token, stored = new_token()
    accounts = Accounts([User(name="robot", token_hash=stored)], ticks)
    assert accounts.by_token(token, HERE) == Person("robot", "viewer")
    assert accounts.by_token(token[:-1], HERE) is None
    assert accounts.by_token("", HERE) is None
    assert accounts.by_password("robot", token, HERE) is None


def test_without_users_nobody_gets_in(ticks: Ticks) -> None:
    accounts = Accounts([], ticks)
    assert not accounts
    assert accounts.by_password("anna", PASSWORD, HERE) is None


def test_a_session_is_found_by_its_secret_until_it_ends(ticks: Ticks) -> None:
    sessions = Sessions(ticks)
    one, other = sessions.begin(ANNA), sessions.begin(ANNA)
    assert sessions.find(one.secret) is one
    assert one.secret != other.secret
    assert one.form_token != other.form_token
    sessions.end(one.secret)
    assert sessions.find(one.secret) is None
    assert sessions.find(other.secret) is other
    assert sessions.find("") is None


def test_a_session_ends_when_its_person_does_nothing(ticks: Ticks) -> None:
    """A page that keeps itself up to date is nobody's doing."""
    sessions = Sessions(ticks)
    session = sessions.begin(ANNA)
    ticks.now_s += IDLE_S - 1
    assert sessions.find(session.secret, used=False) is session
    ticks.now_s += 2
    assert sessions.find(session.secret, used=False) is None


def test_a_session_ends_after_a_day_of_work(ticks: Ticks) -> None:
    sessions = Sessions(ticks)
    session = sessions.begin(ANNA)
    for _ in range(int(LONGEST_S / 1800)):
        ticks.now_s += 1800
        assert sessions.find(session.secret) is session
    ticks.now_s += 1
    assert sessions.find(session.secret) is None


@pytest.mark.parametrize(
    ("scheme", "server", "enters"),
    [
        ("http", "127.0.0.1", True),
        ("https", "10.0.0.5", True),  # served so, or behind the proxy that is configured
        ("http", "10.0.0.5", False),
        ("http", "0.0.0.0", False),  # noqa: S104 - not where anybody listens here
    ],
)
def test_a_token_is_taken_where_nobody_on_the_way_has_read_it(
    scheme: str, server: str, enters: bool
) -> None:
    token, known_by = new_token()
    user = User(name="anna", role="admin", token_hash=known_by)
    gate = Gate(Accounts([user], Ticks()), Sessions(Ticks()), Notes(), closed="")
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": scheme,
            "server": (server, 8080),
            "client": (HERE, 40_000),
            "path": "/api/v1/overview",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {token}".encode()), (b"host", b"node")],
        }
    )
    if enters:
        assert gate.program(request).person == ANNA
    else:
        with pytest.raises(HTTPException) as refused:
            gate.program(request)
        assert refused.value.status_code == 401
