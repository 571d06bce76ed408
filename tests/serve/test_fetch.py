"""Addresses: which are refused, and one that is fetched from a TLS server here."""

from __future__ import annotations

import socket
import ssl
from threading import Thread

import pytest

from medclm.serve.fetch import check_url, download, fetch, public_address
from medclm.serve.guards import ApiError

ALLOWED = {"images.example.org", "localhost"}


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.org/a.png",
        "https://other.example.org/a.png",
        "https://images.example.org.evil.test/a.png",
        "https://images.example.org:8443/a.png",
        "https://images.example.org:99999/a.png",
        "https://user:word@images.example.org/a.png",
        "https://evil.test@images.example.org/a.png",
        "https://images.example.org\\@evil.test/a.png",
        "https://[::1]/a.png",
        "https://[broken/a.png",
        "https:///a.png",
        "file:///etc/passwd",
        "https://images.example.org/a b",
        "https://images.example.org/\u00e9",
    ],
)
def test_refused_addresses(url):
    with pytest.raises(ApiError) as caught:
        check_url(url, ALLOWED)
    assert (caught.value.status, caught.value.code) == (400, "image_url_not_allowed")


def test_an_allowed_address():
    assert check_url("https://Images.example.org/a.png?b=1#c", ALLOWED) == ("images.example.org", "/a.png?b=1")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1"],
)
def test_addresses_that_are_not_public(host):
    with pytest.raises(ApiError, match="not public"):
        public_address(host)


def test_an_allowed_name_that_points_home_is_refused():
    with pytest.raises(ApiError, match="not public"):
        fetch("https://localhost/a.png", ALLOWED, 100)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(file with key and certificate, context that trusts it) for images.example.org."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "images.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("images.example.org")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file, ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())


def serve_once(file, answer: bytes) -> int:
    """A TLS server on loopback that gives one answer; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        plain, _ = listener.accept()
        with listener, context.wrap_socket(plain, server_side=True) as stream:
            stream.recv(4096)
            stream.sendall(answer)

    Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", 413),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", 400),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_download_over_tls(certificate, answer, outcome):
    file, context = certificate
    port = serve_once(file, answer)
    if isinstance(outcome, bytes):
        assert download("images.example.org", "127.0.0.1", port, "/a", 10, context) == outcome
        return
    with pytest.raises(ApiError) as caught:
        download("images.example.org", "127.0.0.1", port, "/a", 10, context)
    assert caught.value.status == outcome


def test_a_server_with_another_name_is_refused(certificate):
    file, context = certificate
    with pytest.raises(ApiError, match="cannot be read"):
        download("other.example.org", "127.0.0.1", serve_once(file, b"x"), "/a", 10, context)
