"""A gate that is not there is closed, for everybody alike; the audit names it, and repair makes it again with care."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.queues import GATE_LIMITS, TRAVEL_CLAIMS
from outbox import gates, sync_calls
from outbox.sync_calls import GateClosed
from outbox.values import QueueSpec
from tests.house import House
from tests.integration.hold_steps import HOUR, close_gate, hold
from tests.integration.steps import command, file_claim, publish, reconfigure
from tests.integration.travel_pay_reading import reads, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling
from tests.ledger import CALLS, SETTINGS, Ledger

LOSE = "DELETE FROM outbox_gates"
LOSE_BTSSS = f"{LOSE} WHERE upstream = 'btsss' RETURNING 1"
GATE = """
    SELECT closed_at IS NOT NULL AS closed, reason, closings, concurrency_limit,
           extract(epoch FROM closed_until - outbox_now())::float AS seconds
      FROM outbox_gates WHERE upstream = 'btsss'
"""
REPAIRS = "SELECT count(*) FROM outbox_history WHERE what = 'audit.repaired' AND subject_id = 'btsss'"
OPEN_CLOSINGS = "SELECT reason FROM outbox_gate_closings WHERE opened_at IS NULL"


def release(ledger: Ledger) -> None:
    with ledger.engine.begin() as db:
        gates.ensure_gates(db, [CALLS], settings=SETTINGS)


def rules(house: House) -> list[str]:
    faults = json.loads(command(house, "audit", "--json").stdout)["faults"]
    return [f"{fault['upstream']}: {fault['rule']}" for fault in faults]


def repair(house: House) -> list[Any]:
    done = json.loads(command(house, "audit", "--repair", "--json").stdout)["repaired"]
    return [(item["about"], item["rule"], item["did"], item["mended"]) for item in done]


# -- closed, for everybody -----------------------------------------------------


def test_without_its_gate_nothing_is_published_nor_granted_nor_read(ledger: Ledger) -> None:
    ledger.add()
    ((message_id, fence),) = ledger.publish()
    ledger.add()
    ledger.run(LOSE)
    assert ledger.publish() == []
    assert (ledger.grant(message_id, fence), ledger.state(message_id)) == (None, "ready")
    with ledger.engine.begin() as db, pytest.raises(GateClosed):
        sync_calls.enter(db, "clerk", 5.0)


def test_a_lost_canary_and_a_hold_change_nothing_about_it(ledger: Ledger) -> None:
    close_gate(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    ledger.run(LOSE)
    assert (ledger.grant(message_id, fence), ledger.publish()) == (None, [])
    release(ledger)
    hold(ledger, HOUR)
    ledger.run(LOSE)
    assert (ledger.relay.move(CALLS), ledger.relay.move(CALLS)) == (0, 0)
    assert ledger.states() == {message_id: "ready"}


def test_work_for_no_upstream_knows_no_gate(ledger: Ledger) -> None:
    ledger.run(LOSE)
    chores = QueueSpec("chores", None, 1, 20)
    message_id = ledger.add(queue=chores)
    ((published, fence),) = ledger.publish(chores)
    assert ledger.grant(published, fence) is not None
    assert published == message_id


# -- made again ----------------------------------------------------------------


def test_a_release_opens_the_gate_of_a_new_upstream_and_closes_that_of_one_it_had_before(ledger: Ledger) -> None:
    assert ledger.gate()["closed_at"] is None
    grant = ledger.start()
    ledger.end(grant)
    ledger.run(LOSE)
    release(ledger)
    assert (ledger.gate()["reason"], ledger.publish()) == ("gate was missing", [])
    ledger.add()
    ledger.add()
    ledger.pass_time(11)
    assert len(ledger.publish()) == 1, "one canary"


def test_of_a_gate_lost_while_it_was_closed_nobody_knows_for_how_long(ledger: Ledger) -> None:
    close_gate(ledger)
    ledger.pass_time(5)
    (closing,) = ledger.rows("SELECT closed_at, reason FROM outbox_gate_closings")
    ledger.run(LOSE)
    release(ledger)
    gate = ledger.gate()
    assert (gate["closed_at"], gate["reason"]) == (closing["closed_at"], "unavailable")
    ledger.pass_time(SETTINGS.cap_seconds - 10)
    assert ledger.publish() == []
    ledger.pass_time(11)
    assert len(ledger.publish()) == 1
    assert len(ledger.rows("SELECT 1 FROM outbox_gate_closings")) == 1


def test_a_release_leaves_a_gate_that_is_there_as_it_stands(ledger: Ledger) -> None:
    close_gate(ledger)
    before = ledger.gate()
    release(ledger)
    assert ledger.gate() == before
    ledger.run("UPDATE outbox_gates SET concurrency_limit = 7, reason = NULL")
    release(ledger)
    assert ledger.gate() == {**before, "reason": None}
    assert len(ledger.rows("SELECT 1 FROM outbox_gate_closings")) == 1


# -- named and mended ----------------------------------------------------------


def test_the_audit_names_a_missing_gate_and_repair_makes_it_closed_until_a_canary_has_been_answered(
    house: House,
) -> None:
    reconfigure(house, gate_close_seconds=30.0, gate_cap_seconds=900.0)
    for day in ("2031-06-01", "2031-06-02", "2031-06-03"):
        file_claim(house, date=day)
    publish(house)
    house.rows(LOSE_BTSSS)
    house.run_queued()
    assert (house.submits(), {each["state"] for each in house.messages()}) == ([], {"ready"})
    house.move_clock(timedelta(minutes=20))
    assert rules(house) == ["btsss: gate_missing"], "and not that no relay were at work"
    said = "it is there again, closed for 30 s; then one canary goes, and the flow starts slowly"
    assert repair(house) == [("gate btsss", "gate_missing", said, True)]
    assert rules(house) == []
    (gate,) = house.rows(GATE)
    assert (gate.closed, gate.reason, gate.concurrency_limit) == (True, "gate was missing", TRAVEL_CLAIMS.concurrency)
    publish(house)
    assert {each["state"] for each in house.messages()} == {"ready"}
    house.move_clock(timedelta(minutes=20, seconds=31))
    publish(house)
    assert sorted(each["state"] for each in house.messages()) == ["published", "ready", "ready"]
    house.work()
    assert (len(house.filed()), house.value(GATE)) == (3, False)
    assert house.value(REPAIRS) == 1


def test_repair_keeps_to_what_the_book_says_of_a_gate_lost_while_closed(house: House) -> None:
    reconfigure(house, gate_close_seconds=30.0, gate_cap_seconds=900.0)
    house.control.set("btsss", "throttle", operation="submitclaim", retry_after="600")
    file_claim(house)
    publish(house)
    house.run_queued()
    house.rows(LOSE_BTSSS)
    assert rules(house) == ["btsss: gate_missing"]
    ((_, _, did, _),) = repair(house)
    (gate,) = house.rows(GATE)
    assert (gate.reason, 800 < gate.seconds <= 900) == ("throttled", True)
    assert "closed for 900 s" in did
    assert (rules(house), house.rows(OPEN_CLOSINGS)) == ([], [("throttled",)])


def test_a_gate_of_those_who_only_read_is_missed_too(house: House) -> None:
    house.rows(f"{LOSE} WHERE upstream = 'va_profile' RETURNING 1")
    assert rules(house) == ["va_profile: gate_missing"]
    assert len(repair(house)) == 1
    assert rules(house) == []


@pytest.mark.parametrize("limit", [1, 100_000])
def test_a_limit_changed_by_hand_is_named_and_set_back(house: House, limit: int) -> None:
    house.rows(f"UPDATE outbox_gates SET concurrency_limit = {limit} WHERE upstream = 'btsss' RETURNING 1")
    assert rules(house) == ["btsss: gate_limit_differs"]
    assert [done[1:] for done in repair(house)] == [
        ("gate_limit_differs", f"its limit is {TRAVEL_CLAIMS.concurrency} again", True)
    ]
    (gate,) = house.rows(GATE)
    assert (gate.closed, gate.concurrency_limit, rules(house)) == (False, TRAVEL_CLAIMS.concurrency, [])


def test_it_is_listed_as_missing_measured_as_closed_and_held_by_nobody(house: House) -> None:
    house.rows(LOSE_BTSSS)
    found = {gate["upstream"]: gate["missing"] for gate in json.loads(command(house, "gates", "list", "--json").stdout)}
    assert found == dict.fromkeys(GATE_LIMITS, False) | {"btsss": True}
    assert 'surefile_gate_closed{upstream="btsss"} 1.0' in house.app.test_client().get("/metrics").text
    refused = command(house, "gates", "hold", "btsss", "--for", "1h", "--reason", "they move house")
    assert refused.exit_code == 1 and "`flask audit --repair` makes it again" in refused.output


def test_no_rollout_of_intents_to_file_begins_without_the_gate_they_go_through(house: House) -> None:
    assert command(house, "itf", "preflight").exit_code == 0
    house.rows(f"{LOSE} WHERE upstream = 'lighthouse_claims' RETURNING 1")
    result = command(house, "itf", "preflight")
    assert result.exit_code == 1 and "missing gates" in result.output


# -- people who wait -----------------------------------------------------------


def test_whoever_waits_for_an_upstream_without_a_gate_is_told_so_at_once(house: House) -> None:
    reconfigure(house, travel_pay_wait_seconds=60.0)
    person = traveling(house)
    assert person.get(CLAIMS_URL).status_code == 200
    before = reads(house)
    house.rows(f"{LOSE} WHERE upstream IN ('accounts', 'travel_pay') RETURNING 1")
    response = person.get(CLAIMS_URL)
    assert (refusal(response), reads(house)) == ((503, "503"), before)
    assert int(response.headers["Retry-After"]) == sync_calls.MISSING_SECONDS
    began = time.monotonic()
    assert person.post().status_code == 202
    assert time.monotonic() - began < 30
