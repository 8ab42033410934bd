"""The published keys: they rotate without warning, and their service may be away. Known keys stay, and new ones are
found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from flaskapp.upstreams import sign_in_keys
from flaskapp.upstreams.errors import Unavailable
from flaskapp.upstreams.sign_in_keys import SignInKeys
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Loopback, Reply, reset, serving, silence, whole
from tests.unit.upstream_settings import SIGNING_KEY, pem_of, settings

OLD = SIGNING_KEY.public_key()


@cache
def another_key(bits: int = 2048) -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, bits).public_key()


def jwk(key: rsa.RSAPublicKey, **changes: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key, as_dict=True), "use": "sig", "alg": "RS256", "kid": "1", **changes}


def pem(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def published(*keys: rsa.RSAPublicKey) -> Reply:
    return whole(200, {"keys": [jwk(key) for key in keys]})


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(published(OLD)) as running:
        yield running


@pytest.fixture
def keys(server: Loopback) -> SignInKeys:
    return keys_at(server)


def keys_at(server: Loopback, **changes: Any) -> SignInKeys:
    chosen = {"sis_jwks_url": f"{server.url}/certs", "sis_total_seconds": 30, **changes}
    return SignInKeys(settings(**chosen), HTTP(10))


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Move the clock by which the keys age, and no other clock."""
    passed = [0.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + passed[0]

    def forward(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(sign_in_keys, "time", Clock)
    return forward


def fetched(keys: SignInKeys) -> list[rsa.RSAPublicKey]:
    """What is known once the fetch has ended that is due, or is under way."""
    keys.fetch_within(60)
    return keys.current()


def test_published_keys_are_read_once_and_kept(server: Loopback, keys: SignInKeys) -> None:
    assert [fetched(keys), keys.current(), keys.current()] == [[OLD]] * 3
    assert [sent.line for sent in server.received] == ["GET /certs HTTP/1.1"]


def test_keys_from_the_settings_need_no_call() -> None:
    keys = SignInKeys(settings(sis_jwks_url="", sis_public_keys=pem(OLD) + pem(another_key())), HTTP(10))
    assert keys.current() == fetched(keys) == [OLD, another_key()]
    assert keys.fetch_soon() is None


def test_keys_of_both_origins_count(server: Loopback) -> None:
    assert fetched(keys_at(server, sis_public_keys=pem(another_key()))) == [another_key(), OLD]


def test_a_key_may_be_given_on_one_line(server: Loopback) -> None:
    one_line = pem(another_key()).replace("\n", "\\n")
    assert keys_at(server, sis_public_keys=one_line).current() == [another_key()]


@pytest.mark.parametrize("text", ["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", pem_of(SIGNING_KEY)])
def test_a_setting_that_is_no_public_key_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="^SIS_PUBLIC_KEYS must hold RSA public keys in PEM$"):
        SignInKeys(settings(sis_public_keys=text), HTTP(10))


@pytest.mark.parametrize(
    "entry",
    [
        jwk(OLD, kty="oct", k="AAAA"),
        jwk(OLD, kty="EC"),
        jwk(OLD, use="enc"),
        jwk(OLD, alg="RS512"),
        jwk(OLD, n="!"),
        jwk(OLD, n=5),
        jwk(OLD, e=None),
        jwk(OLD, e=""),
        {"kty": "RSA"},
        "text",
        None,
        jwk(another_key(1024)),
    ],
)
def test_an_entry_that_cannot_sign_our_tokens_is_skipped(server: Loopback, keys: SignInKeys, entry: Any) -> None:
    server.replies[:] = [whole(200, {"keys": [entry, jwk(another_key())]})]
    assert fetched(keys) == [another_key()]


def test_an_entry_may_leave_out_its_use(server: Loopback, keys: SignInKeys) -> None:
    bare = {name: value for name, value in jwk(OLD).items() if name in ("kty", "n", "e")}
    server.replies[:] = [whole(200, {"keys": [bare]})]
    assert fetched(keys) == [OLD]


def test_of_a_private_key_published_by_mistake_only_the_public_half_is_used(server: Loopback, keys: SignInKeys) -> None:
    server.replies[:] = [whole(200, {"keys": [RSAAlgorithm.to_jwk(SIGNING_KEY, as_dict=True)]})]
    assert fetched(keys) == [OLD]


def test_keys_are_read_again_when_they_are_old(server: Loopback, keys: SignInKeys, wait: Any) -> None:
    assert fetched(keys) == [OLD]
    server.replies[:] = [published(another_key())]
    wait(599)
    assert [keys.current(), len(server.received)] == [[OLD], 1]
    wait(1)
    assert keys.current() in ([OLD], [another_key()])
    assert fetched(keys) == [another_key()]
    assert len(server.received) == 2


def test_a_signature_that_no_key_fits_causes_one_fetch_a_minute(server: Loopback, keys: SignInKeys, wait: Any) -> None:
    fetched(keys)
    server.replies[:] = [published(OLD, another_key())]
    assert fetched(keys) == [OLD]
    wait(60)
    assert fetched(keys) == fetched(keys) == [OLD, another_key()]
    assert len(server.received) == 2


AWAY = {
    "reset": reset,
    "500": whole(500),
    "429": whole(429),
    "html": whole(200, "<html>"),
    "no keys": whole(200, {"keys": []}),
    "no list": whole(200, {"keys": {}}),
    "no object": whole(200, []),
    "only strange keys": whole(200, {"keys": [{"kty": "oct", "k": "AAAA"}]}),
    "404 with keys": whole(404, {"keys": [jwk(OLD)]}),
    "redirect": whole(302, "", Location="/elsewhere"),
}


@pytest.mark.parametrize("reply", AWAY.values(), ids=AWAY)
def test_known_keys_are_kept_while_the_service_is_away(
    server: Loopback, keys: SignInKeys, wait: Any, reply: Reply
) -> None:
    fetched(keys)
    server.replies[:] = [reply]
    wait(3_600)
    assert [fetched(keys), fetched(keys)] == [[OLD]] * 2
    assert len(server.received) == 2
    server.replies[:] = [published(another_key())]
    wait(60)
    assert fetched(keys) == [another_key()]


@pytest.mark.parametrize("reply", AWAY.values(), ids=AWAY)
def test_without_any_key_one_fetch_a_second_goes_on_until_there_is_one(
    server: Loopback, keys: SignInKeys, wait: Any, reply: Reply
) -> None:
    server.replies[:] = [reply]
    for _ in range(3):
        with pytest.raises(Unavailable):
            fetched(keys)
    assert len(server.received) == 1
    server.replies[:] = [published(OLD)]
    wait(1)
    assert fetched(keys) == [OLD]


def test_keys_from_the_settings_serve_while_the_service_is_away(server: Loopback) -> None:
    server.replies[:] = [reset]
    keys = keys_at(server, sis_public_keys=pem(another_key()))
    assert keys.current() == fetched(keys) == keys.current() == [another_key()]
    assert len(server.received) == 1


class Held:
    """A reply that comes when it is released."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.called, self.go = threading.Event(), threading.Event()

    def __call__(self, sock: Any) -> None:
        self.called.set()
        assert self.go.wait(60)
        self.reply(sock)


@pytest.mark.parametrize("known", [True, False])
def test_nobody_waits_for_a_service_that_hangs(server: Loopback, keys: SignInKeys, wait: Any, known: bool) -> None:
    """Nobody could be signed in without a key, and still no request holds a thread for it."""
    if known:
        fetched(keys)
    held = Held(published(another_key()))
    server.replies[:] = [held]
    wait(600)
    for _ in range(50):
        if known:
            assert keys.current() == [OLD]
        else:
            with pytest.raises(Unavailable):
                keys.current()
        keys.fetch_soon()
    assert held.called.wait(60)
    held.go.set()
    assert fetched(keys) == [another_key()]
    assert len(server.received) == 1 + known


def test_a_process_that_starts_waits_a_little_and_no_longer(server: Loopback) -> None:
    server.replies[:] = [silence]
    keys = keys_at(server, sis_total_seconds=30)
    started = time.monotonic()
    keys.fetch_within(0.05)
    assert time.monotonic() - started < 15
    with pytest.raises(Unavailable):
        keys.current()
