"""What people and machines send us in confidence, looked for in everything that we write while everything goes
wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from flaskapp import db as flaskapp_db
from flaskapp.check_in import service as check_in_service
from flaskapp.db import db, transaction
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import csrf_of, log_in
from tests.hostile.routes import every_request
from tests.integration.itf_steps import sign_in
from tests.integration.steps import reconfigure
from tests.product import ADA, Product
from tests.scanner import found_in, postgres_texts, redis_texts, secrets_of
from tests.unit.loopback import serving, whole

# None of this has a form by which a mask could know it, except the last.
PERSON = {"name": "Zzyzxfield Quillon", "street": "17 Brontide Quay", "word": "Xylothian-syndrome"}
ICN = "1087654321V998877"
NUMBERS = {"icn": ICN, "ssn": "987-00-6543", "phone": "+15559871234", "mail": "quillon.zzyzx@example.com"}
TYPED = "correct-horse-battery-4711"
CONFIDENTIAL = [*PERSON.values(), *NUMBERS.values(), "1087654321", TYPED]
DEAD = "http://127.0.0.1:9"


def strewn(client: FlaskClient, product: Product, headers: dict[str, str]) -> None:
    """Every route, with personal data wherever a request can hold any."""
    said = " ".join([*PERSON.values(), *NUMBERS.values()])
    everywhere = {"User-Agent": said, "Referer": f"http://x/?{said}", "Source-App-Name": said, "X-Forwarded-For": said}
    everywhere |= {"Idempotency-Key": said, "X-Request-Id": NUMBERS["ssn"], "Origin": f"https://{said}"}
    for each in every_request(product.app):
        path = each.path.replace("/x", f"/{PERSON['name']}")
        body = dict.fromkeys(("session", "travelClaims", "form526", "name", said), said)
        sent = {**everywhere, **headers}
        client.open(path, method=each.method, query_string=NUMBERS, json=body, headers=sent).close()
        client.open(f"{path}?{said}", method=each.method, data=said.encode(), headers=headers).close()


def failing(fail: Callable[[], None]) -> Callable[..., Any]:
    """A fault of ours whose text, notes, cause and local names hold a person."""

    def broken(*given: Any, **named: Any) -> Any:
        person = dict(PERSON, icn=ICN)
        try:
            fail()
        except Exception as error:
            error.add_note(str(person))
            raise RuntimeError(f"no such person: {NUMBERS}") from error

    return broken


def by_sql() -> None:
    """Postgres quotes what it could not read, and SQLAlchemy the parameters."""
    with transaction() as session:
        session.execute(text("SELECT CAST(:name AS uuid), :icn"), {"name": PERSON["name"], "icn": ICN})


def by_constraint() -> None:
    """The DETAIL of a broken constraint holds the row."""
    with transaction() as session:
        values = {"principal": PERSON["name"], "key": PERSON["street"], "request": ICN}
        for _ in range(2):
            session.execute(text("INSERT INTO idempotency_keys VALUES (:principal, :key, :request)"), values)


def by_address() -> None:
    """requests names the whole address of a call that found nobody."""
    requests.get(f"{DEAD}/people/{ICN}", params=PERSON, timeout=1)


@contextmanager
def postgres_away(monkeypatch: pytest.MonkeyPatch, product: Product) -> Iterator[None]:
    """Every statement fails with an error that names the server, its user and password."""
    url = product.app.extensions["config"].database_url

    def refuse(*_: Any) -> Any:
        raise OperationalError(f"connection to {url} failed", {"icn": ICN}, RuntimeError(f"FATAL: {url}"))

    with monkeypatch.context() as patch:
        patch.setattr(flaskapp_db.db.session, "execute", refuse)
        patch.setattr("outbox.connections.PlainConnection.execute", refuse)
        yield


def everything_goes_wrong(product: Product, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything at once. Returns the secrets that people and machines showed on the way."""
    person, known = sign_in(product), product.sign_in()
    strewn(product.app.test_client(), product, {})
    strewn(product.app.test_client(), product, person.headers)
    strewn(known, product, {"Authorization": f"Bearer {TYPED}.{ICN}.x"})
    for fail in (by_sql, by_constraint, by_address):
        with monkeypatch.context() as patch:
            patch.setattr(check_in_service, "find_session", failing(fail))
            assert product.ask(product.app.test_client()).status_code == 500
    with postgres_away(monkeypatch, product):
        assert product.ask(known).status_code == 503
    upstreams_fail(product, person.headers)
    cookie = known.get_cookie("cie_session")
    assert cookie is not None
    return [person.headers["Authorization"].removeprefix("Bearer "), cookie.value]


