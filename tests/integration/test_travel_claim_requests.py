"""Requests for a travel claim: the answer to every generation of the front end, and what is written or not."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import IntegrityError, OperationalError

from flaskapp import create_app
from flaskapp.check_in.service import Identity
from flaskapp.config import from_env
from flaskapp.db import db
from flaskapp.keys import digests
from flaskapp.travel_claims import service
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.steps import counts, file_claim, look_ups, sends
from tests.product import ADA, APPOINTMENT_DATE, Product

CAMEL = {"X-Key-Inflection": "camel"}
CLAIMS = "/check_in/v0/travel_claims"
BEN = DEFAULT_CAST[1]
STRANGER = "0c4f6d1e-0000-4000-8000-0000000000aa"
DEAD = "redis://127.0.0.1:1/0"


def body(**changes: Any) -> dict[str, Any]:
    return {"travelClaims": {"uuid": ADA.uuid, "appointmentDate": APPOINTMENT_DATE} | changes}


@pytest.mark.parametrize("path", [CLAIMS, f"{CLAIMS}/"])
def test_the_202_satisfies_every_generation_of_the_front_end(product: Product, path: str) -> None:
    response = product.sign_in().post(path, json=body(timeToComplete="NaN", facilityType="oh"), headers=CAMEL)
    answered = response.get_json()
    assert (response.status_code, response.content_type) == (202, "application/json")
    assert (answered["status"], answered["data"]["statusCode"]) == (202, 202)
    assert product.rows("SELECT 1 FROM travel_claims WHERE id::text = :id", id=answered["data"]["id"])
    assert (answered["data"]["state"], answered["data"]["appointmentDate"]) == ("pending", APPOINTMENT_DATE)


def test_snake_case_is_accepted_and_answered_too(product: Product) -> None:
    form = {"travel_claims": {"uuid": ADA.uuid, "appointment_date": APPOINTMENT_DATE}}
    answered = product.sign_in().post(CLAIMS, json=form).get_json()
    assert (answered["data"]["status_code"], answered["data"]["appointment_date"]) == (202, APPOINTMENT_DATE)


def test_the_state_is_given_in_words_and_codes_and_to_its_person_only(product: Product) -> None:
    claim = file_claim(product)
    before = claim.state
    product.work()
    after = claim.state
    assert (before["state"], before["finished_at"], before["claim_number_last_four"]) == ("pending", None, None)
    assert (after["state"], after["unconfirmed"]) == ("submitted", False)
    assert after["finished_at"] > after["requested_at"]
    assert "is filed" in after["message"] and "are filing it" in before["message"]
    path = f"{CLAIMS}/{claim.id}"
    assert product.sign_in(BEN).get(path).status_code == 404
    assert product.app.test_client().get(path).status_code == 401
    assert [claim.client.get(f"{CLAIMS}/{wrong}").status_code for wrong in (STRANGER, "x")] == [404, 404]


def test_a_caller_who_is_not_signed_in_gets_401_with_the_read_none_object(product: Product) -> None:
    strangers = [(product.app.test_client(), ADA.uuid), (product.sign_in(), STRANGER), (product.sign_in(BEN), ADA.uuid)]
    before = counts(product)
    for client, uuid in strangers:
        response = client.post(f"{CLAIMS}/", json=body(uuid=uuid), headers=CAMEL)
        assert response.status_code == 401
        assert response.get_json() == {"permissions": "read.none", "status": "success", "uuid": uuid}
        assert response.headers["WWW-Authenticate"] == 'Token realm="Application"'
    assert counts(product) == before


FORM = "application/x-www-form-urlencoded"
BAD = {
    "no root": ("{}", 422, "/travelClaims"),
    "root is no object": ('{"travelClaims": 1}', 422, "/travelClaims"),
    "no uuid": (body(uuid=None), 422, "/travelClaims/uuid"),
    "malformed uuid": (body(uuid="DROP TABLE"), 422, "/travelClaims/uuid"),
    "upper-case uuid": (body(uuid=ADA.uuid.upper()), 422, "/travelClaims/uuid"),
    "uuid with a line after it": (body(uuid=ADA.uuid + "\n"), 422, "/travelClaims/uuid"),
    "uuid is a number": (body(uuid=5), 422, "/travelClaims/uuid"),
    "no date": ({"travelClaims": {"uuid": ADA.uuid}}, 422, "/travelClaims/appointmentDate"),
    "american date": (body(appointmentDate="03/04/2031"), 422, "/travelClaims/appointmentDate"),
    "day that is none": (body(appointmentDate="2031-02-30"), 422, "/travelClaims/appointmentDate"),
    "date with words after it": (body(appointmentDate="2031-03-04 soon"), 422, "/travelClaims/appointmentDate"),
    "date with a line after it": (body(appointmentDate="2031-03-04\n"), 422, "/travelClaims/appointmentDate"),
    "date in other digits": (body(appointmentDate="٢٠٣١-٠٣-٠٤"), 422, "/travelClaims/appointmentDate"),
    "date is null": (body(appointmentDate=None), 422, "/travelClaims/appointmentDate"),
    "date is a list": (body(appointmentDate=[APPOINTMENT_DATE]), 422, "/travelClaims/appointmentDate"),
    "not JSON": ("{", 400, None),
    "empty": ("", 400, None),
    "a list": ("[]", 400, None),
    "not UTF-8": (b"\xff\xfe", 400, None),
    "a key twice": ('{"travelClaims": {}, "travel_claims": {}}', 400, None),
    "a NUL": (body(appointmentDate="2031-03-04\0"), 422, "/travelClaims/appointmentDate"),
    "half a character": ('{"travelClaims": {"uuid": "\\ud800"}}', 422, "/travelClaims/uuid"),
    "too deep": ("[" * 5000, 400, None),
    "too large": (body(note="x" * 70_000), 413, None),
}


def test_each_bad_input_is_named_in_the_errors_shape_and_writes_nothing(product: Product) -> None:
    client = product.sign_in()
    before = counts(product)
    for name, (sent, status, pointer) in BAD.items():
        data = json.dumps(sent) if isinstance(sent, dict) else sent
        response = client.post(f"{CLAIMS}/", data=data, content_type="application/json", headers=CAMEL)
        entries = response.get_json()["errors"]
        assert (response.status_code, entries[0]["status"]) == (status, str(status)), name
        assert entries[0]["title"] and entries[0]["detail"] and isinstance(entries[0]["code"], str), name
        assert pointer in [None, *(entry.get("source", {}).get("pointer") for entry in entries)], name
    for content_type in (FORM, "text/plain", "", "multipart/form-data"):
        response = client.post(f"{CLAIMS}/", data=json.dumps(body()), content_type=content_type)
        assert (response.status_code, response.get_json()["errors"][0]["status"]) == (415, "415")
    assert client.put(f"{CLAIMS}/", json=body()).get_json()["errors"][0]["status"] == "405"
    assert counts(product) == before


def test_of_a_date_time_only_the_date_on_the_wall_clock_counts(product: Product) -> None:
    client = product.sign_in()
    for clock_time in ("", "T10:00", "T23:59:59", "T00:30:00.000Z", "T23:30:00-05:00", "T00:30:00+0900"):
        response = client.post(f"{CLAIMS}/", json=body(appointmentDate=f"{APPOINTMENT_DATE}{clock_time}"))
        assert response.get_json()["data"]["appointment_date"] == APPOINTMENT_DATE
    assert [str(row[0]) for row in product.rows("SELECT appointment_date FROM travel_claims")] == [APPOINTMENT_DATE]


def test_a_repeated_request_gets_the_same_claim(product: Product) -> None:
    claim = file_claim(product)
    again = product.ask(product.sign_in(), date=f"{APPOINTMENT_DATE}T09:30:00").get_json()["data"]
    assert (again["id"], again["state"]) == (claim.id, "pending")
    product.work()
    after = product.ask(claim.client).get_json()["data"]
    assert (after["id"], after["state"]) == (claim.id, "submitted")
    assert (len(product.submits()), len(product.phone())) == (1, 1)


def test_twenty_identical_requests_at_once_are_one_claim_one_submit_and_one_text(product: Product) -> None:
    cookie = product.sign_in().get_cookie("cie_session")
    assert cookie is not None

    def ask(client: FlaskClient) -> str:
        client.set_cookie("cie_session", cookie.value)
        response = product.ask(client)
        assert response.status_code == 202, response.text
        return str(response.get_json()["data"]["id"])

    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(ask, [product.app.test_client() for _ in range(20)]))
    assert len(ids) == product.value("SELECT count(*) FROM travel_claims") == product.outstanding() == 1
    product.work()
    assert (len(product.submits()), len(sends(product)), len(product.phone())) == (1, 1, 1)


MESSAGE = """
    SELECT job, queue, upstream, subject_type, state, args, round(EXTRACT(epoch FROM due_at - created_at)) AS due,
           round(EXTRACT(epoch FROM deadline_at - created_at)) AS deadline,
           round(EXTRACT(epoch FROM give_up_at - created_at)) AS give_up, unresolved_since
      FROM outbox_messages WHERE subject_id = :id
