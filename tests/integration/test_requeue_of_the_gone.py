"""Work whose subject is gone is not requeued, whichever door it comes in by: it stays parked and says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs import ledger
from tests.house import House
from tests.integration.steps import command, file_claim, filed_and_not_told_yet


def parked(house: House) -> tuple[int, int]:
    (message,) = house.messages()
    if message["state"] != "parked":
        assert command(house, "outbox", "park", str(message["id"]), "--reason", "x").exit_code == 0
    (message,) = house.messages()
    return message["id"], message["fence"]


def claim_gone(house: House) -> tuple[int, int]:
    """Parked by the repair."""
    file_claim(house)
    house.rows("DELETE FROM travel_claims RETURNING 1")
    command(house, "audit", "--repair")
    return parked(house)


def notice_gone(house: House) -> tuple[int, int]:
    filed_and_not_told_yet(house)
    message = parked(house)
    house.rows("DELETE FROM notifications RETURNING 1")
    return message


@pytest.mark.parametrize("lost", [claim_gone, notice_gone])
def test_work_for_what_is_gone_stays_parked_and_says_why(
    house: House, lost: Callable[[House], tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    message_id, fence = lost(house)
    refused = command(house, "outbox", "requeue", str(message_id))
    assert (refused.exit_code, "what it was for is gone" in refused.output) == (1, True)
    ledger.reopen(message_id, fence)
    assert [record.why for record in caplog.records if record.message == "requeue refused"] == [
        "what it was for is gone"
    ]
    (message,) = house.messages()
    assert (message["state"], message["parked_reason"]) == ("parked", "requeue refused: what it was for is gone")