def upstreams_fail(product: Product, headers: dict[str, str]) -> None:
    """Upstreams that do not exist, and one that answers with everything it knows."""
    client = product.app.test_client()
    session = {"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": PERSON["name"]}}
    said = " ".join([*PERSON.values(), *NUMBERS.values()])
    asks = ("/v0/intent_to_file/pension", "/travel_pay/v0/claims", "/travel_pay/v0/contact_discrepancies")
    before = product.app.extensions["config"]
    with serving(whole(500, {"message": said, "errors": [{"detail": said}]})) as server:
        for url in (DEAD, server.url):
            names = ("lighthouse", "travel_pay", "va_profile", "lorota", "accounts", "sts", "veis")
            reconfigure(product, **{f"{name}_base_url": url for name in names})
            assert client.post("/check_in/v2/sessions", json=session).status_code == 502
            for path in asks:
                assert client.get(path, headers=headers).status_code >= 500
    product.app.extensions["config"] = before


def guess_passwords(product: Product, password: str) -> list[str]:
    """The right password, wrong ones, and one typed into the field for the name. Returns the session's secrets."""
    client = product.app.test_client()
    for name, typed in ((OPERATOR, TYPED), (TYPED, password), (PERSON["name"], ICN)):
        token = csrf_of(client.get("/ops/login").text)
        client.post("/ops/login", data={"name": name, "password": typed, "csrf_token": token})
    assert log_in(client, password, OPERATOR).status_code == 303
    token = csrf_of(client.get("/ops/").text)
    client.post("/ops/logout", data={"csrf_token": f"{token}x"})
    kept = [client.get_cookie("surefile_session"), client.get_cookie("surefile_known", path="/ops/login")]
    return [token, *(cookie.value for cookie in kept if cookie is not None)]


def test_nothing_said_in_confidence_is_written_down(
    product: Product, secrets_folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    password = kept_secrets(secrets_folder).operator_password
    shown = everything_goes_wrong(product, monkeypatch) + guess_passwords(product, password)
    operator = product.app.test_client()
    assert log_in(operator, password, OPERATOR).status_code == 303
    logged = capsys.readouterr()
    written = {
        "the log": [logged.out, logged.err],
        "Redis": redis_texts(product.redis),
        "Postgres": postgres_texts(product),
        "the metrics": [product.metrics()],
        "the consoles": [operator.get(path).text for path in ("/ops/", "/rq/", "/rq/0/data/queues.json")],
    }
    assert len(shown) == 5 and all(len(each) > 20 for each in shown)
    assert found_in(written, [*CONFIDENTIAL, *shown, password, *secrets_of(product.app.extensions["config"])]) == []
    for event in ("RuntimeError", "database.unavailable", "upstream.called", "request.answered", "sign_in.refused"):
        assert event in logged.out, event


def test_the_scanner_finds_a_secret_in_every_wrapping(product: Product) -> None:
    secret = "Zzyzx field/4711"
    wrapped = requests.Request("GET", "http://x", auth=("me", secret)).prepare().headers["Authorization"]
    for held in (secret.upper(), f"?a={'Zzyzx%20field%2F4711'}", wrapped):
        assert found_in({"here": [f"before {held} after"]}, [secret]) == [("here", secret)]
    assert found_in({"here": ["Zzyzx"]}, [secret]) == []
    product.redis.set("kept", secret)
    assert found_in({"Redis": redis_texts(product.redis)}, [secret])
    with transaction() as session:
        session.execute(text("INSERT INTO idempotency_keys VALUES (:p, 'k', 'r')"), {"p": secret})
        assert found_in({"Postgres": postgres_texts(product)}, [secret])
        session.rollback()
    assert db.engine.url.password in secrets_of(product.app.extensions["config"])