"""
HISTORY = "SELECT subject_type, what, moved_from, moved_to, actor FROM outbox_history WHERE subject_id = :id"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_new_claim_leaves_its_message_and_its_first_history_row(product: Product, headers: dict[str, str]) -> None:
    """Made in one statement that commits by itself, or in a transaction."""
    described = product.ask(product.sign_in(), **headers).get_json()["data"]
    work = service.SUBMIT
    day, five = work.deadline_seconds, work.give_up_seconds
    assert [tuple(row) for row in product.rows(MESSAGE, id=described["id"])] == [
        (work.path, "travel_claims", "btsss", "travel_claim", "ready", [], 0, day, five, None)
    ]
    assert [tuple(row) for row in product.rows(HISTORY, id=described["id"])] == [
        ("travel_claim", "travel_claim.requested", None, "pending", "person")
    ]
    read = product.claim_state(product.sign_in(), described["id"])
    assert read == {name: value for name, value in described.items() if name != "status_code"}


def test_one_statement_writes_nothing_under_a_digest_key_that_is_not_the_one_to_write_with(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, before = product.sign_in(), counts(product)
    monkeypatch.setattr(digests.StoredDigests, "fingerprint", "another")
    assert service.request_at_once(Identity(ADA.icn, None, "983", ""), date(2031, 3, 4)) is None
    assert counts(product) == before
    monkeypatch.undo()
    assert product.ask(client).status_code == 202


def test_a_commit_whose_answer_was_lost_is_found_again(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = service.request_at_once

    def lose(*args: Any) -> Any:
        assert lost(*args) is not None
        raise OperationalError("", None, psycopg2.OperationalError("server closed the connection"))

    monkeypatch.setattr(service, "request_at_once", lose)
    assert product.ask(product.sign_in()).status_code == 202
    assert product.value("SELECT count(*) FROM travel_claims") == product.outstanding() == 1


COPY = """
    INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state)
    SELECT gen_random_uuid(), person_digest, {station}, appointment_date, identity, 'pending' FROM travel_claims
