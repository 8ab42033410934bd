"""Calls that are no messages heed the same gates: a person's read of an upstream that fails is refused at once.

A visitor stands in a gate's books like a message does, under a negative id, which no message has.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from outbox import gates
from outbox.holds import IN_FORCE
from outbox.values import GateSettings
from outbox.write import Database

LARGEST_ID = 2**62
# Until an upstream without a gate is worth asking for again: the audit names it every minute.
MISSING_SECONDS = 60

LOOK = text(f"""
    SELECT outbox_now() AS at, g.closed_at IS NOT NULL AS closed, cardinality(g.unanswered) > 0 AS doubted,
           extract(epoch FROM g.closed_until - outbox_now())::float AS seconds,
           extract(epoch FROM ({IN_FORCE.format(upstream="g.upstream")}) - outbox_now())::float AS held_for
      FROM outbox_gates g WHERE g.upstream = :upstream
""")
# Whoever moves the end of the closing away first is the one canary, until that moment or its own answer.
PROBE = text("""
    UPDATE outbox_gates g
       SET closed_until = outbox_now() + make_interval(secs => :seconds), canary_message_id = :id, canary_fence = :fence
     WHERE g.upstream = :upstream AND g.closed_until <= outbox_now()
       AND NOT EXISTS (SELECT 1 FROM outbox_messages m
                        WHERE m.id = g.canary_message_id AND m.fence = g.canary_fence
                          AND m.state IN ('published', 'running'))
    RETURNING outbox_now() AS at
""")


class GateClosed(Exception):
    """The upstream is left alone just now; `seconds` until it is worth asking again, at least one."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the gate is closed")
        self.seconds = max(1.0, seconds)


@dataclass(frozen=True)
class Visit:
    """Leave to make one call. `troubled`: the gate has something to learn even from a plain success."""

    upstream: str
    message_id: int
    fence: int
    started_at: datetime
    troubled: bool


def enter(db: Database, upstream: str, call_seconds: float) -> Visit:
    """Leave for one call of at most `call_seconds`. Raises GateClosed; of a gate whose time is up, one may pass.

    Where there is no gate, nobody may.
    """
    row = db.execute(LOOK, {"upstream": upstream}).one_or_none()
    visitor, fence = -1 - secrets.randbelow(LARGEST_ID), secrets.randbelow(LARGEST_ID)
    if row is None:
        raise GateClosed(MISSING_SECONDS)
    if row.held_for is not None:
        raise GateClosed(row.held_for)
    if not row.closed:
        return Visit(upstream, visitor, fence, row.at, troubled=row.doubted)
    if row.seconds > 0:
        raise GateClosed(row.seconds)
    values = {"upstream": upstream, "id": visitor, "fence": fence, "seconds": call_seconds}
    probe = db.execute(PROBE, values).one_or_none()
    if probe is None:
        raise GateClosed(1.0)
    return Visit(upstream, visitor, fence, probe.at, troubled=True)


def note_answer(db: Database, visit: Visit) -> bool:
    """The upstream answered, be it with a refusal; True when this opened its gate."""
    return visit.troubled and gates.note_answer(db, visit)


def note_failure(db: Database, visit: Visit, reason: str, settings: GateSettings, retry_after: float | None) -> bool:
    """It said that it cannot; True when this closed its gate."""
    return gates.close(db, visit, reason, settings, retry_after)


def note_silence(db: Database, visit: Visit, settings: GateSettings) -> bool:
    """No answer in time: one slow call says little, three running close the gate."""
    return gates.note_unanswered(db, visit, settings)
