"""The files of ``[tls]``: what keeps the node from starting, and what is said of their end."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon import certificates
from daemon.clock import now_us, seconds
from daemon.commands import check
from daemon.config import Config, parse
from daemon.errors import ConfigError, UnavailableError
from daemon.service import Service
from daemon.setup import lock
from daemon.troubles import of_service
from dicom_io.errors import PeerError
from dicom_io.scu import Remote, echo
from dicom_io.tls import TlsFiles, client_context
from tests import builders
from tests.certificates import Issued, Site, a_site
from tests.fakes import FakeClock
from tests.fakes_wire import RecordingHandler, accepting
from tests.node import toml
from tests.peers import system_tool

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"
DAY_S = 86_400


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return a_site(tmp_path_factory.mktemp("site"))


def table(site: Site, **changes: Any) -> dict[str, Any]:
    """Return ``[tls]`` for the node of a site."""
    files = {"certificate": site.node.certificate, "key": site.node.key, "ca": site.ca}
    return {name: str(path) for name, path in files.items()} | changes


def of(issued: Issued) -> dict[str, str]:
    """Return the part of ``[tls]`` that names a certificate and its key."""
    return {"certificate": str(issued.certificate), "key": str(issued.key)}


def configured(site: Site, **changes: Any) -> Config:
    return parse({"tls": table(site, **changes)})


def test_without_the_table_there_is_no_tls() -> None:
    assert certificates.load(Config(), now_us()) is None


def test_both_ends_or_only_that_of_a_requestor(site: Site) -> None:
    both = certificates.load(configured(site), now_us())
    assert both is not None
    assert both.server is not None
    sending = certificates.load(configured(site, receive=False), now_us())
    assert sending is not None
    assert sending.server is None


def test_what_is_known_of_the_certificates(site: Site) -> None:
    now = now_us()
    setup = certificates.load(configured(site), now)
    assert setup is not None
    assert [(one.setting, one.name) for one in setup.certificates] == [
        ("tls.certificate", "node.example.org"),
        ("tls.ca", "Test Authority"),
    ]
    own = setup.certificates[0]
    day = datetime.fromtimestamp(own.ends_us / 1e6, UTC).date()
    # they were made a moment ago, for 365 and for 1000 days
    assert own.words(now) == (
        f"tls.certificate: the certificate of node.example.org expires on {day}, in 364 days"
    )
    assert own.words(now + seconds(365 * DAY_S)).endswith(f"expired on {day}")
    left = certificates.expiry_s(setup.certificates, now)
    assert left["tls.certificate"] == pytest.approx(365 * DAY_S, abs=600)
    assert left["tls.ca"] == pytest.approx(1000 * DAY_S, abs=600)


def test_of_several_authorities_the_first_to_end_counts(site: Site, tmp_path: Path) -> None:
    old = site.authority.issue("old", days=5, self_signed=True)
    both = tmp_path / "both.pem"
    both.write_bytes(site.ca.read_bytes() + old.certificate.read_bytes())
    setup = certificates.load(configured(site, ca=str(both)), now_us())
    assert setup is not None
    left = certificates.expiry_s(setup.certificates, now_us())
    assert left["tls.ca"] == pytest.approx(5 * DAY_S, abs=600)


@pytest.mark.parametrize(("days", "soon"), [(29.9, True), (30.1, False)])
def test_thirty_days_ahead_is_soon(site: Site, days: float, soon: bool) -> None:
    own = configured(site, **of(site.authority.issue("n", days=days)))
    setup = certificates.load(own, now_us())
    assert setup is not None
    assert setup.certificates[0].ends_soon(now_us()) is soon


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("certificate", "tls.certificate: cannot read .*No such file"),
        ("key", "tls.key: cannot read .*No such file"),
        ("ca", "tls.ca: cannot read .*No such file"),
    ],
)
def test_a_missing_file_is_named(site: Site, tmp_path: Path, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        certificates.load(configured(site, **{key: str(tmp_path / "none")}), now_us())


@pytest.mark.parametrize("key", ["certificate", "ca"])
def test_a_file_of_something_else_is_named(site: Site, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"tls\.{key}: .* holds no PEM certificate"):
        certificates.load(configured(site, **{key: str(site.node.key)}), now_us())


def test_the_key_of_another_certificate_is_named(site: Site) -> None:
    with pytest.raises(ConfigError, match=r"tls\.key: .* does not belong to the certificate"):
        certificates.load(configured(site, key=str(site.us1.key)), now_us())


@pytest.mark.parametrize(
    ("validity", "words"),
    [
        ({"days": -1, "age_days": 9}, "n expired on .*: renew it"),
        ({"age_days": -2}, "n begins on .*: wait, or correct"),
    ],
)
def test_a_certificate_that_is_not_good_now_stops_the_start(
    site: Site, validity: dict[str, float], words: str
) -> None:
    own = site.authority.issue("n", **validity)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"tls\.certificate: the certificate of {words}"):
        certificates.load(configured(site, **of(own)), now_us())


def test_credentials_that_systemd_has_not_set_are_told(site: Site) -> None:
    config = configured(site, key="$CREDENTIALS_DIRECTORY/node.key")
    with pytest.raises(ConfigError, match=r"tls\.key: CREDENTIALS_DIRECTORY is not set"):
        certificates.load(config, now_us())


def test_the_command_ends_with_2_and_one_line(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "axnode.toml"
    node = {"state_dir": str(tmp_path / "state")}
    config.write_text(toml({"node": node, "tls": table(site, key=str(site.us1.key))}))
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("axnode serve: tls.key: ")
    assert done.stderr.count("\n") == 1


# What is said of their end


@pytest.fixture
def service(site: Site, tmp_path: Path) -> Iterator[Service]:
    """Make a service that is not started; its certificates have ten days left, and twenty."""
    own = site.authority.issue("soon.example.org", days=10)
    pages = of(site.authority.issue("pages.example.org", days=20))
    pacs = {"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": 4242}
    tables = {
        "tls": table(site, **of(own)),
        "http": pages,
        "destinations": [pacs, {**pacs, "name": "secured", "tls": True, "certificate_name": "p"}],
    }
    made = Service(builders.config(tmp_path, **tables), FakeClock(now_us()))
    try:
        yield made
    finally:
        assert made._receiving is not None
        made._receiving.acceptor.stop(5)
        made._http._socket.close()
        made.database.close()
        made._lock.close()


def test_the_services_port_speaks_tls(site: Site, service: Service) -> None:
    assert service._receiving is not None
    service._receiving.open()
    node = Remote("n", "AXNODE", "127.0.0.1", service.port, "US1", site.client())
    echo(replace(node, certificate_name="soon.example.org"))
    with pytest.raises(PeerError, match="does it want TLS"):
        echo(replace(node, tls=None))


def test_the_services_deliveries_are_secured_where_they_should(service: Service) -> None:
    peers = {name: each._peer for name, each in service._outbox.deliverers.items()}
    assert peers["pacs"].tls is None
    assert peers["secured"].tls is not None
    assert peers["secured"].certificate_name == "p"


def test_metrics_tell_how_long_they_are_good(service: Service) -> None:
    values = service.health.metrics()
    left = values['axnode_certificate_expiry_seconds{setting="certificate"}']
    assert left == pytest.approx(10 * DAY_S, abs=600)
    assert values['axnode_certificate_expiry_seconds{setting="ca"}'] > 900 * DAY_S
    left = values['axnode_certificate_expiry_seconds{setting="http.certificate"}']
    assert left == pytest.approx(20 * DAY_S, abs=600)


def test_the_nightly_check_warns(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service.nightly()
    lines = [r for r in caplog.records if getattr(r, "action", "") == "certificate"]
    assert [line.levelname for line in lines] == ["WARNING", "INFO", "WARNING"]
    assert "soon.example.org expires on" in lines[0].getMessage()
    assert lines[0].getMessage().endswith("renew it and restart the service")
    assert [getattr(line, "days", None) for line in lines] == [9, 999, 19]


def test_a_person_is_told_of_each_that_ends_soon(service: Service) -> None:
    told = [each.words.partition(":")[0] for each in of_service(service.health)]
    assert told[-2:] == ["tls.certificate", "http.certificate"]


def said(capsys: pytest.CaptureFixture[str], config: Config) -> str:
    """Return the line of ``axnode check`` on the certificates."""
    check._report("tls", lambda: check._certificates(config))
    return capsys.readouterr().out


def test_the_check_says_until_when(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, Config()).startswith("ok    tls            off")
    line = said(capsys, configured(site))
    assert line.startswith("ok    tls            tls.certificate: the certificate of node.example")


def test_the_check_warns_ahead(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    own = of(site.authority.issue("n", days=29))
    assert check._report("tls", lambda: check._certificates(configured(site, **own)))
    line = capsys.readouterr().out
    assert line.startswith("warn  tls ")
    assert "in 28 days" in line


def test_the_check_warns_ahead_of_the_pages_certificate(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = builders.config(
        Path("/unused"), http={"port": 0, **of(site.authority.issue("pages", days=29))}
    )
    assert check._report("console", lambda: check._console(settings))
    line = capsys.readouterr().out
    assert line.startswith(
        "warn  console        http.certificate: the certificate of pages expires"
    )


def test_the_check_fails_afterwards(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    own = of(site.authority.issue("n", days=-1, age_days=9))
    assert not check._report("tls", lambda: check._certificates(configured(site, **own)))
    assert capsys.readouterr().out.startswith("FAIL  tls            tls.certificate: ")


def test_the_check_warns_of_a_key_that_everybody_reads(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    own = site.authority.issue("n")
    assert said(capsys, configured(site, **of(own))).startswith("ok ")
    own.key.chmod(0o644)
    line = said(capsys, configured(site, **of(own)))
    assert line.startswith("warn  tls            tls.key: every user can read")


def test_the_check_knows_its_own_node_and_a_pacs_over_tls(site: Site, tmp_path: Path) -> None:
    handler = RecordingHandler()
    with accepting(handler, tls=site.server()) as node:
        pacs = {"name": "p", "ae_title": "P", "host": "127.0.0.1", "port": node.port, "tls": True}
        config = parse(
            {
                "node": {"port": node.port, "state_dir": str(tmp_path)},
                "tls": table(site),
                "destinations": [pacs],
            },
            {},
        )
        with pytest.raises(UnavailableError, match="another program has it"):
            check._port(config)
        with lock(tmp_path):  # as the running service holds it
            assert "is served by a running AXNODE" in check._port(config)
        words = check._echo(config, config.destinations[0])
        assert words == f"C-ECHO answered by P at 127.0.0.1:{node.port} over TLS"
    assert len(handler.peers) == 1  # the node itself is not called: it may be no source of its own
    assert handler.failures == []


def test_the_pages_commands_make_certificates_that_work(tmp_path: Path) -> None:
    """What docs/tls.md tells an administrator to type, typed."""
    system_tool("openssl")
    (commands,) = PAGE.read_text(encoding="utf-8").split("```sh\n")[1:]
    script = commands.split("```")[0]
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    files = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}
    config = parse({"tls": {key: str(tmp_path / name) for key, name in files.items()}})
    setup = certificates.load(config, now_us())
    assert setup is not None
    assert setup.server is not None
    modality = TlsFiles(tmp_path / "us1.pem", tmp_path / "us1.key", tmp_path / "ca.pem")
    handler = RecordingHandler()
    with accepting(handler, tls=setup.server) as node:
        shown = client_context(modality)
        echo(Remote("n", "AXNODE", "localhost", node.port, "US1", shown))
    assert handler.peers[0].certificate_names == {"us1.example.org", "localhost", "127.0.0.1"}