"""


def test_postgres_refuses_a_second_claim_for_the_same_person_date_and_station(product: Product) -> None:
    file_claim(product)
    with pytest.raises(IntegrityError, match="uq_travel_claims_person_digest_appointment_date_station_digest"):
        product.rows(COPY.format(station="station_digest") + " RETURNING id")
    assert len(product.rows(COPY.format(station="'another'") + " RETURNING id")) == 1


def test_a_person_may_request_claims_for_a_second_station_and_a_second_day(product: Product) -> None:
    cast = product.fakes.fakes.cast
    elsewhere = product.control.call(
        "POST", "lorota", "veterans", json={"icn": ADA.icn, "appointments": [{"station": "537"}]}
    )
    there = cast.by_uuid(elsewhere["uuid"])
    assert there is not None
    ids = {file_claim(product).id, file_claim(product, there).id, file_claim(product, there, "2031-03-05").id}
    assert len(ids) == 3
    owners = product.rows("SELECT DISTINCT person_digest FROM travel_claims")
    assert len(owners) == 1


def test_a_202_needs_neither_redis_nor_any_upstream(product: Product, database_url: str, secrets_folder: Any) -> None:
    cookie = product.sign_in().get_cookie("cie_session")
    assert cookie is not None
    isolated = create_app(from_env(environment(database_url, DEAD, product.fakes, kept_secrets(secrets_folder))))
    # A call to one of them would take its whole limit, which is 12 seconds at least.
    for upstream in ("veis", "btsss", "va_notify", "lorota", "chip"):
        product.control.set(upstream, "hold")
    client = isolated.test_client()
    client.set_cookie("cie_session", cookie.value)
    client.get(f"{CLAIMS}/{STRANGER}")
    started = time.monotonic()
    response = client.post(f"{CLAIMS}/", json=body(), headers={"Idempotency-Key": "k-1"})
    seconds = time.monotonic() - started
    state = client.get(f"{CLAIMS}/{response.get_json()['data']['id']}")
    with isolated.app_context():
        db.engine.dispose()
    product.control.reset()
    assert (response.status_code, state.status_code) == (202, 200)
    assert seconds < 10
    product.work()
    assert product.phone()[0]["template"] == "cie.created"


def test_no_upstream_is_called_before_the_job_runs(product: Product) -> None:
    file_claim(product)
    assert (product.submits(), look_ups(product), sends(product)) == ([], 0, [])
    assert product.redis.keys("rq:job:*") == []
