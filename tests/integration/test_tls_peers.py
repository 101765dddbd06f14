"""TLS with real peers on either side: DCMTK, Orthanc and pynetdicom; and peers that fail."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_io.acceptor import Acceptor
from dicom_io.errors import PeerError
from dicom_io.scu import Outcome, Remote, echo, store
from dicom_io.tls import client_context
from tests import builders_wire as wire
from tests.certificates import Authority, Issued, Site, a_site
from tests.conformance import network
from tests.fakes_wire import RawPeer, RecordingHandler, accepting
from tests.integration.test_scu import accept_any, crawl, drain, listening, write
from tests.peers import Orthanc, StoreScp, dcmtk, free_port

pytestmark = [
    pytest.mark.integration,
    # pynetdicom leaves the sockets of failed connections to the garbage collector
    pytest.mark.filterwarnings("ignore:.*unclosed <:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*Socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return a_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


@pytest.fixture
def node(handler: RecordingHandler, site: Site) -> Iterator[Acceptor]:
    with accepting(handler, tls=site.server()) as acceptor:
        yield acceptor


def options(site: Site, issued: Issued) -> list[str]:
    """Return DCMTK's switches for TLS with a certificate."""
    return ["+tls", str(issued.key), str(issued.certificate), "+cf", str(site.ca)]


def remote(
    site: Site, port: int, ae_title: str = "PEER", name: str | None = None, host: str = "127.0.0.1"
) -> Remote:
    """Return a peer as the node opens it: with its own certificate."""
    return Remote("archive", ae_title, host, port, "AXNODE", site.client(site.node), name)


# Received


def test_dcmtk_pushes(
    node: Acceptor, handler: RecordingHandler, site: Site, tmp_path: Path
) -> None:
    path = write(tmp_path, "1.2.1", size=3_000_000)
    secured = options(site, site.us1)
    dcmtk("echoscu", *secured, "-aec", "AXNODE", "127.0.0.1", node.port)
    dcmtk("storescu", *secured, "-R", "-xe", "--repeat", 3, "127.0.0.1", node.port, path)
    assert [bytes(sink.data) for sink in handler.stored] == [
        path.read_bytes()[-len(sink.data) :] for sink in handler.stored
    ]
    assert len(handler.stored) == 3
    assert handler.peers[0].certificate_names == {"us1.example.org", "localhost", "127.0.0.1"}
    assert handler.failures == []


@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195-ex"])
def test_dcmtks_profiles_of_the_standard_are_met(node: Acceptor, site: Site, profile: str) -> None:
    dcmtk("echoscu", *options(site, site.us1), profile, "127.0.0.1", node.port)


def test_dcmtk_without_a_certificate_is_refused(
    node: Acceptor, handler: RecordingHandler, site: Site
) -> None:
    done = dcmtk("echoscu", "+tla", "+cf", site.ca, "127.0.0.1", node.port, check=False)
    assert done.returncode
    assert "no client certificate" in handler.failures[0][1]


def test_dcmtk_without_tls_is_refused(node: Acceptor, handler: RecordingHandler) -> None:
    assert dcmtk("echoscu", "127.0.0.1", node.port, check=False).returncode
    assert "plain DICOM on the TLS port" in handler.failures[0][1]


def test_dcmtk_with_tls_on_the_plain_port_is_refused(site: Site) -> None:
    handler = RecordingHandler()
    with accepting(handler) as node:
        done = dcmtk("echoscu", *options(site, site.us1), "127.0.0.1", node.port, check=False)
    assert done.returncode
    assert "TLS on the port without TLS" in handler.failures[0][1]


def test_orthanc_pushes_and_is_pushed_to(
    node: Acceptor, handler: RecordingHandler, site: Site, tmp_path: Path
) -> None:
    paths = [write(tmp_path, f"1.2.{n}", size=300_000) for n in range(3)]
    modality = {"AET": "AXNODE", "Host": "127.0.0.1", "Port": node.port, "UseDicomTls": True}
    config = site.orthanc(site.us2) | {"DicomModalities": {"node": modality}}
    with Orthanc(config=config) as pacs:
        echo(remote(site, pacs.dicom_port, "ORTHANC"))
        results = store(remote(site, pacs.dicom_port, "ORTHANC"), paths)
        assert [result.outcome for result in results] == [Outcome.STORED] * 3
        assert len(pacs.instances()) == 3
        pacs.echo("node")
        pacs.send("node")
        # with TLS it takes nothing else
        plain = Remote("archive", "ORTHANC", "127.0.0.1", pacs.dicom_port, "AXNODE")
        with pytest.raises(PeerError, match="does it want TLS"):
            echo(plain)
    assert len(handler.stored) == 3
    assert handler.failures == []


