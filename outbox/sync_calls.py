"""Calls that are no messages heed the same gates: a person's read of an upstream that fails is refused at once.

A visitor stands in a gate's books like a message does, under a negative id, which no message has.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from outbox import breakers
from outbox.holds import IN_FORCE
from outbox.values import BreakerSettings
from outbox.write import Database

LARGEST_ID = 2**62
# Until an upstream without a gate is worth asking for again: the audit names it every minute.
MISSING_SECONDS = 60

LOOK = text(f"""
    SELECT outbox_now() AS at, g.opened_at IS NOT NULL AS open, cardinality(g.unanswered) > 0 AS doubted,
           extract(epoch FROM g.open_until - outbox_now())::float AS seconds,
           extract(epoch FROM ({IN_FORCE.format(upstream="g.upstream")}) - outbox_now())::float AS held_for
      FROM outbox_breakers g WHERE g.upstream = :upstream
""")
# Whoever moves the end of the closing away first is the one probe, until that moment or its own answer.
PROBE = text("""
    UPDATE outbox_breakers g
       SET open_until = outbox_now() + make_interval(secs => :seconds), probe_message_id = :id, probe_fence = :fence
     WHERE g.upstream = :upstream AND g.open_until <= outbox_now()
       AND NOT EXISTS (SELECT 1 FROM outbox_messages m
                        WHERE m.id = g.probe_message_id AND m.fence = g.probe_fence
                          AND m.state IN ('published', 'running'))
    RETURNING outbox_now() AS at
""")


class BreakerOpen(Exception):
    """The upstream is left alone just now; `seconds` until it is worth asking again, at least one."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the circuit breaker is open")
        self.seconds = max(1.0, seconds)


@dataclass(frozen=True)
class SyncCall:
    """Leave to make one call. `troubled`: the gate has something to learn even from a plain success."""

    upstream: str
    message_id: int
    fence: int
    started_at: datetime
    troubled: bool


def enter(db: Database, upstream: str, call_seconds: float) -> SyncCall:
    """Leave for one call of at most `call_seconds`. Raises BreakerOpen; of a gate whose time is up, one may pass.

    Where there is no gate, nobody may.
    """
    row = db.execute(LOOK, {"upstream": upstream}).one_or_none()
    caller, fence = -1 - secrets.randbelow(LARGEST_ID), secrets.randbelow(LARGEST_ID)
    if row is None:
        raise BreakerOpen(MISSING_SECONDS)
    if row.held_for is not None:
        raise BreakerOpen(row.held_for)
    if not row.open:
        return SyncCall(upstream, caller, fence, row.at, troubled=row.doubted)
    if row.seconds > 0:
        raise BreakerOpen(row.seconds)
    values = {"upstream": upstream, "id": caller, "fence": fence, "seconds": call_seconds}
    probe = db.execute(PROBE, values).one_or_none()
    if probe is None:
        raise BreakerOpen(1.0)
    return SyncCall(upstream, caller, fence, probe.at, troubled=True)


def note_answer(db: Database, sync_call: SyncCall) -> bool:
    """The upstream answered, be it with a refusal; True when this opened its gate."""
    return sync_call.troubled and breakers.note_answer(db, sync_call)


def note_failure(
    db: Database, sync_call: SyncCall, reason: str, settings: BreakerSettings, retry_after: float | None
) -> bool:
    """It said that it cannot; True when this closed its gate."""
    return breakers.trip(db, sync_call, reason, settings, retry_after)


def note_silence(db: Database, sync_call: SyncCall, settings: BreakerSettings) -> bool:
    """No answer in time: one slow call says little, three running close the gate."""
    return breakers.note_unanswered(db, sync_call, settings)
