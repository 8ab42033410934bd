"""Bodies made to break a parser: each address that takes a body refuses them quickly, in words, and writes nothing."""

from __future__ import annotations

import gc
import gzip
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.routing import Rule

from flaskapp.form526.routes import MOST_FORM_BYTES
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import KEY_PARAMETER
from flaskapp.web.json_body import LONGEST_KEY, MOST_PARTS, parse
from flaskapp.web.openapi import operation_of
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.hostile.test_every_operation import WRITTEN, count
from tests.integration.form526_steps import SUBMIT_URL
from tests.integration.itf_steps import itfs, sign_in
from tests.integration.test_notifications_callbacks import BEARER
from tests.product import ADA, Product

MIB = 1024 * 1024
NOBODYS = "0c4f6d1e-0000-4000-8000-00000000aa01"
VALUES = {"int": "0", "uuid": NOBODYS}
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
# Each is refused at every route: no JSON, JSON with more than one meaning, or what PostgreSQL cannot keep.
BOMBS = {
    "brackets without end": b"[" * 30_000,
    "objects without end": b'{"a":' * 10_000,
    "nested deeper than any form": b'{"a":' * 40 + b"1" + b"}" * 40,
    "deeper inside what is ignored": b'{"ignored":' + b"[" * 40 + b"]" * 40 + b"}",
    "a number of 30,000 digits": b'{"a":' + b"9" * 30_000 + b"}",
    "a number beyond all numbers": b'{"a":1e999999}',
    "NaN": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "the same key twice": b'{"a":1,"a":2}',
    "the same key in two spellings": b'{"fooBar":1,"foo_bar":2}',
    "half a pair in a key": b'{"\\udfff":1}',
    "NUL in a key": b'{"\\u0000":1}',
    "a NUL byte": b'{"a":"\x00"}',
    "a key of 30,000 letters": b'{"' + b"A" * 30_000 + b'":1}',
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "bytes that are no UTF-8": b'{"a":"\xff\xfe"}',
    "an overlong NUL": b'{"a":"\xc0\x80"}',
    "gzip": gzip.compress(b'{"a":1}'),
    "a list": b'[{"a":1}]',
    "a text": b'"a"',
    "null": b"null",
    "nothing": b"",
    "two objects": b'{"a":1}{"b":2}',
    "an object cut short": b'{"a":1',
    "single quotes": b"{'a':1}",
    "a comment": b'{"a":1/*b*/}',
}


# VANotify repeats no refusal, so a callback is refused only where it is no JSON object. Nothing of these is kept.
TAKEN_FROM_VA_NOTIFY = (
    "nested deeper than any form",
    "deeper inside what is ignored",
    "a number of 30,000 digits",
    "a number beyond all numbers",
    "NaN",
    "infinity",
    "the same key twice",
    "the same key in two spellings",
    "half a pair in a key",
    "NUL in a key",
    "a key of 30,000 letters",
    "a byte order mark",
    "bytes that are no UTF-8",
    "an overlong NUL",
)


class Endless:
    """A body without an end; it counts how much of it was read."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "read without end"
        self.given += size
        return b" " * size

    def readline(self, size: int = -1) -> bytes:
        return self.read(size if size >= 0 else MIB)


def addresses(product: Product) -> Iterator[tuple[str, str, Rule]]:
    """Method, path and rule of everything that changes something, consoles too. The check-in is that of `everybody`."""

    def value(part: re.Match[str]) -> str:
        return ADA.uuid if part[2] == "uuid" else VALUES.get(part[1], "compensation")

    for rule in product.app.url_map.iter_rules():
        path = re.sub(r"<(?:(\w+)[^:<>]*:)?(\w+)>", value, rule.rule)
        for method in sorted(set(rule.methods or ()) & set(CHANGES)):
            yield method, path, rule


def everybody(product: Product) -> dict[str, str]:
    """The proofs for every flow at once. VANotify's token is sent separately, because it needs the same header."""
    cookie = product.sign_in().get_cookie("cie_session")
    assert cookie is not None
    return {**sign_in(product).headers, "Cookie": f"cie_session={cookie.value}"}


