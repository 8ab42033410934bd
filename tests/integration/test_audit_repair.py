"""Repair of damage from outside: it is found, named and repaired where that is safe; a human gets the rest as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from jobs import housekeeping, travel_claims
from outbox import rq_side
from tests.integration.steps import (
    RequestedClaim,
    call,
    command,
    file_claim,
    filed_and_not_notified_yet,
    filed_and_notified,
    publish,
    refused,
    sends,
    sweep,
    take,
    texts,
)
from tests.product import Product


def waiting(product: Product) -> RequestedClaim:
    return file_claim(product)


def sent_and_not_settled(product: Product) -> RequestedClaim:
    claim = file_claim(product)
    assert call(product, take(product, claim)).kind == "accepted"
    return claim


def put_aside_and_requeued(product: Product) -> RequestedClaim:
    """Its case is open until the message is done, and says nothing of one that is lost."""
    claim = file_claim(product)
    number = str(claim.message["id"])
    assert command(product, "outbox", "park", number, "--reason", "let us see").exit_code == 0
    assert command(product, "outbox", "requeue", number).exit_code == 0
    sweep(product)
    return claim


def damage(product: Product, *statements: str) -> None:
    for statement in statements:
        product.rows(f"{statement} RETURNING 1")


def found(product: Product, *options: str) -> dict[str, Any]:
    return json.loads(command(product, "audit", "--json", *options).stdout)


def broken_rules(product: Product) -> set[str]:
    return {item["rule"] for item in found(product)["broken"]}


Stage = Callable[[Product], RequestedClaim]
NO_CASES = "DELETE FROM cases"
CLOSE_CASES = "UPDATE cases SET closed_at = outbox_now(), closed_by = 'x'"
OPEN_BTSSS = "UPDATE outbox_breakers SET opened_at = outbox_now()"
NO_CASE_IN_HISTORY = "DELETE FROM outbox_history WHERE what = 'case.opened'"


@pytest.mark.parametrize(
    ("stage", "statements", "rules", "notified_by"),
    [
        (waiting, ["DELETE FROM outbox_messages"], {"pending_without_work"}, ["cie.created"]),
        (sent_and_not_settled, ["DELETE FROM outbox_messages"], {"pending_without_work"}, ["cie.created"]),
        (filed_and_not_notified_yet, ["DELETE FROM outbox_messages"], {"pending_without_work"}, ["cie.created"]),
        (put_aside_and_requeued, ["DELETE FROM outbox_messages"], {"pending_without_work"}, ["cie.created"]),
        (filed_and_notified, ["DELETE FROM notifications"], {"notification_missing"}, ["cie.created"]),
        (refused, ["DELETE FROM notifications"], {"notification_missing"}, ["cie.error"]),
        (filed_and_not_notified_yet, ["DELETE FROM notifications"], {"notification_missing"}, ["cie.created"]),
        (refused, [NO_CASES], {"case_missing", "failed_without_case", "parked_without_case"}, ["cie.error"]),
        (refused, [CLOSE_CASES], {"case_closed_silently"}, ["cie.error"]),
    ],
)
def test_lost_work_is_outstanding_or_held_again_and_nothing_is_done_twice(
    product: Product, stage: Stage, statements: list[str], rules: set[str], notified_by: list[str]
) -> None:
    claim = stage(product)
    cases = product.cases()
    damage(product, *statements)
    assert broken_rules(product) == rules
    housekeeping.audit_all()
    assert set(product.cases()) - set(cases), "meanwhile a human has it"
    repaired = found(product, "--repair")
    assert {item["rule"] for item in repaired["repaired"]} == rules
    assert all(item["repaired"] or item["did"] == "it is no longer broken" for item in repaired["repaired"])
    assert (repaired["broken"], repaired["unaccounted"]) == ([], 0)
    product.work()
    assert (texts(product, len(notified_by)), len(sends(product)), product.cases()) == (notified_by, 1, cases)
    assert len(product.submits()) == 1, "what may have been sent was looked up"
    assert command(product, "audit", "--trace").exit_code == 0
    kept = "SELECT count(*) FROM outbox_history WHERE what = 'audit.repaired' AND actor LIKE 'shell:%'"
    assert product.value(kept) == sum(item["repaired"] for item in repaired["repaired"]) >= 1
    assert claim.state["state"] != "pending"


@pytest.mark.parametrize(
    ("stage", "statements", "rules"),
    [
        (filed_and_notified, ["UPDATE travel_claims SET state = 'duplicate'"], {"unexplained"}),
        (
            filed_and_notified,
            ["UPDATE travel_claims SET state = 'pending', finished_at = NULL"],
            {"unexplained", "pending_without_work"},
        ),
        (
            filed_and_notified,
            ["UPDATE notifications SET state = 'pending', finished_at = NULL"],
            {"unexplained", "pending_without_work"},
        ),
        (filed_and_notified, ["DELETE FROM outbox_history WHERE moved_to = 'submitted'"], {"unexplained"}),
        (filed_and_notified, ["DELETE FROM travel_claims"], {"row_gone"}),
        (waiting, ["DELETE FROM travel_claims"], {"row_gone", "work_without_subject"}),
        (refused, [NO_CASES, NO_CASE_IN_HISTORY], {"failed_without_case", "parked_without_case"}),
    ],
)
def test_a_contradiction_goes_to_a_human_as_it_is(
    product: Product, stage: Stage, statements: list[str], rules: set[str]
) -> None:
    stage(product)
    damage(product, *statements)
    assert broken_rules(product) == rules
    assert command(product, "audit").exit_code == 1
    left = found(product, "--repair")
    assert not any(item["repaired"] for item in left["repaired"])
    assert {item["rule"] for item in left["repaired"]} == rules
    assert product.cases() == ["contradiction"]
    assert command(product, "audit").exit_code == 0, "a named human has it"
    assert product.value("SELECT count(*) FROM outbox_messages WHERE state NOT IN ('parked')") == 0
    identifier = str(product.value("SELECT id FROM cases"))
    assert command(product, "cases", "close", identifier, "--resolution", "corrected by hand").exit_code == 0
    housekeeping.audit_all()
    kept = {"pending_without_work"} & rules
    assert bool(product.cases()) == bool(kept), "closing its case explains it, but missing work stays missing"


@pytest.mark.parametrize(
    ("stage", "statement", "template"),
    [
        (filed_and_notified, "UPDATE notifications SET kind = 'error'", "cie.created"),
        (filed_and_notified, "UPDATE notifications SET cycle = 5", "cie.created"),
        (filed_and_notified, "UPDATE travel_claims SET cycle = 2", "cie.created"),
        (filed_and_notified, "UPDATE travel_claims SET notification = 'error'", "cie.created"),
        (refused, "UPDATE travel_claims SET notification = 'created'", "cie.error"),
    ],
)
def test_after_a_notification_that_disagrees_no_other_one_is_sent(
    product: Product, stage: Stage, statement: str, template: str
) -> None:
    stage(product)
    damage(product, statement)
    (left,) = found(product, "--repair")["repaired"]
    assert (left["rule"], left["repaired"]) == ("notification_missing", False)
    assert "contradiction" in product.cases()
    product.work()
    assert (texts(product), len(sends(product))) == ([template], 1)


@pytest.mark.parametrize(
    ("statements", "rule", "is_repaired"),
    [
        (["DELETE FROM outbox_attempts"], "running_without_try", True),
        (["UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 hour'"], "lease_long_over", True),
        (
            [
                "UPDATE outbox_attempts SET started_at = outbox_now() - interval '1 hour'",
                "UPDATE outbox_messages SET state = 'ready', worker_id = NULL, lease_expires_at = NULL",
            ],
            "try_without_running_message",
            True,
        ),
        (
            [f"{OPEN_BTSSS}, open_until = outbox_now() WHERE upstream = 'btsss'"],
            "breaker_and_trips_differ",
            True,
        ),
        (
            [f"{OPEN_BTSSS}, open_until = outbox_now() + interval '9 days' WHERE upstream = 'btsss'"],
            "breaker_open_too_long",
            True,
        ),
        (
            ["UPDATE outbox_breakers SET closed_at = outbox_now() + interval '9 days' WHERE upstream = 'btsss'"],
            "breaker_closed_in_future",
            True,
        ),
    ],
)
def test_damage_to_the_ledger_is_repaired_and_nothing_is_sent_again(
    product: Product, statements: list[str], rule: str, is_repaired: bool
) -> None:
    claim = sent_and_not_settled(product)
    damage(product, *statements)
    assert rule in {item["rule"] for item in found(product)["faults"]}
    repaired = found(product, "--repair")
    assert [item["repaired"] for item in repaired["repaired"] if item["rule"] == rule] == [is_repaired]
    assert rule not in {item["rule"] for item in repaired["faults"]}
    assert product.rows("SELECT id FROM outbox_attempts WHERE finished_at IS NOT NULL AND end_number IS NULL") == []
    assert (claim.state["state"], len(product.submits())) == ("pending", 1)


def test_a_breaker_set_open_for_days_by_hand_sends_a_probe_after_its_cap(product: Product) -> None:
    claim = waiting(product)
    damage(product, f"{OPEN_BTSSS}, open_until = 'infinity' WHERE upstream = 'btsss'")
    rules = {item["rule"]: item["did"] for item in found(product, "--repair")["repaired"]}
    assert rules["breaker_open_too_long"].startswith("It stays open for as long as the cap allows, then is probed.")
    kept = "SELECT subject_id FROM outbox_history WHERE what = 'audit.repaired' AND subject_type = 'breaker'"
    assert {row.subject_id for row in product.rows(kept)} == {"btsss"}
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)


def test_an_open_question_without_an_attempt_is_named_and_left_to_its_budget(product: Product) -> None:
    waiting(product)
    damage(product, "UPDATE outbox_messages SET unresolved_since = outbox_now(), unresolved_why = 'unanswered'")
    left = found(product, "--repair")
    assert [(item["rule"], item["repaired"]) for item in left["repaired"]] == [("question_without_attempt", False)]


def test_pointers_that_redis_restores_or_forgets_are_named_and_corrected(product: Product) -> None:
    claim = waiting(product)
    publish(product)
    stale = (claim.message["id"], claim.message["fence"])
    product.work()
    path = travel_claims.SUBMIT.work.path
    rq_side.push(product.redis, TRAVEL_CLAIMS.name, [(stale[0], path)], stale[1], timeout_seconds=60)
    rq_side.leave_failed(
        product.redis, TRAVEL_CLAIMS.name, *stale, "jobs.ledger.requeue_from_dashboard", "brought back"
    )
    compared = found(product)["redis"]["differences"]
    assert [item["rule"] for item in compared] == ["pointer_stale", "shown_not_parked"]
    assert {item["job_id"] for item in compared} == {rq_side.job_id(*stale)}
    assert command(product, "audit").exit_code == 0, "Redis is not the system of record"
    repaired = found(product, "--repair")
    assert (repaired["redis"]["differences"], product.redis.llen("rq:queue:travel_claims")) == ([], 0)
    assert len(product.submits()) == 1


def test_a_parked_message_that_the_dashboard_lost_is_shown_again(product: Product) -> None:
    refused(product)
    sweep(product)
    product.redis.flushall()
    assert [item["rule"] for item in found(product)["redis"]["differences"]] == ["parked_not_shown"]
    assert found(product, "--repair")["redis"]["differences"] == []
    assert product.redis.zcard("rq:failed:travel_claims") == 1


def test_a_pointer_that_redis_lost_is_named_and_left_to_the_relay(product: Product) -> None:
    waiting(product)
    publish(product)
    product.redis.flushall()
    damage(product, "UPDATE outbox_messages SET published_at = outbox_now() - interval '2 minutes'")
    (left,) = found(product, "--repair")["repaired"]
    assert (left["rule"], left["repaired"]) == ("pointer_missing", False)


def test_a_case_older_than_the_history_stays_closed(product: Product) -> None:
    claim = refused(product)
    values = f"SELECT gen_random_uuid(), 'overdue', subject_type, '{claim.id}', owner, closed_at, 'x' FROM cases"
    damage(product, CLOSE_CASES)
    damage(product, f"INSERT INTO cases (id, kind, subject_type, subject_id, owner, closed_at, closed_by) {values}")
    found(product, "--repair")
    assert product.cases() == ["refused"]
