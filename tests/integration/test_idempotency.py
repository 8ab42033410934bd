"""`Idempotency-Key`: repeating a request is safe, and the same key for another request is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from flaskapp.db import transaction
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import remember
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.house import ADA, APPOINTMENT_DATE, House
from tests.integration.steps import counts

BEN = DEFAULT_CAST[1]


def ask(house: House, client: FlaskClient, key: str, date: str = APPOINTMENT_DATE) -> Any:
    return house.ask(client, ADA, date, **{"Idempotency-Key": key})


def test_the_same_key_and_body_answers_with_the_same_claim(house: House) -> None:
    client = house.sign_in()
    first = ask(house, client, "k")
    written = counts(house)
    second = ask(house, client, "k")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.get_json()["data"]["id"] == second.get_json()["data"]["id"]
    assert counts(house) == written


def test_the_same_key_with_another_body_is_a_422_and_writes_nothing(house: House) -> None:
    client = house.sign_in()
    ask(house, client, "k")
    written = counts(house)
    refused = ask(house, client, "k", "2031-03-05")
    entry = refused.get_json()["errors"][0]
    assert (refused.status_code, entry["status"], entry["code"]) == (422, "422", "IDEMPOTENCY_KEY_REUSED")
    assert counts(house) == written


def test_a_key_is_its_callers_own(house: House) -> None:
    assert ask(house, house.sign_in(), "k").status_code == 202
    assert house.ask(house.sign_in(BEN), BEN, "2031-03-05", **{"Idempotency-Key": "k"}).status_code == 202


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_empty_or_too_long_is_a_400_and_writes_nothing(house: House, key: str) -> None:
    client = house.sign_in()
    before = counts(house)
    refused = ask(house, client, key)
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    assert counts(house) == before


def test_of_two_bodies_racing_for_one_key_one_is_filed_and_one_refused(house: House) -> None:
    """Also: nothing of a key is kept that reads as what the caller sent."""
    clients = [house.sign_in() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, [house] * 2, clients, ["k-raced"] * 2, [APPOINTMENT_DATE, "2031-03-05"]))
    assert sorted(answer.status_code for answer in answers) == [202, 422]
    assert house.value("SELECT count(*) FROM travel_claims") == 1
    assert "k-raced" not in str(house.rows("SELECT key_digest, request_digest FROM idempotency_keys"))


def test_a_key_goes_with_the_transaction_it_was_written_in(house: House) -> None:
    with pytest.raises(ZeroDivisionError), transaction() as session:
        remember(session, "somebody", "k", {"day": 1})
        raise ZeroDivisionError
    with transaction() as session:
        remember(session, "somebody", "k", {"day": 2})
    with pytest.raises(Problem), transaction() as session:
        remember(session, "somebody", "k", {"day": 1})


def test_keys_are_forgotten_after_thirty_days(house: House) -> None:
    ask(house, house.sign_in(), "k")
    house.rows("UPDATE idempotency_keys SET created_at = created_at - interval '29 days' RETURNING 1")
    housekeeping.retain()
    assert house.value("SELECT count(*) FROM idempotency_keys") == 1
    house.rows("UPDATE idempotency_keys SET created_at = created_at - interval '2 days' RETURNING 1")
    housekeeping.retain()
    assert house.value("SELECT count(*) FROM idempotency_keys") == 0
