"""TLS without a peer: set-up, names in certificates, failures in words, how sockets end."""

import errno
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dicom_io.errors import TlsSetupError
from dicom_io.tls import TlsFiles, client_context, names, server_context
from dicom_io.tls_failure import failure
from dicom_io.tls_socket import say_goodbye, sever
from tests.certificates import Site, a_site, key_pem


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return a_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def files(site: Site) -> TlsFiles:
    return site.node.trusting(site.ca)


@pytest.mark.parametrize("make", [server_context, client_context])
def test_the_profile_is_bcp_195(
    files: TlsFiles, make: Callable[[TlsFiles], ssl.SSLContext]
) -> None:
    context = make(files)
    suites = [cipher for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    assert sorted(suite["name"] for suite in suites) == [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ]
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_requestor_checks_the_name(files: TlsFiles) -> None:
    assert client_context(files).check_hostname


def garbage(folder: Path) -> Path:
    path = folder / "garbage"
    path.write_bytes(b"\x30\x82" + bytes(99))
    return path


def encrypted(folder: Path) -> Path:
    path = folder / "encrypted.key"
    path.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    return path


@pytest.mark.parametrize(
    ("change", "setting", "words"),
    [
        (lambda s, t: {"certificate": t / "none"}, "certificate", "cannot read .*No such file"),
        (lambda s, t: {"key": t / "none"}, "key", "cannot read .*No such file"),
        (lambda s, t: {"ca": t / "none"}, "ca", "cannot read .*No such file"),
        (lambda s, t: {"key": t}, "key", "cannot read .*directory"),
        (lambda s, t: {"certificate": garbage(t)}, "certificate", "holds no PEM certificate"),
        (lambda s, t: {"key": garbage(t)}, "key", "holds no PEM private key"),
        (lambda s, t: {"key": s.node.certificate}, "key", "holds no PEM private key"),
        (lambda s, t: {"ca": garbage(t)}, "ca", "holds no PEM certificate"),
        (lambda s, t: {"key": s.us1.key}, "key", "does not belong to the certificate"),
        (lambda s, t: {"key": s.authority.issue("x").key}, "key", "does not belong to the"),
        (lambda s, t: {"key": encrypted(t)}, "key", "is encrypted; store it without"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    site: Site,
    files: TlsFiles,
    tmp_path: Path,
    change: Callable[[Site, Path], dict[str, Path]],
    setting: str,
    words: str,
) -> None:
    wrong = replace(files, **change(site, tmp_path))
    with pytest.raises(TlsSetupError, match=words) as caught:
        server_context(wrong)
    assert caught.value.setting == setting
    assert "\n" not in str(caught.value)


def test_a_short_key_is_named(site: Site) -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is what is refused
    weak = site.authority.issue("weak", key=short)
    with pytest.raises(TlsSetupError, match="key too small") as caught:
        server_context(weak.trusting(site.ca))
    assert caught.value.setting == "certificate"


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        ({"subjectAltName": (("DNS", "US1.example.org"),)}, {"us1.example.org"}),
        (
            {
                "subject": ((("commonName", "US"),),),
                "subjectAltName": (("DNS", "a"), ("IP Address", "10.0.0.5"), ("URI", "x:y")),
            },
            {"a", "10.0.0.5"},
        ),
        (
            {
                "subject": ((("organizationName", "O"),), (("commonName", "US 1"),)),
                "subjectAltName": (("email", "a@b"),),
            },
            {"us 1"},
        ),
        (
            {"subjectAltName": (("IP Address", "2001:DB8:0:0:0:0:0:1"), ("DNS", "\x1b[2J"))},
            {"2001:db8::1"},
        ),
        (
            {"subjectAltName": (("IP Address", "<invalid>"),)},
            {"<invalid>"},
        ),
        ({}, set()),
    ],
)
def test_names_of_a_certificate(certificate: dict[str, object], expected: set[str]) -> None:
    assert names(certificate) == expected


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "in time"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "hung up in the TLS handshake"),
        (ssl.SSLError(1, "[X: SOMETHING_NEW] something new"), "TLS failed"),
    ],
)
def test_every_failure_has_words(error: OSError, words: str) -> None:
    assert words in failure(error)


def connected(site: Site) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Return a server's and a client's end that have shaken hands."""
    near, far = socket.socketpair()
    ends: list[ssl.SSLSocket] = []

    def serve() -> None:
        ends.append(site.server().wrap_socket(near, server_side=True))

    thread = threading.Thread(target=serve)
    thread.start()
    client = site.client().wrap_socket(far, server_hostname="localhost")
    thread.join()
    return ends[0], client


def test_a_severed_connection_never_shows_what_is_encrypted(site: Site) -> None:
    """What waits in the kernel is read through TLS still, or not at all."""
    server, client = connected(site)
    with server, client:
        client.sendall(b"hello")
        sever(server)
        assert server.recv(100) in (b"hello", b"")
        with pytest.raises(OSError, match=r"Broken pipe|EOF"):
            server.sendall(b"secret")


def test_severing_twice_is_no_error(site: Site) -> None:
    server, client = connected(site)
    with server, client:
        sever(server)
        sever(server)
    sever(server)


def test_the_closing_word_is_sent_and_not_waited_for(site: Site) -> None:
    server, client = connected(site)
    with server, client:
        client.settimeout(10)
        say_goodbye(server)
        assert client.recv(10) == b""


def test_a_plain_socket_needs_no_closing_word() -> None:
    near, far = socket.socketpair()
    with near, far:
        say_goodbye(near)
        far.settimeout(0)
        with pytest.raises(BlockingIOError):
            far.recv(1)
