"""The limits over TLS, as in production: cutting a connection must not confuse the reader of its encrypted stream."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flaskapp.upstreams.errors import Unanswered, Unavailable
from flaskapp.upstreams.transport.http import HTTP, Outgoing
from tests.unit.loopback import DRIP_SECONDS, Loopback, Reply, drip, silence, whole

LIMIT = 1.0


class TLSLoopback(Loopback):
    """The scripted server behind TLS."""

    def __init__(self, identity: Path, *replies: Reply) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(identity)
        super().__init__(*replies)
        self.url = self.url.replace("http:", "https:")

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            super()._serve(self._context.wrap_socket(sock, server_side=True))


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "identity.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.contextmanager
def serving_tls(identity: Path, *replies: Reply) -> Iterator[Loopback]:
    server = TLSLoopback(identity, *replies)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def trusting(identity: Path, monkeypatch: pytest.MonkeyPatch) -> HTTP:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(identity))
    return HTTP(connect_seconds=30)


def request(url: str, seconds: float = 30) -> Outgoing:
    return Outgoing("example", "try_it", "POST", url, True, seconds, json={"a": 1})


def test_calls_over_tls_share_a_connection(identity: Path, trusting: HTTP) -> None:
    with serving_tls(identity, whole(200, {"b": 2})) as server:
        assert [trusting.call(request(server.url)).json() for _ in range(3)] == [{"b": 2}] * 3
        assert server.connections == 1


def test_an_untrusted_certificate_did_nothing(identity: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with serving_tls(identity, whole(200, {})) as server:
        with pytest.raises(Unavailable) as caught:
            HTTP(30).call(request(server.url))
        assert (server.received, caught.value.unreachable) == ([], True)


@pytest.mark.parametrize(
    "reply",
    [silence, drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")],
)
@pytest.mark.parametrize("reused", [False, True])
def test_a_dripping_or_silent_answer_is_cut(identity: Path, trusting: HTTP, reply: Reply, reused: bool) -> None:
    with serving_tls(identity, *[whole(200, {})] * reused, reply) as server:
        if reused:
            trusting.call(request(server.url))
        started = time.monotonic()
        with pytest.raises(Unanswered):
            trusting.call(request(server.url, LIMIT))
        assert LIMIT <= time.monotonic() - started < DRIP_SECONDS / 2


def test_a_hundred_threads_call_at_once(identity: Path, trusting: HTTP) -> None:
    def slow(sock: socket.socket) -> None:
        time.sleep(0.05)
        whole(200, {})(sock)

    statuses: list[int] = []
    with serving_tls(identity, slow) as server:
        threads = [
            threading.Thread(target=lambda: statuses.append(trusting.call(request(server.url)).status))
            for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert statuses == [200] * 100
