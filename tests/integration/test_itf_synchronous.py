"""Synchronous ITF calls: the caller gets upstream's own answer, errors included, and what was learned is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from flaskapp.db import db
from sandbox.upstreams.cast import DEFAULT_CAST, veteran_from
from tests.integration.itf_refresh_steps import change, row_of
from tests.integration.itf_steps import (
    CREATES,
    WITH_ITF,
    WITHOUT_ICN,
    creates,
    itfs,
    on_file,
    pass_time,
    reads,
    sign_in,
)
from tests.integration.steps import command, reconfigure
from tests.product import ADA, Product, eventually

BEN, CARLA = DEFAULT_CAST[1:3]
KEPT = ("accounts", "intents_to_file", "outbox_messages", "outbox_attempts", "outbox_history", "idempotency_keys")
SYNC_APP = {"Source-App-Name": "995-supplemental-claim"}


def attributes(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return response.get_json()["data"]["attributes"]["intentToFile"]


def error(response: Any) -> tuple[int, str]:
    """The HTTP status, and the status in the only entry of `errors[]`."""
    (entry,) = response.get_json()["errors"]
    assert entry["title"] and entry["detail"] and entry["code"] != "200"
    return response.status_code, entry["status"]


def ssn_sent(product: Product) -> list[str]:
    bodies = [entry["body"] for entry in product.control.received("lighthouse", CREATES)]
    return [body["data"]["attributes"]["claimantSsn"] for body in bodies]


def test_a_pension_itf_is_created_and_read_synchronously(product: Product) -> None:
    person = sign_in(product)
    assert error(person.get("/pension")) == (404, "404")
    made = attributes(person.post("pension"))
    (filed,) = on_file(product)
    assert (made["id"], made["status"], made["type"], made["recordState"]) == (
        filed["id"],
        "active",
        "pension",
        "confirmed",
    )
    assert datetime.fromisoformat(made["creationDate"]) == datetime.fromisoformat(filed["created_at"])
    assert attributes(person.get("/pension")) == [made]
    assert (reads(product), creates(product), ssn_sent(product)) == (2, 1, [""])
    (row,) = itfs(product)
    assert (row["state"], row["path"], row["type"], row["upstream_id"]) == (
        "confirmed",
        "synchronous",
        "pension",
        made["id"],
    )
    assert row["last_synced_at"] > row["asked_at"]
    assert (product.outstanding(), product.value("SELECT count(*) FROM notifications")) == (0, 0)
    assert "intent_to_file: 1 notified" in command(product, "audit").output
    assert person.shown() == []


def test_a_survivors_itf_is_requested_with_the_callers_ssn_which_is_not_kept(product: Product) -> None:
    """It is filed under another person's record: upstream refuses a survivor with the veteran's own number."""
    spouse = veteran_from({"icn": ADA.icn, "ssn": "900112233"})
    product.fakes.fakes.cast.add(spouse)
    product.fakes.fakes.cast.add(ADA)
    made = attributes(sign_in(product, spouse).post("survivor"))
    assert ssn_sent(product) == ["900112233"]
    assert (made["type"], itfs(product)[0]["state"]) == ("survivor", "confirmed")
    assert error(sign_in(product, BEN).post("survivor")) == (422, "422")
    assert ssn_sent(product)[1] == BEN.ssn
    with_ssn = [
        row for table in KEPT for row in product.rows(f"SELECT t::text FROM {table} t WHERE t::text LIKE '%900112233%'")
    ]
    assert with_ssn == []


def test_synchronous_callers_and_accounts_outside_the_share_are_treated_alike(product: Product) -> None:
    for person, headers, percent in ((sign_in(product), SYNC_APP, 100), (sign_in(product, BEN), {}, 0)):
        reconfigure(product, itf_async_percent=percent)
        assert attributes(person.get("", **headers)) == attributes(person.get(**headers)) == []
        made = attributes(person.post(**headers))
        (filed,) = on_file(product, person.veteran)
        assert made["id"] == filed["id"]
        row = row_of(product, person.veteran)
        assert (row["state"], row["path"], product.outstanding()) == ("confirmed", "synchronous", 0)
        reads_before = reads(product)
        assert person.shown() == [made]
        assert (reads(product), attributes(person.post())["id"]) == (reads_before, filed["id"])
    assert creates(product) == 2


def test_an_itf_filed_elsewhere_is_shown_and_kept_with_its_own_dates(product: Product) -> None:
    person = sign_in(product, WITH_ITF["active"])
    (shown,) = attributes(person.get(**SYNC_APP))
    (filed,) = on_file(product, WITH_ITF["active"])
    (row,) = itfs(product)
    created = datetime.fromisoformat(filed["created_at"])
    assert (shown["id"], datetime.fromisoformat(shown["creationDate"])) == (filed["id"], created)
    assert (row["effective_date"], row["expires_at"].isoformat(timespec="milliseconds")) == (
        created,
        shown["expirationDate"],
    )
    assert person.ask()["id"] == filed["id"] and creates(product) == 0


def test_a_pending_itf_is_left_to_its_job(product: Product) -> None:
    person = sign_in(product)
    person.ask()
    before = itfs(product)
    made = attributes(person.post(**SYNC_APP))
    assert attributes(person.get(**SYNC_APP)) == [made]
    assert itfs(product) == before
    product.work()
    (row,) = itfs(product)
    assert (row["state"], row["how"], row["upstream_id"], creates(product)) == ("confirmed", "found", made["id"], 1)


def test_upstreams_refusals_and_failures_keep_their_status(product: Product) -> None:
    reconfigure(product, itf_async_percent=0)
    person = sign_in(product)
    assert attributes(person.get()) == []
    for status in (429, 500, 502, 503, 504):
        product.control.set("lighthouse", "status", status=status, operation="/services/claims")
        assert error(person.get()) == error(person.get("/pension")) == error(person.post()) == (status, str(status))
        product.control.clear("lighthouse")
    for status, own in ((400, 502), (422, 422)):
        product.control.set("lighthouse", "status", status=status, operation="/services/claims")
        # A read has no refusal of its person; only a creation has one, in words of the contract.
        assert error(person.get()) == error(person.get("/pension")) == (502, "502")
        assert error(person.post()) == (own, str(own))
        product.control.clear("lighthouse")
    product.control.set("lighthouse", "status", status=404, operation="/services/claims")
    assert attributes(person.get()) == []
    assert error(person.get("/pension")) == error(person.post()) == (404, "404")
    assert itfs(product) == []


@pytest.mark.parametrize("upstream", ["lighthouse", "accounts"])
@pytest.mark.parametrize("status", [401, 403])
def test_our_own_refused_key_signs_nobody_out(product: Product, upstream: str, status: int) -> None:
    reconfigure(product, itf_async_percent=0)
    person = sign_in(product)
    product.control.set(upstream, "status", status=status)
    response = person.get("/pension")
    assert error(response) == error(person.post("pension")) == (503, "503")
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("body", ['{"message":"no Route matched with those values"}', "<html>Not found</html>", ""])
def test_a_gateways_404_never_says_that_there_is_no_itf(product: Product, body: str) -> None:
    reconfigure(product, itf_async_percent=0)
    person = sign_in(product)
    person.get()
    product.control.set("lighthouse", "answer", status=404, body=body, operation="/services/claims")
    assert error(person.get()) == error(person.get("/pension")) == error(person.post("pension")) == (502, "502")
    assert itfs(product) == []


def test_no_answer_is_a_504_and_an_unreadable_one_a_502(product: Product) -> None:
    reconfigure(product, itf_async_percent=0)
    patience = product.app.extensions["config"].itf_sync_seconds
    person = sign_in(product)
    person.get()
    silent = [("slow", {"seconds": 2}), ("late", {"seconds": 2}), ("drop", {}), ("down", {}), ("half", {})]
    nonsense = [("html", {"status": 200}), ("empty", {"status": 200})]
    for faults, status in ((silent, 504), (nonsense, 502)):
        for kind, fields in faults:
            # Only slow answers meet the short limit: a busy machine may need as long for any other.
            reconfigure(product, itf_sync_seconds=0.2 if kind in ("slow", "late") else patience)
            product.control.set("lighthouse", kind, operation="/services/claims", **fields)
            assert error(person.get()) == error(person.post("pension")) == (status, str(status)), kind
            product.control.clear("lighthouse")
    product.control.set("lighthouse", "refuse")
    assert error(person.get()) == (504, "504")
    assert itfs(product) == []


def connections_during(product: Product, upstream: str, request: Callable[[], Any]) -> int:
    """Our database connections in use while this upstream takes its time over a request."""
    product.control.set(upstream, "hold")
    before = len(product.control.received(upstream))
    with ThreadPoolExecutor(1) as hands:
        response = hands.submit(request)
        eventually(lambda: len(product.control.received(upstream)) > before)
        held: int = db.engine.pool.checkedout()
        assert not response.done()
        product.control.clear(upstream)
    assert response.result().status_code in (200, 404, 422)
    return held


@pytest.mark.parametrize("status", ["active", "duplicate"])
def test_one_that_has_expired_is_never_told_as_on_record(product: Product, status: str) -> None:
    dates = {"creationDate": "2024-01-01T00:00:00Z", "expirationDate": "2025-01-01T00:00:00Z"}
    body = {"data": {"id": "1", "type": "intent_to_file", "attributes": {"type": "pension", "status": status, **dates}}}
    product.control.set("lighthouse", "answer", status=200, body=json.dumps(body), operation=CREATES)
    assert (error(sign_in(product).post("pension")), itfs(product)) == ((502, "502"), [])


def test_what_upstream_shows_no_more_is_not_listed_as_on_record(product: Product) -> None:
    """An hour later that counts, and a human has it: upstream also answers so for a passing fault."""
    person = sign_in(product)
    attributes(person.post("pension"))
    change(product, ADA, status="canceled")
    assert error(person.get("/pension")) == (404, "404")
    client = product.app.test_client()
    assert client.get("/v0/intents_to_file", headers=person.headers).get_json() == {"data": []}
    assert (itfs(product)[0]["state"], product.cases()) == ("confirmed", [])
    pass_time(product, hours=2)
    assert error(sign_in(product).get("/pension")) == (404, "404")
    assert (itfs(product)[0]["state"], product.cases()) == ("broken", ["broken"])


def test_no_database_connection_is_held_during_a_synchronous_call(product: Product) -> None:
    person, key = sign_in(product), {"Idempotency-Key": "one"}
    assert connections_during(product, "accounts", lambda: person.get("/pension")) == 0
    assert connections_during(product, "lighthouse", lambda: person.get("/pension")) == 0
    assert connections_during(product, "lighthouse", lambda: person.get(**SYNC_APP)) == 0
    assert connections_during(product, "lighthouse", lambda: person.post("pension", **key)) == 0
    assert connections_during(product, "accounts", lambda: person.post("survivor")) == 0


def test_without_an_icn_the_call_is_refused_and_upstream_is_not_called(product: Product) -> None:
    person = sign_in(product, WITHOUT_ICN)
    for response in (person.get("/pension"), person.post("pension"), person.get(**SYNC_APP)):
        assert error(response) == (403, "403")
        assert response.get_json()["errors"][0]["code"] == "NO_ICN"
    assert (product.control.received("lighthouse"), itfs(product)) == ([], [])


def test_a_failure_of_the_account_service_is_reported_like_one_of_any_upstream(product: Product) -> None:
    person = sign_in(product)
    for status in (500, 503):
        product.control.set("accounts", "status", status=status)
        assert error(person.get("/pension")) == error(person.post("survivor")) == (status, str(status))
        product.control.clear("accounts")
