"""The list of a signed-in person's submissions: all of theirs and nobody else's, in words, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from flaskapp.current import flows
from flaskapp.db import transaction
from flaskapp.form526.states import SUBMISSION_UNCONFIRMED, SUBMISSION_WORDS
from flaskapp.intent_to_file import states as itf
from flaskapp.subjects import states_of
from flaskapp.submissions.service import Place
from flaskapp.travel_claims import states as travel_claims
from flaskapp.travel_pay.states import WORDS as PAY_WORDS
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.integration.form526_steps import filer
from tests.integration.itf_steps import sign_in
from tests.integration.steps import file_claim
from tests.integration.test_synthetic import chosen
from tests.integration.travel_pay_steps import traveling
from tests.product import ADA, Product

URL = "/v0/submissions"
BEN = DEFAULT_CAST[1]
KINDS = {"travel_claim", "travel_pay_claim", "intent_to_file", "form526_submission", "form526_document"}


def get(product: Product, veteran: Veteran = ADA, path: str = URL, **query: Any) -> Any:
    return product.app.test_client().get(path, query_string=query, headers=sign_in(product, veteran).headers)


def page(product: Product, veteran: Veteran = ADA, **query: Any) -> dict[str, Any]:
    response = get(product, veteran, **query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


def listed(product: Product, veteran: Veteran = ADA) -> list[dict[str, Any]]:
    found = page(product, veteran)
    assert found["meta"] == {"next": None}
    items: list[dict[str, Any]] = found["data"]
    return items


def stands(product: Product, kind: str) -> tuple[str, str]:
    """State and sentence of the caller's submissions of this type, which are alike."""
    (found,) = {(each["state"], each["message"]) for each in listed(product) if each["type"] == kind}
    return found


def file_everything(product: Product) -> None:
    """One of each kind; a form's documents, its file and the instructions that we add, begin with its acceptance."""
    sign_in(product).ask()
    file_claim(product)
    traveling(product).file()
    ada = filer(product)
    ada.file(ada.attach())


def test_everything_is_listed_from_the_request_to_its_end(product: Product) -> None:
    assert set(flows().submissions) == KINDS and listed(product) == []
    file_everything(product)
    before = listed(product)
    # A check-in names nobody's account: its claim is listed once the account's person is known.
    assert {each["type"] for each in before} >= KINDS - {"travel_claim", "form526_document"}
    assert {each["state"] for each in before} == {"pending"}
    assert all(each["since"] == each["requestedAt"] for each in before)

    product.work()
    after = listed(product)
    assert [each["type"] for each in after] == [
        "form526_document",
        "form526_document",
        "form526_submission",
        "travel_pay_claim",
        "travel_claim",
        "intent_to_file",
    ]
    assert {each["type"]: (each["state"], each["message"]) for each in after} == {
        "form526_document": ("pending", after[0]["message"]),
        "form526_submission": ("accepted", SUBMISSION_WORDS["accepted"]),
        "travel_pay_claim": ("submitted", PAY_WORDS["submitted"]),
        "travel_claim": ("submitted", travel_claims.WORDS["submitted"]),
        "intent_to_file": ("confirmed", itf.USED_WORDS),
    }
    assert "VA has received this document" in after[0]["message"]
    assert not any(each["synthetic"] for each in after)
    for each in after:
        more = get(product, path=each["statusUrl"])
        assert more.status_code == (401 if each["type"] == "travel_claim" else 200), each


