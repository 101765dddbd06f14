"""The TLS port against peers that break every rule before, in and after the handshake."""

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from dicom_io.acceptor import Acceptor, Limits
from dicom_io.pdu import Cut, PduStream
from tests import builders_wire as wire
from tests.certificates import Authority, Issued, Site, a_site
from tests.fakes_wire import RawPeer, RecordingHandler, accepting
from tests.peers import chunks, system_tool, wait_until

pytestmark = pytest.mark.integration

LIMITS = replace(Limits(), linger_s=0.2)
QUICK = replace(LIMITS, associate_s=0.6, pdu_s=0.4, message_gap_s=0.4, idle_s=0.4)
IMAGE = wire.context(1, wire.US_IMAGE, [wire.EXPLICIT])
ECHO_CONTEXT = wire.context(3, wire.VERIFICATION, [wire.IMPLICIT])
ASSOCIATE = wire.associate_rq([IMAGE, ECHO_CONTEXT])
ECHO = wire.p_data((3, 3, wire.command(0x0030)))
STORE = wire.command(0x0001, sop_class=wire.US_IMAGE, instance="1.2.3.4", has_data_set=True)
ABORTED = 7


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return a_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


@pytest.fixture
def node(handler: RecordingHandler, site: Site) -> Iterator[Acceptor]:
    with accepting(handler, LIMITS, tls=site.server()) as acceptor:
        yield acceptor


def associated(port: int, client: ssl.SSLContext, source: str = "127.0.0.1") -> RawPeer:
    peer = RawPeer(port, source, client)
    peer.send(ASSOCIATE)
    assert peer.receive()[0] == 2
    return peer


def assert_echo(peer: RawPeer) -> None:
    peer.send(ECHO)
    assert peer.status() == 0


def hello(site: Site) -> bytes:
    """Return the first flight of a permitted client."""
    out = ssl.MemoryBIO()
    client = site.client().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def serving() -> int:
    return sum(thread.name.startswith("assoc-") for thread in threading.enumerate())


# Peers that keep others waiting


@pytest.mark.parametrize("start", [0, 1, 100], ids=["silent", "a byte", "half a hello"])
def test_two_hundred_idle_connections_keep_nobody_out(
    handler: RecordingHandler, site: Site, start: int
) -> None:
    """They end when their time is over, and leave no thread and no descriptor behind."""
    limits = replace(LIMITS, associate_s=6)
    with accepting(handler, limits, tls=site.server()) as node:
        associated(node.port, site.client()).close()
        wait_until(lambda: not serving())
        files = len(os.listdir("/proc/self/fd"))
        crowd = [RawPeer(node.port, "127.0.0.9") for _ in range(200)]
        first = hello(site)[:start]
        for one in crowd:
            one.send(first)
        # of those that want memory for a handshake, one address has a hundred at a time
        wait_until(lambda: serving() >= (100 if start else 200))
        with associated(node.port, site.client()) as peer:
            assert_echo(peer)
            assert node.associations == 1
        for one in crowd:
            one.close()
        wait_until(lambda: not serving() and len(os.listdir("/proc/self/fd")) == files, 20)
    assert {peer.calling_ae for peer in handler.peers} == {"US1"}


def test_idle_connections_from_the_modalitys_own_address_keep_it_not_out(
    handler: RecordingHandler, site: Site
) -> None:
    with accepting(handler, replace(LIMITS, max_connections=100), tls=site.server()) as node:
        crowd = [RawPeer(node.port) for _ in range(200)]
        with associated(node.port, site.client()) as peer:
            assert_echo(peer)
        for one in crowd:
            one.close()


def test_memory_for_handshakes_is_capped_per_address(handler: RecordingHandler, site: Site) -> None:
    """OpenSSL takes what a hello says of its own length, before anybody is known."""
    limits = replace(LIMITS, pending_bytes_per_address=400_000)
    body = b"\x01" + (130_000).to_bytes(3, "big") + bytes(16_000)
    long = b"\x16\x03\x01" + struct.pack(">H", len(body)) + body
    with accepting(handler, limits, tls=site.server()) as node:
        crowd = [RawPeer(node.port) for _ in range(2)]
        for one in crowd:
            one.send(long)
        wait_until(lambda: sum(node._admission._bytes.values()) == 2 * (160 << 10))
        with RawPeer(node.port) as third:
            third.send(long)
            wait_until(lambda: len(handler.failures) == 1)
        associated(node.port, site.client(), "127.0.0.2").close()
        for one in crowd:
            one.close()
    assert "too much memory" in handler.failures[0][1]


