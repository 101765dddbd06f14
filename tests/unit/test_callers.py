"""Who may push and who may report."""

from pathlib import Path
from typing import Any

import pytest

from daemon.callers import Callers
from dicom_io.acceptor import Peer
from tests import builders

SOURCES = [{"ae_title": "US1", "host": "10.0.0.5"}]


def pacs(name: str = "pacs", ae_title: str = "PACS", host: str = "10.0.0.9", **more: Any) -> Any:
    """Return a destination that is asked to commit."""
    more = {"storage_commitment": True, **more}
    return {"name": name, "ae_title": ae_title, "host": host, "port": 104, **more}


FILES = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}


def callers(destinations: list[Any], sources: list[Any] = SOURCES) -> Callers:
    tables = {"destinations": destinations, "sources": sources, "tls": FILES}
    config = builders.config(Path("unused"), **tables)
    return Callers(config)


def peer(calling: str, address: str) -> Peer:
    return Peer(address, calling, "AXNODE", "")


@pytest.mark.parametrize(
    ("destination", "calling", "address", "admitted"),
    [
        (pacs(), "PACS", "10.0.0.9", True),
        (pacs(), "PACS", "10.0.0.8", False),
        (pacs(), "pacs", "10.0.0.9", False),
        (pacs(), "OTHER", "10.0.0.9", False),
        (pacs(storage_commitment=False), "PACS", "10.0.0.9", False),
        (pacs(host="localhost"), "PACS", "127.0.0.1", True),
        (pacs(host="localhost"), "PACS", "10.0.0.9", False),
        (pacs(host="no-such-host.invalid"), "PACS", "10.0.0.9", False),
        (pacs(host="2001:db8::1"), "PACS", "2001:db8::1", True),
    ],
)
def test_a_destination_that_is_asked_may_call_from_its_address(
    destination: Any, calling: str, address: str, admitted: bool
) -> None:
    found = callers([destination])
    caller = peer(calling, address)
    rejection = found.judge(caller)
    assert (rejection is None) is admitted
    assert found.may_report_for(caller) == (["pacs"] if admitted else [])
    assert not found.may_push(caller)


@pytest.mark.parametrize(
    ("calling", "address", "words"),
    [
        ("PACS", "10.0.0.8", "PACS may not call from this address"),
        ("US1", "10.0.0.8", "US1 may not call from this address"),
        ("US9", "10.0.0.9", "US9 is not among the [[sources]]"),
    ],
)
def test_a_rejection_says_why(calling: str, address: str, words: str) -> None:
    rejection = callers([pacs()]).judge(peer(calling, address))
    assert rejection is not None
    assert (rejection.reason, rejection.message) == (3, words)


def test_a_pacs_that_reports_from_elsewhere_is_listed_as_a_source() -> None:
    found = callers([pacs()], [*SOURCES, {"ae_title": "PACS", "host": "10.0.0.8"}])
    assert found.may_report_for(peer("PACS", "10.0.0.8")) == ["pacs"]
    assert found.may_push(peer("PACS", "10.0.0.8"))


def test_without_sources_the_title_decides() -> None:
    found = callers([pacs()], [])
    assert found.may_report_for(peer("PACS", "10.0.0.7")) == ["pacs"]
    assert found.may_report_for(peer("OTHER", "10.0.0.7")) == []
    assert found.may_push(peer("OTHER", "10.0.0.7"))


def test_destinations_that_share_a_title_are_told_by_address() -> None:
    found = callers([pacs("a", host="10.0.0.1"), pacs("b", host="10.0.0.2")])
    assert found.may_report_for(peer("PACS", "10.0.0.2")) == ["b"]


def test_a_source_reports_for_nobody() -> None:
    assert callers([pacs()]).may_report_for(peer("US1", "10.0.0.5")) == []


@pytest.mark.parametrize(
    ("names", "wanted", "admitted"),
    [
        (None, None, True),  # no TLS: nothing is shown
        ({"10.0.0.9"}, None, True),
        ({"other.example.org"}, None, False),
        (set(), None, False),
        ({"pacs.example.org"}, "pacs.example.org", True),
        ({"*.example.org"}, "pacs.example.org", True),  # to which it is sent as well
        ({"*.org"}, "pacs.example.org", False),
        ({"10.0.0.9"}, "pacs.example.org", False),
    ],
)
def test_a_report_over_tls_needs_the_destinations_certificate(
    names: set[str] | None, wanted: str | None, admitted: bool
) -> None:
    found = callers([pacs(**({} if wanted is None else {"tls": True, "certificate_name": wanted}))])
    shown = None if names is None else frozenset(names)
    caller = Peer("10.0.0.9", "PACS", "AXNODE", "", shown)
    rejection = found.judge(caller)
    assert (rejection is None) is admitted
    if rejection is not None:
        assert "which is not its certificate_name" in rejection.message