def test_the_words_are_those_of_each_state(product: Product) -> None:
    """As the person reads them where there is more about it; never that something is on record which is not."""
    file_everything(product)
    product.work()

    def becomes(kind: str, **columns: str) -> tuple[str, str]:
        table = states_of(flows().submissions[kind]).table
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        with transaction() as session:
            session.connection().exec_driver_sql(f"UPDATE {table} SET {changes}")
        return stands(product, kind)

    failed = {"state": "'failed'", "unconfirmed": "false"}
    assert becomes("travel_claim", **failed) == ("failed", travel_claims.WORDS["failed"])
    assert becomes("travel_claim", unconfirmed="true") == ("failed", travel_claims.UNCONFIRMED_WORDS)
    assert becomes("travel_claim", state="'duplicate'", unconfirmed="false")[1] == travel_claims.WORDS["duplicate"]
    assert becomes("travel_pay_claim", state="'duplicate'") == ("duplicate", PAY_WORDS["duplicate"])
    assert becomes("form526_submission", **failed) == ("failed", SUBMISSION_WORDS["failed"])
    assert becomes("form526_submission", unconfirmed="true") == ("failed", SUBMISSION_UNCONFIRMED)
    assert becomes("form526_document", lighthouse_status="'done'", finished_at="now()", poll_due_at="NULL") == (
        "done",
        "This document is in your file.",
    )
    assert becomes("intent_to_file", used_at="now()") == ("confirmed", itf.USED_WORDS)
    assert becomes("intent_to_file", used_at="NULL", expires_at="asked_at + interval '1 ms'")[1] == itf.ENDED_WORDS
    assert becomes("intent_to_file", state="'used'", refresh_due_at="NULL") == ("used", itf.GONE_WORDS["used"])
    assert becomes("intent_to_file", state="'broken'", refresh_due_at="NULL") == ("broken", itf.GONE_WORDS["broken"])
    assert becomes("intent_to_file", **failed) == ("failed", itf.GONE_WORDS["failed"])
    assert becomes("intent_to_file", unconfirmed="true") == ("failed", itf.UNCONFIRMED_WORDS)
    # The page of valid ones does not have it.
    (item,) = [each for each in listed(product) if each["type"] == "intent_to_file"]
    assert item["statusUrl"] is None and sign_in(product).shown() == []


def test_nobody_sees_what_is_not_theirs(product: Product) -> None:
    file_everything(product)
    product.work()
    assert {each["type"] for each in listed(product)} == KINDS
    assert listed(product, BEN) == []
    sign_in(product, BEN).ask()
    product.work()
    assert [each["type"] for each in listed(product, BEN)] == ["intent_to_file"]
    assert product.app.test_client().get(URL).status_code == 401
    # The place in somebody else's list is one in the caller's own, and no key to anything.
    others = page(product, limit=1)["meta"]["next"]
    assert {each["type"] for each in page(product, BEN, after=others)["data"]} <= {"intent_to_file"}


@pytest.mark.parametrize("at_once", [False, True])
def test_pages_stay_as_they_are_while_more_is_filed(product: Product, at_once: bool) -> None:
    """Also where several were requested at the same instant: then their ids decide."""
    pays = traveling(product)
    for day in range(1, 8):
        pays.file(f"2031-03-0{day}T09:30:00")
    if at_once:
        with transaction() as session:
            session.connection().exec_driver_sql("UPDATE travel_pay_claims SET requested_at = now()")
    whole = [each["id"] for each in listed(product)]
    assert len(set(whole)) == 7

    walked, following = [], {}
    for day in range(1, 4):
        found = page(product, limit=3, **following)
        walked += [each["id"] for each in found["data"]]
        assert (found["meta"]["next"] is None) == (day == 3)
        following = {"after": found["meta"]["next"]}
        pays.file(f"2031-04-0{day}T09:30:00")
    assert walked == whole
    assert len(listed(product)) == 10
    assert page(product, limit=10)["meta"] == {"next": None}


WRONG = [
    "x",
    "é",
    "A" * 401,
    "=" * 5,
    Place("2031-03-04", "x").written(),
    Place("2031-03-04T09:30:00", "0" * 32).written(),
]


@pytest.mark.parametrize(
    "query", [*({"after": each} for each in WRONG), *({"limit": each} for each in ("0", "101", "-1", "x", "１"))]
)
def test_what_cannot_be_read_is_refused(product: Product, query: dict[str, str]) -> None:
    response = get(product, **query)
    (error,) = response.get_json()["errors"]
    assert (response.status_code, error["code"], error["status"]) == (400, "103", "400")


def test_what_is_synthetic_says_so(product: Product) -> None:
    chosen(product)
    with product.app.app_context():
        housekeeping.file_synthetic()
    product.work()
    sign_in(product, BEN).ask()
    assert {(each["type"], each["synthetic"]) for each in listed(product)} == {(kind, True) for kind in KINDS}
    traveling(product).file("2031-03-08T09:30:00")
    assert [each["synthetic"] for each in listed(product)[:2]] == [False, True]