# Whose certificate it is


def test_a_source_is_known_by_its_certificate(site: Site, tmp_path: Path) -> None:
    """Another certificate of the same authority does not make a peer US1."""
    sources = [
        {"ae_title": "US1", "certificate_name": "US1.example.org"},
        {"ae_title": "US2"},
    ]
    files = dict.fromkeys(("certificate", "key", "ca"), "not read here")
    with network.node(tmp_path / "node", secured=site.server(), tls=files, sources=sources) as (
        port,
        _,
    ):

        def answer(calling: str, issued: Issued) -> tuple[int, bytes]:
            with RawPeer(port, tls=site.client(issued)) as peer:
                peer.send(wire.associate_rq(calling=calling))
                return peer.receive()

        assert answer("US1", site.us1)[0] == 2
        assert answer("US1", site.us2) == (3, bytes((0, 1, 1, 3)))
        assert answer("US2", site.us1)[0] == 2
        assert answer("OTHER", site.us1) == (3, bytes((0, 1, 1, 3)))


# Sent


def test_dcmtk_is_pushed_to(site: Site, tmp_path: Path) -> None:
    paths = [write(tmp_path, f"1.2.{n}", size=3_000_000) for n in range(3)]
    with StoreScp(tmp_path / "in", options=options(site, site.us2)) as scp:
        results = store(remote(site, scp.port, "STORESCP"), paths)
        sizes = [path.stat().st_size for path in scp.files()]
    assert [result.outcome for result in results] == [Outcome.STORED] * 3
    assert len(sizes) == 3
    assert min(sizes) > 3_000_000


def assert_no_echo(site: Site, issued: Issued, folder: Path, words: str, **where: Any) -> None:
    """C-ECHO a storescp that shows a certificate, in vain."""
    with (
        StoreScp(folder / "in", options=options(site, issued)) as scp,
        pytest.raises(PeerError) as caught,
    ):
        echo(remote(site, scp.port, "STORESCP", **where))
    assert words in str(caught.value)
    assert caught.value.transient
    assert "\n" not in str(caught.value)


def test_the_pacs_must_be_who_it_says(site: Site, tmp_path: Path) -> None:
    """A certificate without the address that is called is of somebody else."""
    pacs = site.authority.issue("pacs.example.org", ["pacs.example.org"])
    words = "is not valid for '127.0.0.1'; give a name that it holds as certificate_name"
    assert_no_echo(site, pacs, tmp_path, words)
    with StoreScp(tmp_path / "in", options=options(site, pacs)) as scp:
        echo(remote(site, scp.port, "STORESCP", name="pacs.example.org"))


def test_a_common_name_counts_where_there_is_nothing_else(site: Site, tmp_path: Path) -> None:
    bare = site.authority.issue("PACS1", [])
    with StoreScp(tmp_path / "in", options=options(site, bare)) as scp:
        echo(remote(site, scp.port, "STORESCP", name="pacs1"))
    mixed = site.authority.issue("PACS1", ["pacs.example.org"])
    assert_no_echo(site, mixed, tmp_path, "is not valid for 'pacs1'", name="pacs1")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: s.authority.issue("p", days=-1, age_days=9), "has expired"),
        (lambda s: Authority(s.ca.parent / "o", "Other").issue("p"), "is from an authority"),
        (lambda s: s.authority.issue("p", self_signed=True), "is self-signed"),
    ],
    ids=["expired", "foreign", "self-signed"],
)
def test_a_pacs_that_cannot_be_trusted_gets_nothing(
    site: Site, tmp_path: Path, make: Callable[[Site], Issued], words: str
) -> None:
    assert_no_echo(site, make(site), tmp_path, words)


