"""Holds: times for which an operator keeps an upstream's circuit breaker open, whatever the upstream answers.

A breaker opens and closes by what the upstream answers. A hold begins and ends as an operator says, now or for a
maintenance window to come. Both stop the relay, the grant and synchronous calls, and no budget runs during either.

Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text

from outbox.write import WAKE_CHANNEL, Database, write_history

# Parts of other statements: whether a hold `h` is in force, and until when those on `{upstream}` are.
STANDS = "h.lifted_at IS NULL AND h.starts_at <= outbox_now() AND h.ends_at > outbox_now()"
IN_FORCE = f"SELECT max(h.ends_at) FROM outbox_breaker_holds h WHERE h.upstream = {{upstream}} AND {STANDS}"
# When the last hold ended, as planned or lifted: after it the flow starts slowly, as after an outage.
LAST_END = """
    SELECT max(LEAST(h.ends_at, h.lifted_at)) FROM outbox_breaker_holds h
     WHERE h.upstream = {upstream} AND LEAST(h.ends_at, h.lifted_at) BETWEEN h.starts_at AND outbox_now()
"""

SET = text("""
    INSERT INTO outbox_breaker_holds (upstream, starts_at, ends_at, reason, set_by)
    SELECT b.upstream, GREATEST(CAST(:starts_at AS timestamptz), outbox_now()), :ends_at, :reason, :actor
      FROM outbox_breakers b WHERE b.upstream = :upstream
    RETURNING id
""")
LIFT = text("""
    UPDATE outbox_breaker_holds SET lifted_at = outbox_now(), lifted_by = :actor
     WHERE lifted_at IS NULL AND ends_at > outbox_now() AND upstream = :upstream
       AND (CAST(:id AS bigint) IS NULL OR id = :id)
    RETURNING id
""")
LIST = text("""
    SELECT id, upstream, starts_at, ends_at, reason, set_by, starts_at <= outbox_now() AS in_force
      FROM outbox_breaker_holds WHERE lifted_at IS NULL AND ends_at > outbox_now() ORDER BY starts_at, id
""")


def hold(
    db: Database, upstream: str, *, ends_at: datetime, reason: str, actor: str, starts_at: datetime | None = None
) -> int | None:
    """Hold an upstream until `ends_at`, from now or from a later `starts_at` (both aware). Written in history.

    Returns the hold's id, or None for an upstream without a breaker. What is in flight is not called back. Raises
    IntegrityError when it would end before it starts.
    """
    values = {"upstream": upstream, "starts_at": starts_at, "ends_at": ends_at, "reason": reason, "actor": actor}
    found = db.execute(SET, values).scalar_one_or_none()
    if found is None:
        return None
    detail = {"hold": found, "until": ends_at.isoformat(), "reason": reason}
    write_history(db, "breaker", upstream, "breaker.held", actor=actor, detail=detail)
    return int(found)


def lift(db: Database, upstream: str, *, actor: str, hold_id: int | None = None) -> int:
    """End this upstream's holds now, also those to come, or only `hold_id`; returns how many. Written in history.

    Relays are woken when the caller commits.
    """
    lifted = db.execute(LIFT, {"upstream": upstream, "id": hold_id, "actor": actor}).scalars().all()
    for found in lifted:
        write_history(db, "breaker", upstream, "breaker.lifted", actor=actor, detail={"hold": found})
    if lifted:
        db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return len(lifted)


def standing(db: Database) -> list[Any]:
    """The holds that are in force or to come, in the order in which they begin."""
    return list(db.execute(LIST, {}).all())
