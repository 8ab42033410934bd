"""Where receivers of webhooks stand, for the console and the shell: what each is owed, and what it answered last.

Of what there is, each count goes up to `MOST_COUNTED` by an index, so a receiver that is owed very much costs no more.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from flaskapp.db import DbSession
from flaskapp.webhooks.models import DELIVERED, PENDING, REFUSED
from flaskapp.webhooks.service import SUBJECT
from outbox import messages, sql


def of_state(state: str, order: str) -> str:
    return f"FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state = '{state}' ORDER BY {order}"


# The last attempt that is over; one attempt delivers many.
ALL = text(f"""
    SELECT w.id::text, w.url, array_to_string(w.kinds, ' ') AS kinds, w.made_by, w.made_at, w.rotated_at,
           w.paused_at, w.paused_by, w.paused_reason, w.removed_by, w.removed_at,
           waiting.pending, waiting.oldest_pending, taken.delivered,
           (SELECT d.finished_at {of_state(DELIVERED, "d.finished_at DESC")} LIMIT 1) AS last_delivered, failed.refused,
           work.state AS work, work.due_at AS next_try,
           tried.status, tried.http_status, tried.error_class, tried.tried_at
      FROM webhooks w
      CROSS JOIN LATERAL (SELECT count(*) AS pending, min(occurred_at) AS oldest_pending FROM (
           SELECT d.occurred_at {of_state(PENDING, "d.sequence")} LIMIT {messages.MOST_COUNTED}) AS first) AS waiting
      CROSS JOIN LATERAL (SELECT count(*) AS delivered FROM (
           SELECT 1 {of_state(DELIVERED, "d.finished_at DESC")} LIMIT {messages.MOST_COUNTED}) AS first) AS taken
      CROSS JOIN LATERAL (SELECT count(*) AS refused FROM (
           SELECT 1 {of_state(REFUSED, "d.finished_at DESC")} LIMIT {messages.MOST_COUNTED}) AS first) AS failed
      LEFT JOIN LATERAL (
           SELECT m.state, m.due_at {sql.messages(subject_type=f"'{SUBJECT}'", subject_id="w.id::text")}
      ) AS work ON true
      LEFT JOIN LATERAL (
           SELECT a.status, a.http_status, a.error_class, a.finished_at AS tried_at
             {sql.attempts(subject_type=f"'{SUBJECT}'", subject_id="w.id::text")} AND a.status <> 'try'
            ORDER BY a.id DESC LIMIT 1) AS tried ON true
     WHERE (w.removed_at IS NULL OR :everything) AND (CAST(:only AS uuid) IS NULL OR w.id = :only)
     ORDER BY w.made_at, w.id
""")
# The newest that ended in this state, or those that have waited longest.
LISTED = text("""
    SELECT id, kind, sequence, occurred_at, state, refusals, refused_with, due_at, finished_at
      FROM webhook_deliveries WHERE webhook_id = :webhook_id AND state = :state
     ORDER BY finished_at DESC, sequence LIMIT :limit
""")
WAITING = text(f"""
    SELECT id, kind, sequence, occurred_at, state, refusals, refused_with, due_at, finished_at
      FROM webhook_deliveries WHERE webhook_id = :webhook_id AND state = '{PENDING}' ORDER BY sequence LIMIT :limit
""")


@dataclass(frozen=True)
class Receiver:
    """A receiver as people see it; `owed` is its row of `ALL`."""

    owed: Row[Any]

    @property
    def state(self) -> str:
        """What it is to us, in a word or two."""
        if self.owed.removed_at is not None:
            return "removed"
        if self.owed.paused_at is not None:
            return "paused"
        if self.owed.work == "parked":
            return "given up"
        return "failing" if self.owed.status == "error" else "told"

    @property
    def answered(self) -> str:
        """What came of the last attempt, in words. One that answered may have refused some of what it was sent: those
        deliveries say with what."""
        if self.owed.status is None:
            return "never tried"
        if self.owed.status == "success":
            return "answered"
        return f"HTTP {self.owed.http_status}" if self.owed.http_status else str(self.owed.error_class)

    @property
    def address(self) -> str:
        """Its address without a query, in which tokens stand."""
        return str(self.owed.url).partition("?")[0]


def receivers(session: DbSession, *, everything: bool = False) -> list[Receiver]:
    """In the order in which they were added; removed ones only with `everything`."""
    return [Receiver(row) for row in session.execute(ALL, {"everything": everything, "only": None})]


def receiver(session: DbSession, webhook_id: uuid.UUID) -> Receiver | None:
    """One of them, removed or not."""
    row = session.execute(ALL, {"everything": True, "only": webhook_id}).one_or_none()
    return Receiver(row) if row is not None else None


def deliveries(session: DbSession, webhook_id: uuid.UUID, state: str, limit: int) -> list[Row[Any]]:
    """Deliveries in this state: of those that wait the oldest, of those that ended the newest."""
    statement = WAITING if state == PENDING else LISTED
    return list(session.execute(statement, {"webhook_id": webhook_id, "state": state, "limit": limit}).all())


def paused(session: DbSession) -> list[datetime]:
    """Since when each receiver that is paused is."""
    return list(session.execute(text("SELECT paused_at FROM webhooks WHERE paused_at IS NOT NULL")).scalars())