def test_memory_of_a_handshake_is_given_back_with_the_association(
    node: Acceptor, site: Site
) -> None:
    with associated(node.port, site.client()):
        assert not node._admission._bytes


def test_silence_is_closed_and_counts_as_nothing(handler: RecordingHandler, site: Site) -> None:
    with (
        accepting(handler, QUICK, tls=site.server()) as node,
        RawPeer(node.port) as peer,
    ):
        assert peer.at_end()
        assert node.associations == 0
    assert handler.failures == []


@pytest.mark.parametrize("size", [1, 10])
def test_a_trickled_hello_is_cut(handler: RecordingHandler, site: Site, size: int) -> None:
    """Bytes that keep coming do not move the deadline."""
    with accepting(handler, QUICK, tls=site.server()) as node, RawPeer(node.port) as peer:
        peer.sock.settimeout(0.05)
        pieces = chunks(hello(site), size)
        wait_until(lambda: hung_up(peer, next(pieces)))
    assert handler.failures == [("127.0.0.1", "no TLS handshake in time")]
    assert handler.abuses == []


def hung_up(peer: RawPeer, piece: bytes) -> bool:
    """Send a piece; say whether the node has closed the connection."""
    try:
        peer.send(piece)
        return not peer.sock.recv(100)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_silence_after_the_handshake_is_cut(handler: RecordingHandler, site: Site) -> None:
    """Handshake and request share one deadline."""
    with (
        accepting(handler, QUICK, tls=site.server()) as node,
        RawPeer(node.port, tls=site.client()) as peer,
    ):
        assert peer.receive()[0] == ABORTED
        assert peer.at_end()
    assert handler.failures == [("127.0.0.1", "no association request in time")]


def test_a_slow_handshake_is_carried_on(node: Acceptor, site: Site) -> None:
    """A hello in pieces, over several of the node's ticks, is as good as one in one piece."""
    near, far = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = site.client().wrap_bio(near, far, server_hostname="localhost")

    def exchange() -> None:
        for piece in chunks(far.read(), 400):
            peer.send(piece)
            time.sleep(0.3)
        near.write(peer.sock.recv(1 << 16))

    with RawPeer(node.port) as peer:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                exchange()
        client.write(ASSOCIATE)
        exchange()
        assert client.read(1) == b"\2"


# Peers that do not speak TLS, or not this TLS


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (ASSOCIATE, "no TLS: plain DICOM on the TLS port"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no TLS: neither TLS nor DICOM"),
        (bytes(200), "no TLS: neither TLS nor DICOM"),
        (b"\x16\x03\x01" + b"\xff" * 600, "no TLS: the peer does not speak it"),
        (b"\x16" + b"garbage" * 90, "no TLS: the peer does not speak it"),
    ],
)
def test_what_is_no_tls_ends_at_once(
    node: Acceptor, handler: RecordingHandler, first: bytes, words: str
) -> None:
    with RawPeer(node.port) as peer:
        peer.send(first)
        while peer.sock.recv(100):  # an alert, where OpenSSL was asked
            pass
    wait_until(lambda: len(handler.failures) == 1)
    assert handler.failures[0][1].startswith(words)
    assert handler.peers == []


def test_a_hello_on_the_plain_port_is_told(handler: RecordingHandler, site: Site) -> None:
    with accepting(handler, LIMITS) as node, pytest.raises(ssl.SSLError):
        RawPeer(node.port, tls=site.client())
    assert handler.failures[0][1].startswith("TLS on the port without TLS")


def assert_refused(
    node: Acceptor, handler: RecordingHandler, client: ssl.SSLContext, words: str
) -> None:
    """Connect and ask to associate in vain; the node says why in one line."""
    try:
        with RawPeer(node.port, tls=client) as peer:
            peer.send(ASSOCIATE)
            assert not peer.sock.recv(1)
    except OSError:
        pass
    wait_until(lambda: len(handler.failures) == 1)
    assert words in handler.failures[0][1]
    assert handler.abuses == [handler.failures[0][1]]
    assert "\n" not in handler.failures[0][1]
    assert handler.peers == []


