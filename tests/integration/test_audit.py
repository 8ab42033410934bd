"""The audit finds what nobody accounts for, whatever was lost, and says nothing of what somebody does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flaskapp.audit.report import audit, audit_everything
from flaskapp.db import transaction
from jobs import housekeeping
from tests.integration.steps import (
    RequestedAppointment,
    command,
    file_claim,
    filed_and_not_notified_yet,
    lose,
    refused,
    reported,
    take,
)
from tests.product import ADA, Product


def standings(product: Product) -> dict[str, int]:
    with transaction() as session:
        return audit(session).standings["travel_claim"]


def waiting(product: Product) -> RequestedAppointment:
    return file_claim(product)


def in_flight(product: Product) -> RequestedAppointment:
    requested = file_claim(product)
    take(product, requested)
    return requested


@pytest.mark.parametrize(
    ("timestamp", "standing"),
    [
        (waiting, "outstanding"),
        (in_flight, "outstanding"),
        (filed_and_not_notified_yet, "outstanding"),
        (reported, "notified"),
        (refused, "held"),
    ],
)
def test_every_claim_is_accounted_for_at_every_timestamp(
    product: Product, timestamp: Callable[[Product], RequestedAppointment], standing: str
) -> None:
    timestamp(product)
    assert standings(product) == {standing: 1}
    result = command(product, "audit")
    assert (result.exit_code, "unaccounted: 0" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("timestamp", "loss"),
    [
        (waiting, "DELETE FROM outbox_messages"),
        (filed_and_not_notified_yet, "DELETE FROM outbox_messages"),
        (reported, "DELETE FROM notifications"),
        (reported, "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()"),
        (reported, "UPDATE notifications SET kind = 'error'"),
        (reported, "UPDATE travel_claims SET cycle = 2"),
        (reported, "UPDATE travel_claims SET state = 'pending', finished_at = NULL"),
        (waiting, "UPDATE outbox_messages SET state = 'parked', fence = 1, parked_reason = 'x'"),
    ],
)
def test_whatever_is_lost_is_found_and_becomes_a_case(
    product: Product, timestamp: Callable[[Product], RequestedAppointment], loss: str
) -> None:
    requested = timestamp(product)
    product.rows(f"{loss} RETURNING 1")
    result = command(product, "audit")
    assert (result.exit_code, f"unaccounted: travel_claim {requested.id}" in result.output) == (1, True)
    found = json.loads(command(product, "audit", "--json").output)
    assert (found["unaccounted"], found["findings"][0]["subject_id"]) == (1, requested.id)
    for _ in range(2):
        housekeeping.audit_all()
    assert product.cases() == ["unaccounted"]
    assert standings(product) == {"held": 1}


def test_a_held_claim_whose_case_is_gone_was_notified_and_no_more(product: Product) -> None:
    """Its failure was told, so without a case it counts as told; without its notice it is lost."""
    refused(product)
    product.rows("DELETE FROM cases RETURNING 1")
    assert standings(product) == {"notified": 1}
    product.rows("DELETE FROM notifications RETURNING 1")
    assert command(product, "audit").exit_code == 1


def test_a_notification_nobody_could_deliver_is_held_until_a_human_closed_it(product: Product) -> None:
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    file_claim(product)
    product.work()
    assert standings(product) == {"held": 1}
    identifier = str(product.value("SELECT id FROM cases"))
    assert command(product, "cases", "close", identifier, "--resolution", "told by phone").exit_code == 0
    assert standings(product) == {"notified": 1}
    # They were told of something else than the end.
    product.rows("UPDATE notifications SET kind = 'error' RETURNING 1")
    assert standings(product) == {"unaccounted": 1}
    product.rows("UPDATE notifications SET kind = 'created' RETURNING 1")
    product.rows("DELETE FROM cases RETURNING 1")
    assert standings(product) == {"unaccounted": 1}


def test_a_broken_rule_of_the_ledger_is_named_with_its_message(product: Product) -> None:
    requested = in_flight(product)
    product.rows("DELETE FROM outbox_attempts RETURNING 1")
    product.rows("UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 hour' RETURNING 1")
    result = command(product, "audit")
    assert result.exit_code == 1
    for rule in ("running_without_try", "lease_long_over"):
        assert f"fault: message {requested.message['id']}: {rule}" in result.output


def test_redis_away_or_empty_is_notified_and_is_no_fault(product: Product) -> None:
    requested = file_claim(product)
    product.beat()
    product.relay.run_once()
    compared = json.loads(command(product, "audit", "--json").output)["redis"]
    assert (compared["published"], compared["pointers"]) == (1, 1)
    product.redis.flushall()
    result = command(product, "audit", "--json")
    assert (result.exit_code, json.loads(result.output)["redis"]["pointers"]) == (0, 0)
    assert requested.message["state"] == "published"


def test_a_rescued_claim_is_outstanding_again_and_no_fault_remains(product: Product) -> None:
    requested = file_claim(product)
    lose(product, take(product, requested))
    assert standings(product) == {"outstanding": 1}
    assert command(product, "audit").exit_code == 0


def test_read_in_slices_nobody_is_read_twice_and_nobody_left_out(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the slices are, and although several ended at one moment."""
    for date in ("2031-05-04", "2031-05-05", "2031-05-06", "2031-05-07"):
        file_claim(product, date=date)
    product.work()
    waiting(product)
    past = "SET finished_at = outbox_now() - interval '40 days' WHERE state <> 'pending'"
    assert len(product.rows(f"UPDATE travel_claims {past} RETURNING 1")) == 4
    with transaction() as session:
        whole = audit(session)
    assert whole.read == 5
    for size in (1, 2, 3, 5):
        monkeypatch.setattr("flaskapp.audit.report.SLICE_SIZE", size)
        seen: list[int] = []
        assert audit_everything(seen.append) == whole
        assert sum(seen) == whole.read
    product.rows("DELETE FROM notifications RETURNING 1")
    assert audit_everything().unaccounted_count == 4
