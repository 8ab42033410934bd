"""The audit: it finds every claim that nothing and nobody takes care of, and reports no other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flaskapp.audit.report import audit, audit_everything
from flaskapp.db import transaction
from jobs import housekeeping
from tests.integration.steps import (
    RequestedClaim,
    command,
    file_claim,
    filed_and_not_notified_yet,
    filed_and_notified,
    lose,
    refused,
    take,
)
from tests.product import ADA, Product


def standings(product: Product) -> dict[str, int]:
    with transaction() as session:
        return audit(session).standings["travel_claim"]


def waiting(product: Product) -> RequestedClaim:
    return file_claim(product)


def in_flight(product: Product) -> RequestedClaim:
    claim = file_claim(product)
    take(product, claim)
    return claim


@pytest.mark.parametrize(
    ("stage", "standing"),
    [
        (waiting, "outstanding"),
        (in_flight, "outstanding"),
        (filed_and_not_notified_yet, "outstanding"),
        (filed_and_notified, "notified"),
        (refused, "held"),
    ],
)
def test_every_claim_is_accounted_for_at_every_stage(
    product: Product, stage: Callable[[Product], RequestedClaim], standing: str
) -> None:
    stage(product)
    assert standings(product) == {standing: 1}
    result = command(product, "audit")
    assert (result.exit_code, "unaccounted: 0" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("stage", "loss"),
    [
        (waiting, "DELETE FROM outbox_messages"),
        (filed_and_not_notified_yet, "DELETE FROM outbox_messages"),
        (filed_and_notified, "DELETE FROM notifications"),
        (filed_and_notified, "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()"),
        (filed_and_notified, "UPDATE notifications SET kind = 'error'"),
        (filed_and_notified, "UPDATE travel_claims SET cycle = 2"),
        (filed_and_notified, "UPDATE travel_claims SET state = 'pending', finished_at = NULL"),
        (waiting, "UPDATE outbox_messages SET state = 'parked', fence = 1, parked_reason = 'x'"),
    ],
)
def test_every_loss_is_found_and_becomes_a_case(
    product: Product, stage: Callable[[Product], RequestedClaim], loss: str
) -> None:
    claim = stage(product)
    product.rows(f"{loss} RETURNING 1")
    result = command(product, "audit")
    assert (result.exit_code, f"unaccounted: travel_claim {claim.id}" in result.output) == (1, True)
    found = json.loads(command(product, "audit", "--json").output)
    assert (found["unaccounted"], found["findings"][0]["subject_id"]) == (1, claim.id)
    for _ in range(2):
        housekeeping.audit_all()
    assert product.cases() == ["unaccounted"]
    assert standings(product) == {"held": 1}


def test_a_held_claim_whose_case_is_gone_counts_as_notified(product: Product) -> None:
    """Its failure was reported, so without a case it counts as notified; without its notification it is lost."""
    refused(product)
    product.rows("DELETE FROM cases RETURNING 1")
    assert standings(product) == {"notified": 1}
    product.rows("DELETE FROM notifications RETURNING 1")
    assert command(product, "audit").exit_code == 1


def test_an_undeliverable_notification_is_held_until_somebody_closes_its_case(product: Product) -> None:
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    file_claim(product)
    product.work()
    assert standings(product) == {"held": 1}
    identifier = str(product.value("SELECT id FROM cases"))
    assert command(product, "cases", "close", identifier, "--resolution", "informed by phone").exit_code == 0
    assert standings(product) == {"notified": 1}
    # They were notified of something else than the end.
    product.rows("UPDATE notifications SET kind = 'error' RETURNING 1")
    assert standings(product) == {"unaccounted": 1}
    product.rows("UPDATE notifications SET kind = 'created' RETURNING 1")
    product.rows("DELETE FROM cases RETURNING 1")
    assert standings(product) == {"unaccounted": 1}


def test_a_broken_rule_of_the_ledger_is_named_with_its_message(product: Product) -> None:
    claim = in_flight(product)
    product.rows("DELETE FROM outbox_attempts RETURNING 1")
    product.rows("UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 hour' RETURNING 1")
    result = command(product, "audit")
    assert result.exit_code == 1
    for rule in ("running_without_try", "lease_long_over"):
        assert f"fault: message {claim.message['id']}: {rule}" in result.output


def test_an_empty_redis_is_reported_and_is_no_fault(product: Product) -> None:
    claim = file_claim(product)
    product.beat()
    product.relay.run_once()
    compared = json.loads(command(product, "audit", "--json").output)["redis"]
    assert (compared["published"], compared["pointers"]) == (1, 1)
    product.redis.flushall()
    result = command(product, "audit", "--json")
    assert (result.exit_code, json.loads(result.output)["redis"]["pointers"]) == (0, 0)
    assert claim.message["state"] == "published"


def test_a_rescued_claim_is_outstanding_again_and_leaves_no_fault(product: Product) -> None:
    claim = file_claim(product)
    lose(product, take(product, claim))
    assert standings(product) == {"outstanding": 1}
    assert command(product, "audit").exit_code == 0


def test_an_audit_in_slices_reads_every_claim_once(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the slices, and although several claims ended at the same time."""
    for date in ("2031-05-04", "2031-05-05", "2031-05-06", "2031-05-07"):
        file_claim(product, date=date)
    product.work()
    waiting(product)
    past = "SET finished_at = outbox_now() - interval '40 days' WHERE state <> 'pending'"
    assert len(product.rows(f"UPDATE travel_claims {past} RETURNING 1")) == 4
    with transaction() as session:
        whole = audit(session)
    assert whole.submissions_read == 5
    for size in (1, 2, 3, 5):
        monkeypatch.setattr("flaskapp.audit.report.SLICE_SIZE", size)
        seen: list[int] = []
        assert audit_everything(seen.append) == whole
        assert sum(seen) == whole.submissions_read
    product.rows("DELETE FROM notifications RETURNING 1")
    assert audit_everything().unaccounted_count == 4