def send(product: Product, method: str, path: str, headers: dict[str, str], body: Any, **parts: Any) -> Any:
    proof = BEARER if path.startswith("/va_notify") else {}
    parts.setdefault("content_type", "application/json")
    return product.app.test_client(use_cookies=False).open(
        path, method=method, data=body, headers={**headers, **proof}, **parts
    )


def reads_json(product: Product, rule: Rule) -> bool:
    operation = operation_of(product.app, rule)
    return operation is not None and (operation.body is not None or "application/json" in operation.content)


@pytest.fixture
def kept_alive() -> Iterator[None]:
    """Keep what earlier tests left: if it were freed deep inside a bomb, its finalizers would find no stack left."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("kept_alive")
def test_every_bomb_is_refused_at_every_address_that_reads_json(product: Product) -> None:
    headers, before = everybody(product), count(product, *WRITTEN)
    reading = [each for each in addresses(product) if reads_json(product, each[2])]
    assert {path for _, path, _ in reading} >= {"/check_in/v0/travel_claims", SUBMIT_URL, "/va_notify/callbacks"}
    for method, path, _ in reading:
        for name, bomb in BOMBS.items():
            began = time.process_time()
            response = send(product, method, path, headers, bomb)
            if path.startswith("/va_notify") and name in TAKEN_FROM_VA_NOTIFY:
                assert response.status_code == 200, name
            else:
                assert (response.status_code, response.get_json()["errors"][0]["status"]) == (400, "400"), (path, name)
            assert time.process_time() - began < 1, (path, name)
    assert count(product, *WRITTEN) == before


def test_no_body_is_our_fault_at_any_other_address(product: Product) -> None:
    """Consoles, uploads, and addresses that read no body: a POST for an ITF ignores it."""
    headers = everybody(product)
    others = [each for each in addresses(product) if not reads_json(product, each[2])]
    assert {path for _, path, _ in others} >= {"/v0/upload_supporting_evidence", "/ops/login"}
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b")
    names = ("brackets without end", "half a pair in a key", "NUL in a key", "bytes that are no UTF-8", "a list")
    for method, path, _ in others:
        for at, (name, kind) in enumerate(itertools.product(names, kinds)):
            # From so many addresses, because an address that fails to log in is soon refused.
            address = {"REMOTE_ADDR": f"192.0.2.{at}"}
            response = send(product, method, path, headers, BOMBS[name], content_type=kind, environ_overrides=address)
            assert response.status_code in (202, 401, 403, 404, 422), (path, name, kind)
    assert [(row["type"], row["state"]) for row in itfs(product)] == [("compensation", "pending")]


def test_fifty_megabytes_are_refused_at_every_address_before_they_are_read(product: Product) -> None:
    headers, before = everybody(product), count(product, *WRITTEN)
    for method, path, rule in addresses(product):
        most = 0 if reads_json(product, rule) or path == "/v0/upload_supporting_evidence" else MIB
        announced = {"CONTENT_LENGTH": str(200 * MIB), "wsgi.input": (sent := Endless())}
        response = send(product, method, path, headers, None, environ_overrides=announced)
        assert response.status_code in (202, 401, 403, 404, 413, 422), path
        assert response.status_code == 413 or not reads_json(product, rule), path
        assert sent.given <= most, path
    assert count(product, *WRITTEN) == before | {"intents_to_file": 1, "outbox_messages": 1}


# -- what the largest body costs ----------------------------------------------


def filled(item: bytes, times: int) -> bytes:
    """A form of the same small thing again and again."""
    return b'{"a":[' + b",".join([item] * times) + b"]}"


MOST_KEYS = (
    b"{" + b",".join(b'"%s%x":1' % (b"A" * (LONGEST_KEY - 8), at) for at in range(5_000_000 // LONGEST_KEY)) + b"}"
)
LARGEST = (filled(b"1", MOST_PARTS - 10), filled(b'{"a":1}', MOST_PARTS // 2 - 10), MOST_KEYS)
# A process can read only its highest memory use, so the forms are read by a process that has done nothing else.
READER = """
import resource, sys
from flaskapp.web.json_body import parse
bodies = sys.stdin.buffer.read().splitlines()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for body in bodies:
    parse(body)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_largest_forms_take_no_time_and_tens_of_megabytes() -> None:
    for body in LARGEST:
        began = time.process_time()
        parse(body)
        assert time.process_time() - began < 3
    reported = subprocess.run(
        [sys.executable, "-c", READER], input=b"\n".join(LARGEST), capture_output=True, check=True
    )
    assert int(reported.stdout) * 1024 < 100 * MIB


