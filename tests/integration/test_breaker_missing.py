"""A missing breaker: nothing passes for anybody, the audit names it, and repair creates it again carefully."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from flaskapp import REGISTERED
from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from outbox import breakers, sync_calls
from outbox.sync_calls import BreakerOpen
from outbox.values import QueueSpec
from tests.integration.hold_steps import HOUR, hold, trip_breaker
from tests.integration.steps import command, file_claim, publish, reconfigure
from tests.integration.travel_pay_reading import reads, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling
from tests.ledger import CALLS, SETTINGS, Ledger
from tests.product import Product

LOSE = "DELETE FROM outbox_breakers"
LOSE_BTSSS = f"{LOSE} WHERE upstream = 'btsss' RETURNING 1"
BREAKER = """
    SELECT opened_at IS NOT NULL AS opened, reason, trips, concurrency_limit,
           extract(epoch FROM open_until - outbox_now())::float AS seconds
      FROM outbox_breakers WHERE upstream = 'btsss'
"""
REPAIRS = "SELECT count(*) FROM outbox_history WHERE what = 'audit.repaired' AND subject_id = 'btsss'"
OPEN_TRIPS = "SELECT reason FROM outbox_breaker_trips WHERE closed_at IS NULL"


def release(ledger: Ledger) -> None:
    with ledger.engine.begin() as db:
        breakers.ensure_breakers(db, [CALLS], settings=SETTINGS)


def rules(product: Product) -> list[str]:
    faults = json.loads(command(product, "audit", "--json").stdout)["faults"]
    return [f"{fault['upstream']}: {fault['rule']}" for fault in faults]


def repair(product: Product) -> list[Any]:
    done = json.loads(command(product, "audit", "--repair", "--json").stdout)["repaired"]
    return [(item["about"], item["rule"], item["did"], item["repaired"]) for item in done]


# -- nothing passes, for anybody ------------------------------------------------


def test_without_its_breaker_nothing_is_published_granted_or_read(ledger: Ledger) -> None:
    ledger.add()
    ((message_id, fence),) = ledger.publish()
    ledger.add()
    ledger.run(LOSE)
    assert ledger.publish() == []
    assert (ledger.grant(message_id, fence), ledger.state(message_id)) == (None, "ready")
    with ledger.engine.begin() as db, pytest.raises(BreakerOpen):
        sync_calls.enter(db, "clerk", 5.0, "somebody")


def test_neither_a_lost_probe_nor_a_hold_lets_anything_pass(ledger: Ledger) -> None:
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    ledger.run(LOSE)
    assert (ledger.grant(message_id, fence), ledger.publish()) == (None, [])
    release(ledger)
    hold(ledger, HOUR)
    ledger.run(LOSE)
    assert (ledger.relay.move(CALLS), ledger.relay.move(CALLS)) == (0, 0)
    assert ledger.states() == {message_id: "ready"}


def test_work_without_an_upstream_needs_no_breaker(ledger: Ledger) -> None:
    ledger.run(LOSE)
    chores = QueueSpec("chores", None, 1, 20)
    message_id = ledger.add(queue=chores)
    ((published, fence),) = ledger.publish(chores)
    assert ledger.grant(published, fence) is not None
    assert published == message_id


# -- created again -------------------------------------------------------------


def test_a_release_creates_a_new_upstreams_breaker_closed_and_a_lost_one_open(ledger: Ledger) -> None:
    assert ledger.breaker()["opened_at"] is None
    grant = ledger.start()
    ledger.end(grant)
    ledger.run(LOSE)
    release(ledger)
    assert (ledger.breaker()["reason"], ledger.publish()) == ("breaker was missing", [])
    ledger.add()
    ledger.add()
    ledger.pass_time(11)
    assert len(ledger.publish()) == 1, "one probe"


def test_a_breaker_lost_while_open_stays_open_for_as_long_as_its_cap(ledger: Ledger) -> None:
    trip_breaker(ledger)
    ledger.pass_time(5)
    (trip,) = ledger.rows("SELECT opened_at, reason FROM outbox_breaker_trips")
    ledger.run(LOSE)
    release(ledger)
    breaker = ledger.breaker()
    assert (breaker["opened_at"], breaker["reason"]) == (trip["opened_at"], "unavailable")
    ledger.pass_time(SETTINGS.cap_seconds - 10)
    assert ledger.publish() == []
    ledger.pass_time(11)
    assert len(ledger.publish()) == 1
    assert len(ledger.rows("SELECT 1 FROM outbox_breaker_trips")) == 1


def test_a_release_leaves_an_existing_breaker_as_it_is(ledger: Ledger) -> None:
    trip_breaker(ledger)
    before = ledger.breaker()
    release(ledger)
    assert ledger.breaker() == before
    ledger.run("UPDATE outbox_breakers SET concurrency_limit = 7, reason = NULL")
    release(ledger)
    assert ledger.breaker() == {**before, "reason": None}
    assert len(ledger.rows("SELECT 1 FROM outbox_breaker_trips")) == 1


# -- named and repaired ----------------------------------------------------------


def test_the_audit_names_a_missing_breaker_and_repair_keeps_it_open_until_a_probe_is_answered(
    product: Product,
) -> None:
    reconfigure(product, breaker_open_seconds=30.0, breaker_cap_seconds=900.0)
    for day in ("2031-06-01", "2031-06-02", "2031-06-03"):
        file_claim(product, date=day)
    publish(product)
    product.rows(LOSE_BTSSS)
    product.run_queued()
    assert (product.submits(), {each["state"] for each in product.messages()}) == ([], {"ready"})
    product.move_clock(timedelta(minutes=20))
    assert rules(product) == ["btsss: breaker_missing"], "and no rule about a relay that does not work"
    said = "It is there again and open; then one probe goes, and its flow starts slowly."
    assert repair(product) == [("breaker btsss", "breaker_missing", said, True)]
    assert rules(product) == []
    (breaker,) = product.rows(BREAKER)
    found = (breaker.opened, breaker.reason, breaker.concurrency_limit, 20 < breaker.seconds <= 30)
    assert found == (True, "breaker was missing", TRAVEL_CLAIMS.concurrency, True)
    publish(product)
    assert {each["state"] for each in product.messages()} == {"ready"}
    product.move_clock(timedelta(minutes=20, seconds=31))
    publish(product)
    assert sorted(each["state"] for each in product.messages()) == ["published", "ready", "ready"]
    product.work()
    assert (len(product.filed()), product.value(BREAKER)) == (3, False)
    assert product.value(REPAIRS) == 1


def test_repair_takes_reason_and_start_from_the_recorded_trip(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=30.0, breaker_cap_seconds=900.0)
    product.control.set("btsss", "throttle", operation="submitclaim", retry_after="600")
    file_claim(product)
    publish(product)
    product.run_queued()
    product.rows(LOSE_BTSSS)
    assert rules(product) == ["btsss: breaker_missing"]
    assert len(repair(product)) == 1
    (breaker,) = product.rows(BREAKER)
    assert (breaker.reason, 800 < breaker.seconds <= 900) == ("throttled", True)
    assert (rules(product), product.rows(OPEN_TRIPS)) == ([], [("throttled",)])


def test_a_missing_breaker_of_an_upstream_that_is_only_read_is_named_too(product: Product) -> None:
    product.rows(f"{LOSE} WHERE upstream = 'va_profile' RETURNING 1")
    assert rules(product) == ["va_profile: breaker_missing"]
    assert len(repair(product)) == 1
    assert rules(product) == []


@pytest.mark.parametrize("limit", [1, 100_000])
def test_a_limit_changed_by_hand_is_named_and_set_back(product: Product, limit: int) -> None:
    product.rows(f"UPDATE outbox_breakers SET concurrency_limit = {limit} WHERE upstream = 'btsss' RETURNING 1")
    assert rules(product) == ["btsss: breaker_limit_differs"]
    assert [done[1:] for done in repair(product)] == [
        ("breaker_limit_differs", "Its limit is that of its queue again.", True)
    ]
    (breaker,) = product.rows(BREAKER)
    assert (breaker.opened, breaker.concurrency_limit, rules(product)) == (False, TRAVEL_CLAIMS.concurrency, [])


def test_a_missing_breaker_is_listed_as_missing_measured_as_open_and_cannot_be_held(product: Product) -> None:
    product.rows(LOSE_BTSSS)
    found = {
        breaker["upstream"]: breaker["missing"]
        for breaker in json.loads(command(product, "breakers", "list", "--json").stdout)
    }
    assert found == dict.fromkeys(REGISTERED.breaker_limits, False) | {"btsss": True}
    assert 'surefile_breaker_open{upstream="btsss"} 1.0' in product.metrics()
    refused = command(product, "breakers", "hold", "btsss", "--for", "1h", "--reason", "their data center moves")
    assert refused.exit_code == 1 and "`flask audit --repair` makes it again" in refused.output


def test_preflight_fails_while_the_breaker_of_intents_to_file_is_missing(product: Product) -> None:
    assert command(product, "itf", "preflight").exit_code == 0
    product.rows(f"{LOSE} WHERE upstream = 'lighthouse_claims' RETURNING 1")
    result = command(product, "itf", "preflight")
    assert result.exit_code == 1 and "missing breakers" in result.output


# -- synchronous callers --------------------------------------------------------


def test_a_caller_of_an_upstream_without_a_breaker_is_refused_at_once(product: Product) -> None:
    reconfigure(product, travel_pay_wait_seconds=60.0)
    person = traveling(product)
    assert person.get(CLAIMS_URL).status_code == 200
    before = reads(product)
    product.rows(f"{LOSE} WHERE upstream IN ('accounts', 'travel_pay') RETURNING 1")
    response = person.get(CLAIMS_URL)
    assert (refusal(response), reads(product)) == ((503, "503"), before)
    assert int(response.headers["Retry-After"]) == sync_calls.MISSING_SECONDS
    began = time.monotonic()
    assert person.post().status_code == 202
    assert time.monotonic() - began < 30
