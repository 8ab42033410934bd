"""Requeueing work whose subject is gone: it is refused in every way, stays parked and says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs import ledger
from tests.integration.steps import command, file_claim, filed_and_not_notified_yet
from tests.product import Product


def parked(product: Product) -> tuple[int, int]:
    (message,) = product.messages()
    if message["state"] != "parked":
        assert command(product, "outbox", "park", str(message["id"]), "--reason", "x").exit_code == 0
    (message,) = product.messages()
    return message["id"], message["fence"]


def claim_gone(product: Product) -> tuple[int, int]:
    """A claim whose message the repair parked."""
    file_claim(product)
    product.rows("DELETE FROM travel_claims RETURNING 1")
    command(product, "audit", "--repair")
    return parked(product)


def notification_gone(product: Product) -> tuple[int, int]:
    filed_and_not_notified_yet(product)
    message = parked(product)
    product.rows("DELETE FROM notifications RETURNING 1")
    return message


@pytest.mark.parametrize("lost", [claim_gone, notification_gone])
def test_work_for_a_deleted_subject_stays_parked_and_says_why(
    product: Product, lost: Callable[[Product], tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    message_id, fence = lost(product)
    refused = command(product, "outbox", "requeue", str(message_id))
    assert (refused.exit_code, "what it was for is gone" in refused.output) == (1, True)
    ledger.requeue_from_dashboard(message_id, fence)
    assert [record.why for record in caplog.records if record.message == "requeue refused"] == [
        "what it was for is gone"
    ]
    (message,) = product.messages()
    assert (message["state"], message["parked_reason"]) == ("parked", "requeue refused: what it was for is gone")