Made = Callable[[Site], Issued]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: s.authority.issue("us1", days=-1, age_days=9), "has expired"),
        (lambda s: s.authority.issue("us1", age_days=-9), "is not valid yet"),
        (lambda s: s.authority.issue("us1", self_signed=True), "is self-signed"),
        (lambda s: Authority(s.ca.parent / "other", "Other").issue("us1"), "not in tls.ca"),
        (
            lambda s: s.authority.issue("us1", purposes=[ExtendedKeyUsageOID.SERVER_AUTH]),
            "is not made for this end",
        ),
    ],
    ids=["expired", "not yet", "self-signed", "foreign", "server only"],
)
def test_a_certificate_that_is_not_good_is_refused(
    node: Acceptor,
    handler: RecordingHandler,
    site: Site,
    make: Made,
    words: str,
    newest: ssl.TLSVersion,
) -> None:
    client = site.client(make(site))
    client.maximum_version = newest
    assert_refused(node, handler, client, words)


def test_no_certificate_is_refused(node: Acceptor, handler: RecordingHandler, site: Site) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(site.ca)
    assert_refused(node, handler, client, "no client certificate")


def test_a_peer_that_distrusts_the_node_is_told_apart(
    node: Acceptor, handler: RecordingHandler, site: Site
) -> None:
    other = Authority(site.ca.parent / "another", "Other")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(other.file)
    client.load_cert_chain(site.us1.certificate, site.us1.key)
    assert_refused(node, handler, client, "the peer does not trust our certificate (unknown ca)")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(node: Acceptor, handler: RecordingHandler, site: Site) -> None:
    client = site.client()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    assert_refused(node, handler, client, "nothing newer than TLS 1.1")


@pytest.mark.parametrize("ciphers", ["AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384"])
def test_ciphers_outside_the_profile_are_refused(
    node: Acceptor, handler: RecordingHandler, site: Site, ciphers: str
) -> None:
    """One has no forward secrecy, the other no authenticated encryption."""
    client = site.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(ciphers)
    assert_refused(node, handler, client, "no cipher suite in common")


def s_client(port: int, site: Site, *options: str, said: str = "") -> str:
    """Run OpenSSL's own client; return what it printed."""
    done = subprocess.run(
        [
            *(system_tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *options),
            *("-cert", str(site.us1.certificate), "-key", str(site.us1.key)),
            *("-CAfile", str(site.ca)),
        ],
        input=said,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


def test_renegotiation_is_refused(node: Acceptor, site: Site) -> None:
    printed = s_client(node.port, site, "-tls1_2", said="R\n")
    assert "RENEGOTIATING" in printed
    assert "no renegotiation" in printed


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("-tls1_2", "New, TLSv1.2, Cipher is ECDHE-RSA-AES256-GCM-SHA384"),
        ("-tls1_3", "New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"),
    ],
)
def test_what_openssl_sees(node: Acceptor, site: Site, option: str, shown: str) -> None:
    printed = s_client(node.port, site, option)
    assert shown in printed
    assert "Compression: NONE" in printed
    assert "Verify return code: 0 (ok)" in printed


# After the handshake


def test_a_store_in_small_records_reaches_the_sink_whole(
    node: Acceptor, handler: RecordingHandler, site: Site
) -> None:
    """Records and PDUs have borders of their own, and several of either may lie in the other."""
    data = wire.dataset(pixels=bytes(range(256)) * 1000, rows=64_000)
    message = wire.p_data((1, 3, STORE)) + b"".join(
        wire.p_data((1, 2 if len(piece) < 60_000 else 0, piece)) for piece in chunks(data, 60_000)
    )
    with associated(node.port, site.client()) as peer:
        for piece in chunks(message, 7001):
            peer.send(piece)
        assert peer.status() == 0
        peer.send(ECHO * 3)
        assert [peer.status() for _ in range(3)] == [0, 0, 0]
        peer.send(wire.pdu(5, bytes(4)))
        assert peer.receive() == (6, bytes(4))
        assert peer.at_end()
    assert bytes(handler.stored[0].data) == data
    assert handler.failures == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "silence"),
        (wire.p_data((1, 3, STORE), (1, 0, b"half")), "silence"),
        (wire.p_data((1, 3, STORE), (1, 2, b"data"))[:-2], "in time"),
    ],
)
def test_silence_is_cut_and_told(
    handler: RecordingHandler, site: Site, data: bytes, words: str
) -> None:
    with (
        accepting(handler, QUICK, tls=site.server()) as node,
        associated(node.port, site.client()) as peer,
    ):
        peer.send(data)
        assert peer.receive()[0] == ABORTED
        assert peer.at_end()
    assert words in handler.failures[0][1]
    assert [sink.end for sink in handler.sinks if sink.end != "discarded"] == []