@pytest.mark.parametrize(
    "body",
    [
        filled(b"[]", MOST_FORM_BYTES // 3),
        filled(b"1", MOST_FORM_BYTES // 2),
        b'{"' + b"A" * MOST_FORM_BYTES + b'":1}',
    ],
    ids=["lists", "numbers", "one key"],
)
def test_a_form_of_more_parts_than_any_is_refused_before_they_are_made(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Problem) as refused:
        parse(body)
    assert refused.value.status == 400
    assert time.process_time() - began < 1


# -- keys that name a request -------------------------------------------------


KEYS = {
    "k" * 255: True,
    "k" * 256: False,
    "": False,
    "two words, and a comma": True,
    "\xff\xfe\x80": True,
    "'; DROP TABLE idempotency_keys; --": True,
    "%00%s{0}": True,
}


def test_every_idempotency_key_is_a_key_or_a_400(product: Product) -> None:
    bodies = {
        "/check_in/v0/travel_claims": {"travelClaims": {"uuid": ADA.uuid, "appointmentDate": "2031-03-04"}},
        "/travel_pay/v0/claims": {"appointmentDateTime": "2031-03-04T09:30:00", "facilityStationNumber": "983"},
        SUBMIT_URL: {"form526": {"attachments": []}},
        "/v0/intent_to_file/compensation": None,
    }
    assert {path for _, path, rule in addresses(product) if takes_a_key(product, rule)} == set(bodies)
    # A key belongs to its caller, so each is sent by another person.
    for (path, body), veteran in zip(bodies.items(), DEFAULT_CAST, strict=False):
        headers = {**everybody(product), **sign_in(product, veteran).headers}
        for key, taken in KEYS.items():
            for _ in range(2):
                sent = {**headers, "Idempotency-Key": key}
                response = product.app.test_client(use_cookies=False).post(path, json=body, headers=sent)
                assert response.status_code == (202 if taken else 400), (path, key)
    assert product.value("SELECT count(*) FROM idempotency_keys") == len(bodies) * sum(KEYS.values())
    assert product.value("SELECT count(*) FROM outbox_messages") == len(bodies)


def takes_a_key(product: Product, rule: Rule) -> bool:
    operation = operation_of(product.app, rule)
    return operation is not None and KEY_PARAMETER in operation.parameters


# -- dates --------------------------------------------------------------------


@pytest.mark.parametrize("year", ["0001", "1899", "2200", "9999"])
def test_an_appointment_of_another_age_is_refused_while_it_can_be_corrected(product: Product, year: str) -> None:
    """An upstream could not even write the year 1: its answers would look like an outage, and open its breaker."""
    headers, timestamp = sign_in(product).headers, f"{year}-12-31T23:59:59"
    body = {"appointmentDateTime": timestamp, "facilityStationNumber": "983"}
    mileage = product.app.test_client().post("/travel_pay/v0/claims", json=body, headers=headers)
    claim = product.ask(product.sign_in(), ADA, timestamp)
    assert (mileage.status_code, claim.status_code, product.outstanding()) == (422, 422, 0)
