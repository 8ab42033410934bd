"""Synchronous calls, which are no messages but obey the same circuit breakers.

A person's read of an upstream that fails is refused at once. In the breaker's row the call stands like a message, under
a negative id, which no message has.

Every function works in the caller's transaction and never commits. Commit after `enter` and before the call, so that
no connection is held while the upstream works.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from outbox import breakers
from outbox.columns import in_state
from outbox.holds import IN_FORCE
from outbox.values import BreakerSettings
from outbox.write import Database

# For how long a caller is sent away when the breaker is missing: the audit reports that every minute.
MISSING_SECONDS = 60
# A hold of more than a day is one that somebody lifts: its end says nothing about when to come again.
LONG_SECONDS, COME_AGAIN_SECONDS = 86_400.0, 3600.0

LOOK = text(f"""
    SELECT outbox_now() AS at, b.opened_at IS NOT NULL AS open, cardinality(b.unanswered) > 0 AS doubted,
           extract(epoch FROM b.open_until - outbox_now())::float AS seconds,
           extract(epoch FROM ({IN_FORCE.format(upstream="b.upstream")}) - outbox_now())::float AS held_for
      FROM outbox_breakers b WHERE b.upstream = :upstream
""")
# The first caller to move `open_until` on is the only probe, until that time or until its own answer. If that told
# nothing, everybody else goes first for a while: what one person asks again and again would keep all others out.
PROBE = text(f"""
    UPDATE outbox_breakers b
       SET open_until = outbox_now() + make_interval(secs => :seconds), probe_message_id = :id, probe_fence = :fence
     WHERE b.upstream = :upstream AND b.open_until <= outbox_now()
       AND (b.probe_message_id IS DISTINCT FROM :id OR b.unanswered = '{{}}'
            OR b.open_until <= outbox_now() - make_interval(secs => :seconds))
       AND NOT EXISTS (SELECT 1 FROM outbox_messages m
                        WHERE m.id = b.probe_message_id AND m.fence = b.probe_fence
                          AND {in_state("published", "running", column="m.state")})
    RETURNING outbox_now() AS at
""")


class BreakerOpen(Exception):
    """Nothing may be sent to this upstream now. `seconds`, at least one, are to pass before the next try."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the circuit breaker is open")
        self.seconds = max(1.0, seconds)


@dataclass(frozen=True)
class SyncCall:
    """Permission for one call, made for `caller`. `troubled`: the breaker has something to learn even from a plain
    success."""

    upstream: str
    caller: str
    message_id: int
    fence: int
    started_at: datetime
    troubled: bool


def enter(db: Database, upstream: str, call_seconds: float, caller: str) -> SyncCall:
    """Permission for one call of at most `call_seconds`.

    `caller` is for whom it is made. Raises BreakerOpen while the breaker is open, held or missing. When its time is up,
    the first caller passes as the probe; others are refused until that call is reported, or for `call_seconds`. The one
    whose probe got no usable answer is refused for `call_seconds` after it, unless another one's came in between.
    """
    row = db.execute(LOOK, {"upstream": upstream}).one_or_none()
    caller_id, fence = breakers.number_of(caller), secrets.randbelow(breakers.LARGEST_ID)
    if row is None:
        raise BreakerOpen(MISSING_SECONDS)
    if row.held_for is not None:
        raise BreakerOpen(row.held_for if row.held_for <= LONG_SECONDS else COME_AGAIN_SECONDS)
    if not row.open:
        return SyncCall(upstream, caller, caller_id, fence, row.at, troubled=row.doubted)
    if row.seconds > 0:
        raise BreakerOpen(row.seconds)
    values = {"upstream": upstream, "id": caller_id, "fence": fence, "seconds": call_seconds}
    probe = db.execute(PROBE, values).one_or_none()
    if probe is None:
        raise BreakerOpen(1.0)
    return SyncCall(upstream, caller, caller_id, fence, probe.at, troubled=True)


def note_answer(db: Database, sync_call: SyncCall) -> bool:
    """Report that the upstream answered, even with a refusal. True when this closed the breaker."""
    return sync_call.troubled and breakers.note_answer(db, sync_call)


def note_failure(
    db: Database, sync_call: SyncCall, reason: str, settings: BreakerSettings, retry_after: float | None
) -> bool:
    """Report that the upstream said it cannot answer, and its `retry_after` in seconds. True when this opened the
    breaker."""
    return breakers.trip(db, sync_call, reason, settings, retry_after)


def note_silence(
    db: Database,
    sync_call: SyncCall,
    settings: BreakerSettings,
    retry_after: float | None = None,
    *,
    person: str | None = None,
    refused: bool = False,
) -> bool:
    """Report that no answer came that could be used, or that our key was `refused`, for this person: the caller, if
    nobody is named. True when this opened the breaker; see `breakers.note_unanswered`."""
    who = sync_call.caller if person is None else person
    return breakers.note_unanswered(db, sync_call, settings, retry_after, person=who, refused=refused)
