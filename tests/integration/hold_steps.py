"""Steps for tests of holds: hold the toy upstream, lift the hold, and see what the ledger then allows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from outbox import breakers, holds, sync_calls
from outbox.sync_calls import BreakerOpen
from tests.ledger import CALLS, OUTAGE, SETTINGS, Ledger

HOUR = 3600.0
OPERATOR = "shell:ada"


def now(ledger: Ledger) -> datetime:
    timestamp: datetime = ledger.rows("SELECT outbox_now() AS now")[0]["now"]
    return timestamp


def hold(ledger: Ledger, seconds: float, after: float = 0.0, upstream: str = "clerk") -> int | None:
    """Hold the upstream for so many seconds, from now or from later; returns the hold's id."""
    starts_at = now(ledger) + timedelta(seconds=after)
    with ledger.engine.begin() as db:
        return holds.hold(
            db,
            upstream,
            starts_at=starts_at if after else None,
            ends_at=starts_at + timedelta(seconds=seconds),
            reason="their data center moves",
            actor=OPERATOR,
        )


def lift(ledger: Ledger, hold_id: int | None = None) -> int:
    with ledger.engine.begin() as db:
        return holds.lift(db, "clerk", actor=OPERATOR, hold_id=hold_id)


def standing(ledger: Ledger) -> list[tuple[int, bool]]:
    with ledger.engine.begin() as db:
        return [(row.id, row.in_force) for row in holds.standing(db)]


def capacity(ledger: Ledger) -> int:
    with ledger.engine.begin() as db:
        return breakers.capacity(db, CALLS, SETTINGS)[0]


def seconds_closed(ledger: Ledger, since: datetime, upstream: str | None = "clerk") -> Any:
    """Seconds during which calls could pass, those included that this test has taken."""
    with ledger.engine.begin() as db:
        return ledger.at_most(breakers.closed_seconds(db, upstream, since))


def refused_for(ledger: Ledger) -> Any:
    """Seconds that a caller is sent away for, less those that this test has taken; None when it may enter."""
    try:
        with ledger.engine.begin() as db:
            sync_calls.enter(db, "clerk", 5.0, "somebody")
    except BreakerOpen as refused:
        return ledger.at_least(refused.seconds)
    return None


def trip_breaker(ledger: Ledger) -> int:
    """Meet an outage with one message, which waits again afterwards; returns its id."""
    grant = ledger.start()
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        assert breakers.trip(db, grant, "unavailable", SETTINGS)
    return grant.message_id


def answer_probe(ledger: Ledger) -> None:
    """Send the one probe that an open breaker lets pass, and have it answered: the breaker is closed."""
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    with ledger.engine.begin() as db:
        assert breakers.note_answer(db, grant)
    ledger.end(grant)
