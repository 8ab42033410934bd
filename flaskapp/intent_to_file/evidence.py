"""Evidence for the date of a person's request: what we received when, every attempt since, and the outages between.

It is for the people who have a date corrected upstream. It names nobody: the account's id leads to the person.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from flaskapp.accounts.service import ACCOUNTS
from flaskapp.clock import legal_date
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import INTENTS_TO_FILE, SUBJECT
from outbox import breakers, timeline

CASES = text("""
    SELECT id::text AS "case", kind, owner, opened_at, closed_at, resolution
      FROM cases WHERE subject_type = :type AND subject_id = :id ORDER BY opened_at
""")


def gather(session: DbSession, itf_id: str, zone: ZoneInfo) -> dict[str, Any] | None:
    """The evidence of one ITF as JSON-ready values; None when there is no such ITF. Times are UTC."""
    itf = session.get(IntentToFile, uuid.UUID(itf_id))
    if itf is None:
        return None
    # The times at which the breakers of its upstreams were open or held while this ITF was waiting.
    until = itf.finished_at if itf.state != "pending" else None
    outages = breakers.outages(session, [ACCOUNTS.upstream, INTENTS_TO_FILE.upstream], itf.asked_at, until)
    return {
        "intent_to_file": described(itf, zone),
        "attempts": [with_answer(dict(row._mapping)) for row in timeline.attempts_for(session, SUBJECT, itf_id)],
        "outages": [dict(row._mapping) for row in outages],
        "history": [dict(row._mapping) for row in timeline.history_of(session, SUBJECT, itf_id)],
        "cases": [dict(row._mapping) for row in session.execute(CASES, {"type": SUBJECT, "id": itf_id})],
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
    """The attempt with upstream's answer decrypted."""
    kept = attempt.pop("upstream_ids")
    answer = json.loads(vault().decrypt(kept["answer"].encode())) if "answer" in kept else None
    return {**attempt, "answer": answer}
