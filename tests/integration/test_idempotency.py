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
from tests.integration.steps import counts
from tests.product import ADA, APPOINTMENT_DATE, Product

BEN = DEFAULT_CAST[1]


def ask(product: Product, client: FlaskClient, key: str, date: str = APPOINTMENT_DATE) -> Any:
    return product.ask(client, ADA, date, **{"Idempotency-Key": key})


def test_the_same_key_and_body_get_the_same_claim(product: Product) -> None:
    client = product.sign_in()
    first = ask(product, client, "k")
    written = counts(product)
    second = ask(product, client, "k")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.get_json()["data"]["id"] == second.get_json()["data"]["id"]
    assert counts(product) == written


def test_the_same_key_with_another_body_is_a_422_and_writes_nothing(product: Product) -> None:
    client = product.sign_in()
    ask(product, client, "k")
    written = counts(product)
    refused = ask(product, client, "k", "2031-03-05")
    entry = refused.get_json()["errors"][0]
    assert (refused.status_code, entry["status"], entry["code"]) == (422, "422", "IDEMPOTENCY_KEY_REUSED")
    assert counts(product) == written


def test_each_caller_has_keys_of_its_own(product: Product) -> None:
    assert ask(product, product.sign_in(), "k").status_code == 202
    assert (
        product.ask(product.sign_in(BEN, "2031-03-05"), BEN, "2031-03-05", **{"Idempotency-Key": "k"}).status_code
        == 202
    )


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_empty_or_too_long_is_a_400_and_writes_nothing(product: Product, key: str) -> None:
    client = product.sign_in()
    before = counts(product)
    refused = ask(product, client, key)
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    assert counts(product) == before


def test_of_two_bodies_racing_for_one_key_one_is_filed_and_one_is_refused(product: Product) -> None:
    """Also, nothing readable of the key or the body is stored."""
    clients = [product.sign_in(ADA, "2031-03-05") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, [product] * 2, clients, ["k-raced"] * 2, [APPOINTMENT_DATE, "2031-03-05"]))
    assert sorted(answer.status_code for answer in answers) == [202, 422]
    assert product.value("SELECT count(*) FROM travel_claims") == 1
    assert "k-raced" not in str(product.rows("SELECT key_digest, request_digest FROM idempotency_keys"))


def test_a_key_is_rolled_back_with_its_transaction(product: Product) -> None:
    with pytest.raises(ZeroDivisionError), transaction() as session:
        remember(session, "somebody", "k", {"day": 1})
        raise ZeroDivisionError
    with transaction() as session:
        remember(session, "somebody", "k", {"day": 2})
    with pytest.raises(Problem), transaction() as session:
        remember(session, "somebody", "k", {"day": 1})


def test_keys_are_deleted_after_thirty_days(product: Product) -> None:
    ask(product, product.sign_in(), "k")
    product.rows("UPDATE idempotency_keys SET created_at = created_at - interval '29 days' RETURNING 1")
    housekeeping.retain()
    assert product.value("SELECT count(*) FROM idempotency_keys") == 1
    product.rows("UPDATE idempotency_keys SET created_at = created_at - interval '2 days' RETURNING 1")
    housekeeping.retain()
    assert product.value("SELECT count(*) FROM idempotency_keys") == 0