@pytest.mark.parametrize("orderly", [True, False], ids=["close_notify", "cut"])
def test_a_connection_that_ends_in_mid_store_leaves_nothing(
    node: Acceptor, handler: RecordingHandler, site: Site, orderly: bool
) -> None:
    with associated(node.port, site.client()) as peer:
        peer.send(wire.p_data((1, 3, STORE), (1, 0, b"half")))
        wait_until(lambda: bool(handler.sinks))
        if orderly and isinstance(peer.sock, ssl.SSLSocket):
            peer.sock.unwrap()
    wait_until(lambda: handler.sinks[0].end == "discarded")
    assert "closed the connection" in handler.failures[0][1]


def test_plain_bytes_after_the_handshake_end_it(
    node: Acceptor, handler: RecordingHandler, site: Site
) -> None:
    with associated(node.port, site.client()) as peer:
        socket.socket.sendall(peer.sock, ECHO)
        wait_until(lambda: len(handler.failures) == 1)
    assert "SSLError" in handler.failures[0][1]


def test_a_peer_that_does_not_read_is_cut(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = RawPeer(listener.getsockname()[1])
        near = site.server().wrap_socket(
            listener.accept()[0], server_side=True, do_handshake_on_connect=False
        )
    stream = PduStream(near, lambda: False)
    with pytest.raises(Cut, match="before the TLS handshake"):
        stream.send(b"too early", 1)
    shaking = threading.Thread(target=stream.shake_hands, args=(time.monotonic() + 20, "late"))
    shaking.start()
    with near, site.client().wrap_socket(far.sock, server_hostname="localhost"):
        shaking.join()
        with pytest.raises(Cut, match="does not read our answers"):
            stream.send(bytes(50_000_000), 0.3)
        stream.linger(0.1)  # its closing word has no room either, and is not waited for


def test_stop_does_not_wait_for_a_handshake(handler: RecordingHandler, site: Site) -> None:
    limits = replace(LIMITS, associate_s=60)
    with accepting(handler, limits, tls=site.server()) as node:
        peers = [RawPeer(node.port) for _ in range(2)]
        peers[0].send(hello(site)[:100])
        wait_until(lambda: serving() == 2)
        started = time.monotonic()
        node.stop(drain_s=40)
        assert time.monotonic() - started < 20
        assert not serving()
        for peer in peers:
            peer.close()
    assert handler.failures == []


def test_stop_does_not_wait_for_ever(handler: RecordingHandler, site: Site) -> None:
    with (
        accepting(handler, tls=site.server()) as node,
        associated(node.port, site.client()) as peer,
    ):
        peer.send(wire.p_data((1, 3, STORE), (1, 0, b"half")))
        wait_until(lambda: bool(handler.sinks))
        node.stop(drain_s=0.2)
        assert handler.sinks[0].end == "discarded"
        assert not serving()


def test_threads_and_descriptors_return_to_where_they_were(
    handler: RecordingHandler, site: Site
) -> None:
    """After good, bad and broken connections of every kind."""
    expired = site.client(site.authority.issue("us1", days=-1, age_days=9))
    first = hello(site)[:100]
    with accepting(handler, LIMITS, tls=site.server()) as node:
        associated(node.port, site.client()).close()
        wait_until(lambda: not serving())
        files = len(os.listdir("/proc/self/fd"))
        for number in range(60):
            if number % 4 == 0:
                with associated(node.port, site.client()) as peer:
                    peer.send(wire.p_data((1, 3, STORE), (1, 2, wire.dataset())))
                    assert peer.status() == 0
            elif number % 4 == 1:
                with contextlib.suppress(OSError), RawPeer(node.port, tls=expired) as peer:
                    peer.receive()
            else:
                with RawPeer(node.port) as peer:
                    peer.send(first if number % 4 == 2 else ASSOCIATE)
        wait_until(lambda: not serving() and len(os.listdir("/proc/self/fd")) == files, 20)
    assert len(handler.stored) == 15