def test_a_pacs_own_certificate_may_be_what_is_trusted(site: Site, tmp_path: Path) -> None:
    """Where there is no authority, or a foreign one: the file names the peers themselves."""
    lonely = site.authority.issue("lonely", self_signed=True)
    foreign = Authority(tmp_path / "o", "Other").issue("pacs")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(lonely.certificate.read_bytes() + foreign.certificate.read_bytes())
    context = client_context(site.node.trusting(trusted))
    for issued in (lonely, foreign):
        with StoreScp(tmp_path / "in", options=options(site, issued)) as scp:
            echo(Remote("a", "STORESCP", "127.0.0.1", scp.port, "AXNODE", context))


@pytest.mark.parametrize("trusted", ["other", "expired"])
def test_a_pacs_that_refuses_our_certificate_is_told(
    site: Site, tmp_path: Path, trusted: str
) -> None:
    """In TLS 1.3 it says so only after the handshake, and pynetdicom does not."""
    other = Authority(tmp_path / "other", "Other").issue("pacs")
    pacs = Site(Authority(tmp_path / "theirs", "Theirs"), other, other, other)
    both = tmp_path / "both.pem"
    both.write_bytes(site.ca.read_bytes() + pacs.ca.read_bytes())
    ours = site.authority.issue("node", days=-1, age_days=9) if trusted == "expired" else site.node
    theirs = both if trusted == "expired" else pacs.ca
    shown = pacs.authority.issue("pacs")
    switches = ["+tls", str(shown.key), str(shown.certificate), "+cf", str(theirs)]
    context = client_context(ours.trusting(both))
    with (
        StoreScp(tmp_path / "in", options=switches) as scp,
        pytest.raises(PeerError, match="the peer does not trust our certificate") as caught,
    ):
        echo(Remote("archive", "STORESCP", "127.0.0.1", scp.port, "AXNODE", context))
    assert caught.value.transient


def test_a_pacs_without_tls_is_told(site: Site, tmp_path: Path) -> None:
    with StoreScp(tmp_path / "in") as scp, pytest.raises(PeerError) as caught:
        echo(remote(site, scp.port, "STORESCP"))
    assert "no TLS connection to archive" in str(caught.value)


def test_nobody_listening_is_told_as_without_tls(site: Site) -> None:
    with pytest.raises(PeerError, match="cannot be reached"):
        echo(remote(site, free_port()))


def test_a_name_that_no_certificate_can_be_for_is_told(site: Site, tmp_path: Path) -> None:
    with StoreScp(tmp_path / "in") as scp, pytest.raises(PeerError, match="no name that a"):
        echo(remote(site, scp.port, name=".pacs"))


# Peers that stop


def test_a_peer_that_is_silent_in_the_handshake_is_given_up(site: Site) -> None:
    with listening(drain) as port, pytest.raises(PeerError) as caught:
        echo(remote(site, port), timeout_s=0.5)
    assert caught.value.transient
    assert not [t for t in threading.enumerate() if t.name == "scu"]


@pytest.mark.parametrize("size", [16, 50_000_000])
def test_a_peer_that_stops_is_cut_off(site: Site, tmp_path: Path, size: int) -> None:
    """It neither answers (small) nor reads (large, in one PDU of any length)."""
    released = threading.Event()

    def stall(sock: socket.socket) -> None:
        with site.server().wrap_socket(sock, server_side=True) as secured:
            accept_any(secured)
            released.wait(30)

    with listening(stall) as port:
        (result,) = store(
            remote(site, port), [write(tmp_path, "1.2.1", size=size)], progress_timeout_s=1
        )
        assert not [t for t in threading.enumerate() if t.name == "scu"]
        released.set()
    assert result.outcome == Outcome.TRANSIENT
    assert "no progress" in result.detail


def test_a_slow_peer_is_not_cut_off(site: Site, tmp_path: Path) -> None:
    """What moves is looked at below TLS."""

    def serve(sock: socket.socket) -> None:
        with site.server().wrap_socket(sock, server_side=True) as secured:
            crawl(secured)

    with listening(serve) as port:
        (result,) = store(
            remote(site, port), [write(tmp_path, "1.2.1", size=8_000_000)], progress_timeout_s=1
        )
    assert result.outcome == Outcome.STORED
