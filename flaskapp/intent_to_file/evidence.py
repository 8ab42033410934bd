"""What proves the date a person asked on: what we received when, every attempt since, and the outages between.

Made for whoever has a date corrected upstream. It names nobody: the account's id leads to the person.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from flaskapp.clock import legal_date
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import SUBJECT
from flaskapp.queues import ACCOUNTS, INTENTS_TO_FILE

ATTEMPTS = text("""
    SELECT id, message_id, job, purpose, status, started_at, finished_at, late, http_status, error_class, error_detail,
           upstream_ids
      FROM outbox_attempts WHERE subject_type = :type AND subject_id = :id ORDER BY id
""")
HISTORY = text("""
    SELECT at, what, moved_from, moved_to, actor, detail
      FROM outbox_history WHERE subject_type = :type AND subject_id = :id ORDER BY id
""")
CASES = text("""
    SELECT id::text AS "case", kind, owner, opened_at, closed_at, resolution
      FROM cases WHERE subject_type = :type AND subject_id = :id ORDER BY opened_at
""")
# The times its upstreams were closed or held for everybody while this one was waiting.
OUTAGES = text("""
    WITH shut AS (
        SELECT upstream, reason, opened_at, closed_at FROM outbox_breaker_trips
        UNION ALL
        SELECT upstream, 'held: ' || reason, starts_at, NULLIF(LEAST(ends_at, lifted_at, outbox_now()), outbox_now())
          FROM outbox_breaker_holds WHERE starts_at < LEAST(ends_at, lifted_at)
    )
    SELECT upstream, reason, opened_at, closed_at,
           round(extract(epoch FROM COALESCE(closed_at, outbox_now()) - opened_at))::int AS seconds
      FROM shut
     WHERE upstream = ANY(:upstreams) AND COALESCE(closed_at, outbox_now()) > :since
       AND opened_at < COALESCE(:until, outbox_now())
     ORDER BY opened_at
""")


def gather(session: DbSession, itf_id: str, zone: ZoneInfo) -> dict[str, Any] | None:
    """The evidence of one ITF as JSON-ready values; None when there is no such ITF. Moments are UTC."""
    itf = session.get(IntentToFile, uuid.UUID(itf_id))
    if itf is None:
        return None
    key = {"type": SUBJECT, "id": itf_id}
    window = {
        "upstreams": [ACCOUNTS.upstream, INTENTS_TO_FILE.upstream],
        "since": itf.asked_at,
        "until": itf.finished_at if itf.state != "pending" else None,
    }
    return {
        "intent_to_file": described(itf, zone),
        "attempts": [with_answer(dict(row._mapping)) for row in session.execute(ATTEMPTS, key)],
        "outages": [dict(row._mapping) for row in session.execute(OUTAGES, window)],
        "history": [dict(row._mapping) for row in session.execute(HISTORY, key)],
        "cases": [dict(row._mapping) for row in session.execute(CASES, key)],
    }


def described(itf: IntentToFile, zone: ZoneInfo) -> dict[str, Any]:
    names = (
        "id account_id type state unconfirmed path asked_at effective_date expires_at legal_midnight_at upstream_id"
        " upstream_status upstream_created_at upstream_expires_at how last_synced_at used_at follows_id"
    )
    return {
        **{name: getattr(itf, name) for name in names.split()},
        "legal_time_zone": str(zone),
        "asked_on_legal_date": on(itf.asked_at, zone),
        "effective_legal_date": on(itf.effective_date, zone),
        "upstream_legal_date": on(itf.upstream_created_at, zone),
    }


def on(timestamp: datetime | None, zone: ZoneInfo) -> str | None:
    return legal_date(timestamp, zone).isoformat() if timestamp is not None else None


def with_answer(attempt: dict[str, Any]) -> dict[str, Any]:
    """What upstream answered, readable again: it is kept encrypted."""
    kept = attempt.pop("upstream_ids")
    answer = json.loads(vault().decrypt(kept["answer"].encode())) if "answer" in kept else None
    return {**attempt, "answer": answer}
