"""Requests for an intent to file: answered from our database only, in the shapes that the real pages read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from flaskapp.accounts.service import Identity, remember_person
from flaskapp.cases.service import close_cases
from flaskapp.db import transaction
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import (
    WITH_ITF,
    WITHOUT_ICN,
    attempts,
    creates,
    itfs,
    mails,
    on_file,
    pass_time,
    reads,
    sign_in,
)
from tests.integration.steps import command, reconfigure
from tests.product import Product

# What a request leaves behind, without ids and times.
LEFT = (
    "SELECT to_jsonb(m) - ARRAY['id', 'subject_id', 'due_at', 'deadline_at', 'give_up_at', 'budget_from', 'created_at']"
    " FROM outbox_messages m WHERE subject_id = :id",
    "SELECT to_jsonb(f) - ARRAY['id', 'account_id', 'asked_at', 'effective_date', 'expires_at', 'created_at']"
    " FROM intents_to_file f WHERE id::text = :id",
    "SELECT to_jsonb(h) - ARRAY['id', 'at', 'subject_id'] FROM outbox_history h WHERE subject_id = :id",
)


def test_before_any_request_the_list_is_empty(product: Product) -> None:
    person = sign_in(product)
    assert person.shown("") == person.shown("/compensation") == []


def test_a_request_is_answered_at_once_with_a_pending_itf_dated_now(product: Product) -> None:
    person = sign_in(product)
    response = person.post()
    assert response.status_code == 202
    assert response.get_json()["data"].keys() == {"id", "type", "attributes"}
    shown = response.get_json()["data"]["attributes"]["intentToFile"]
    (row,) = itfs(product)
    assert shown == {
        "id": str(row["id"]),
        "creationDate": row["asked_at"].isoformat(timespec="milliseconds"),
        "expirationDate": (row["legal_midnight_at"] - timedelta(milliseconds=1)).isoformat(timespec="milliseconds"),
        "participantId": 0,
        "source": "",
        "status": "active",
        "type": "compensation",
        "recordState": "pending",
        "recordMessage": shown["recordMessage"],
    }
    assert "on record" not in shown["recordMessage"]
    assert timedelta(days=365) <= row["expires_at"] - row["asked_at"] <= timedelta(days=366)
    assert person.shown("") == person.shown() == [shown]
    assert (reads(product), creates(product)) == (0, 0)


@pytest.mark.parametrize("known", [True, False])
def test_an_itf_made_in_one_statement_leaves_what_one_made_in_a_transaction_does(product: Product, known: bool) -> None:
    people = [sign_in(product, DEFAULT_CAST[0]), sign_in(product, DEFAULT_CAST[1])]
    if known:
        with transaction() as session:
            for person in people:
                remember_person(session, UUID(person.veteran.account), Identity(person.veteran.icn))
    left = []
    for person, headers in zip(people, ({}, {"Idempotency-Key": "k"}), strict=True):
        shown = person.post(**headers, **{"X-Request-Id": "front-end.7"}).get_json()["data"]["attributes"][
            "intentToFile"
        ]
        message, row, written = (product.value(query, id=shown["id"]) for query in LEFT)
        shared = {**shown, **dict.fromkeys(("id", "creationDate", "expirationDate"))}
        left.append((message, row, written, shared))
    assert left[0] == left[1]


def test_a_repeated_request_for_a_pending_itf_is_the_same_itf(product: Product) -> None:
    person = sign_in(product)
    assert person.ask() == person.ask() == sign_in(product).ask()
    assert len(itfs(product)) == 1 and product.outstanding() == 1


def test_a_created_itf_is_confirmed_and_the_person_gets_one_e_mail(product: Product) -> None:
    person = sign_in(product)
    person.ask()
    product.work()
    (row,) = itfs(product)
    (filed,) = on_file(product)
    assert (row["state"], row["how"], row["upstream_id"]) == ("confirmed", "created", filed["id"])
    assert row["effective_date"] == row["asked_at"]
    assert attempts(product, row["id"]) == [("write", "success")]
    assert mails(product) == ["itf.confirmed"]
    (shown,) = person.shown()
    assert (shown["id"], shown["status"], shown["recordState"]) == (filed["id"], "active", "confirmed")
    assert person.post().status_code == 200
    assert creates(product) == 1


def test_without_the_setting_a_pending_itf_says_that_it_is_pending(product: Product) -> None:
    reconfigure(product, itf_pending_as_active=False)
    person = sign_in(product)
    assert person.ask()["status"] == "pending"
    product.work()
    assert person.shown()[0]["status"] == "active"


def test_fifty_simultaneous_first_requests_are_one_itf_and_one_creation(product: Product) -> None:
    people = [sign_in(product) for _ in range(50)]
    with ThreadPoolExecutor(10) as hands:
        shown = list(hands.map(lambda person: person.ask()["id"], people))
    assert len(set(shown)) == len(itfs(product)) == 1
    product.work()
    assert (creates(product), len(on_file(product))) == (1, 1)
    assert mails(product) == ["itf.confirmed"]


def test_two_people_have_an_itf_each(product: Product) -> None:
    for veteran in DEFAULT_CAST[:2]:
        sign_in(product, veteran).ask()
    product.work()
    assert [row["state"] for row in itfs(product)] == ["confirmed", "confirmed"]
    assert len({row["account_id"] for row in itfs(product)}) == 2


def test_an_itf_filed_elsewhere_is_adopted_with_its_earlier_date_and_end(product: Product) -> None:
    person = sign_in(product, WITH_ITF["active"])
    person.ask()
    product.work()
    (row,) = itfs(product)
    (filed,) = on_file(product, WITH_ITF["active"])
    created = datetime.fromisoformat(filed["created_at"])
    assert (row["state"], row["how"], row["effective_date"]) == ("confirmed", "found", created)
    assert row["asked_at"] - row["effective_date"] > timedelta(days=99)
    (shown,) = person.shown()
    assert datetime.fromisoformat(shown["creationDate"]) == created
    assert datetime.fromisoformat(shown["expirationDate"]) == datetime.fromisoformat(filed["expires_at"])
    assert creates(product) == 0


@pytest.mark.parametrize("habit", ["expired", "used"])
def test_an_expired_or_used_itf_upstream_counts_as_none(product: Product, habit: str) -> None:
    sign_in(product, WITH_ITF[habit]).ask()
    product.work()
    (row,) = itfs(product)
    assert (row["state"], row["how"], creates(product)) == ("confirmed", "created", 1)


def test_a_person_is_identified_once_in_the_background(product: Product) -> None:
    product.control.set("accounts", "refuse")
    person = sign_in(product)
    person.ask()
    assert product.value("SELECT identity IS NULL FROM accounts")
    product.control.clear("accounts")
    product.work()
    assert itfs(product)[0]["state"] == "confirmed"
    assert product.value("SELECT icn_digest IS NOT NULL FROM accounts")
    assert len(product.control.received("accounts")) == 1


def test_without_an_icn_it_fails_once_and_from_then_on_nothing_is_promised(product: Product) -> None:
    """One case, in which every further request is noted; no notification to nobody; and the way out in the answer."""
    person = sign_in(product, WITHOUT_ICN)
    person.ask()
    product.work()
    for _ in range(2):
        (entry,) = person.post().get_json()["errors"]
        assert (entry["status"], entry["code"], "Call VA at" in entry["detail"]) == ("403", "NO_ICN", True)
    (row,) = itfs(product)
    assert (row["state"], row["notification"], product.cases()) == ("failed", None, ["refused"])
    (case,) = product.rows("SELECT details, notes FROM cases")
    assert (case.details["reason"], "not_informed" in case.details, len(case.notes)) == ("NO_ICN", True, 2)
    assert (creates(product), product.rows("SELECT 1 FROM notifications"), product.outstanding()) == (0, [], 0)
    # Day by day: whether the account has an ICN now is looked up again, and nothing is promised before it has.
    for days, seconds in ((1, 0.0), (2, 0.05)):
        reconfigure(product, itf_first_look_seconds=seconds)
        pass_time(product, hours=25)
        person = sign_in(product, WITHOUT_ICN)
        if seconds:
            assert person.shown() == []
        (entry,) = person.post().get_json()["errors"]
        assert (entry["code"], "has a note of your request" in entry["detail"]) == ("NO_ICN", True), seconds
        product.work()
        assert (len(itfs(product)), product.cases(), product.outstanding()) == (1, ["refused"], 0), seconds
        assert product.value("SELECT jsonb_array_length(notes) FROM cases") == 2 + days
        assert product.value("SELECT count(*) FROM outbox_attempts WHERE upstream = 'accounts'") == 1 + days
    assert command(product, "audit").exit_code == 0
    with transaction() as session:
        close_cases(session, "intent_to_file", str(row["id"]), "reached by phone", actor="x")
    assert command(product, "audit").exit_code == 0


def test_the_door_opens_again_when_the_account_has_an_icn(product: Product) -> None:
    person = sign_in(product, WITHOUT_ICN)
    person.ask()
    product.work()
    product.fakes.fakes.cast.add(replace(WITHOUT_ICN, identified=True))
    assert person.post().status_code == 403
    pass_time(product, hours=25)
    person = sign_in(product, WITHOUT_ICN)
    assert person.post().status_code == 403
    product.work()
    person.ask()
    product.work()
    first, second = itfs(product)
    assert (second["state"], second["follows_id"]) == ("confirmed", first["id"])


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_type_is_refused_in_the_errors_shape(product: Product, method: str) -> None:
    person = sign_in(product)
    response = person.get("/insurance") if method == "get" else person.post("insurance")
    assert response.status_code == 400
    assert response.get_json()["errors"][0]["status"] == "400"


def test_an_idempotency_key_names_one_request(product: Product) -> None:
    person = sign_in(product)
    key = {"Idempotency-Key": "one"}
    assert person.post(**key).get_json() == person.post(**key).get_json()
    assert person.post("pension", **key).status_code == 422


def test_without_a_token_nothing_is_recorded(product: Product) -> None:
    client = product.app.test_client()
    assert client.get("/v0/intent_to_file").status_code == 401
    assert client.post("/v0/intent_to_file/compensation").get_json() == {"errors": "Access token JWT is malformed"}
    assert itfs(product) == []
