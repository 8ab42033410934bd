"""Restores from a backup: everything outstanding may have happened meanwhile, and is looked up before it is sent.

Between the time that the database was restored to and the time of the loss, work was done that it knows nothing of.
`mark` opens the question on every message. What is enqueued later is marked by `add`: what follows from a marked
message (`pass_on`), what is about a subject older than the restore, and what people may file again.

Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from outbox.attempts import ENDED
from outbox.eras import DOUBTED
from outbox.write import DECIDED, DURABLY, IN_DOUBT, RESTORED, WAKE_CHANNEL, Database, write_history

BATCH = 5000
SUBJECT = "restore"

# Relays beat every few seconds, and no longer once the era is doubted. Other rows may be younger than the restore:
# processes may have been started since.
ENDS_AT = text(f"SELECT beat_at FROM outbox_era WHERE {DOUBTED}")
UNFINISHED = text("SELECT * FROM outbox_restores WHERE ended_at IS NULL")
LAST = text("SELECT * FROM outbox_restores ORDER BY id DESC LIMIT 1")
BEGIN = text(f"""
    INSERT INTO outbox_restores (recorded_by, reason, restored_to, lost_at, look_first_until, last_message_id)
    SELECT :actor, :reason, :restored_to, :lost_at, :look_first_until, COALESCE(max(id), 0) FROM outbox_messages
    RETURNING id, {DURABLY}
""")
# No attempt of before the restore is under way any more. What upstream called a duplicate was there before us: that
# question stays what it is. Budgets begin anew: the time without a database was nobody's.
MARK = text(f"""
    WITH batch AS (
        SELECT id, state, subject_type, subject_id FROM outbox_messages
         WHERE id > :after AND id <= :last ORDER BY id LIMIT :batch FOR UPDATE
    ), ended AS (
        UPDATE outbox_attempts a
           SET status = CASE WHEN a.purpose = 'write' THEN 'unknown' ELSE 'error' END, {ENDED}, error_class = 'Restored'
          FROM batch WHERE a.message_id = batch.id AND a.status = 'try'
    ), noted AS (
        INSERT INTO outbox_history (subject_type, subject_id, what, actor, message_id, detail)
        SELECT subject_type, subject_id, 'message.in_doubt', :actor, id,
               jsonb_build_object('restore', CAST(:id AS bigint))
          FROM batch ORDER BY id
    )
    UPDATE outbox_messages m
       SET state = CASE WHEN m.state IN ('published', 'running') THEN 'ready' ELSE m.state END,
           worker_id = NULL, lease_expires_at = NULL, not_found_count = 0, look_up_count = 0,
           unresolved_since = CASE WHEN m.unresolved_why = 'duplicate' THEN m.unresolved_since ELSE :lost_at END,
           unresolved_why = CASE WHEN m.unresolved_why = 'duplicate' THEN m.unresolved_why ELSE '{RESTORED}' END,
           give_up_at = CASE WHEN m.state = 'parked' THEN m.give_up_at
                             ELSE outbox_now() + (m.give_up_at - m.budget_from) END,
           budget_from = CASE WHEN m.state = 'parked' THEN m.budget_from ELSE outbox_now() END
      FROM batch WHERE m.id = batch.id
    RETURNING m.id
""")
PROGRESS = text("UPDATE outbox_restores SET marked_to_id = :marked WHERE id = :id")
END = text("UPDATE outbox_restores SET ended_at = outbox_now() WHERE id = :id")
HAND_OVER = text(f"""
    UPDATE outbox_messages SET unresolved_why = '{DECIDED}' WHERE id = :id AND unresolved_why = '{RESTORED}'
""")

# What became of each subject whose messages were marked, by the attempts for it since.
OUTCOMES = text(f"""
    SELECT s.subject_type, s.subject_id,
           CASE WHEN a.found THEN 'had happened' WHEN a.sent THEN 'had not happened, done now'
                WHEN m.parked THEN 'parked' WHEN m.in_doubt THEN 'not looked up yet'
                WHEN m.parked IS NOT NULL THEN 'had not happened, to be done' ELSE 'ended' END AS outcome
      FROM (SELECT DISTINCT subject_type, subject_id FROM outbox_history
             WHERE what = 'message.in_doubt' AND at >= :since AND CAST(detail ->> 'restore' AS bigint) = :id) s
      LEFT JOIN LATERAL (
           SELECT bool_or(state = 'parked') AS parked, bool_or(unresolved_why = '{RESTORED}') AS in_doubt
             FROM outbox_messages t WHERE t.subject_type = s.subject_type AND t.subject_id = s.subject_id) m ON true
      LEFT JOIN LATERAL (
           SELECT bool_or(purpose = 'look_up' AND status = 'success') AS found,
                  bool_or(purpose = 'write' AND status = 'success') AS sent FROM outbox_attempts t
            WHERE t.subject_type = s.subject_type AND t.subject_id = s.subject_id AND t.started_at >= :since) a ON true
     ORDER BY s.subject_type, s.subject_id
""")
# Found upstream, though we never knew it: filed in the time that was lost, and filed again by its person.
FILED_AGAIN = text("""
    SELECT DISTINCT a.subject_type, a.subject_id
      FROM outbox_attempts a
     WHERE a.purpose = 'look_up' AND a.status = 'success' AND a.started_at BETWEEN :since AND :until
       AND NOT EXISTS (SELECT 1 FROM outbox_history h WHERE h.subject_type = a.subject_type
                          AND h.subject_id = a.subject_id AND h.at < :since)
       AND a.subject_type = ANY(:subjects)
     ORDER BY 1, 2
""")


def ends_at(db: Database) -> datetime | None:
    """How far a database goes that seems to be restored, within a few seconds; None where nothing shows that it is."""
    found: datetime | None = db.execute(ENDS_AT, {}).scalar_one_or_none()
    return found


def unfinished(db: Database) -> Row[Any] | None:
    """The restore whose messages are not all marked yet."""
    row: Row[Any] | None = db.execute(UNFINISHED, {}).one_or_none()
    return row


def last(db: Database) -> Row[Any] | None:
    """The restore recorded last."""
    row: Row[Any] | None = db.execute(LAST, {}).one_or_none()
    return row


def begin(
    db: Database, *, restored_to: datetime, lost_at: datetime, look_first_until: datetime, actor: str, reason: str
) -> int:
    """Record a restore, and return its id. Written in history. Raises IntegrityError while another is unfinished."""
    times = {"restored_to": restored_to, "lost_at": lost_at, "look_first_until": look_first_until}
    found = int(db.execute(BEGIN, {**times, "actor": actor, "reason": reason}).one().id)
    detail = {name: value.isoformat() for name, value in times.items()}
    write_history(db, SUBJECT, str(found), "restore.recorded", actor=actor, detail={**detail, "reason": reason})
    return found


def mark(db: Database, restore: Row[Any], actor: str, batch: int = BATCH) -> int:
    """Open the question on the next messages; returns how many. 0 when all are marked."""
    values = {"id": restore.id, "lost_at": restore.lost_at, "last": restore.last_message_id, "actor": actor}
    ids = db.execute(MARK, {**values, "after": restore.marked_to_id, "batch": batch}).scalars().all()
    if ids:
        db.execute(PROGRESS, {"id": restore.id, "marked": max(ids)})
    return len(ids)


def end(db: Database, restore_id: int) -> None:
    """All are marked. Relays are woken when the caller commits."""
    db.execute(END, {"id": restore_id})
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))


def pass_on(db: Database) -> None:
    """What is enqueued in the rest of this transaction follows from work in doubt, and is in doubt as well."""
    db.execute(text(f"SELECT set_config('{IN_DOUBT}', 'yes', true)"))


def is_passed_on(db: Database) -> bool:
    """Whether this transaction records what became of work in doubt."""
    return bool(db.execute(text(f"SELECT COALESCE(current_setting('{IN_DOUBT}', true), '') = 'yes'")).scalar_one())


def hand_over(db: Database, message_id: int) -> None:
    """A human decides about it from here on: when they requeue it, what no look-up finds is sent."""
    db.execute(HAND_OVER, {"id": message_id})


def outcomes(db: Database, restore: Row[Any]) -> list[Row[Any]]:
    """What became of each subject with a marked message: `subject_type`, `subject_id`, and `outcome` in words."""
    return list(db.execute(OUTCOMES, {"id": restore.id, "since": restore.recorded_at}).all())


def filed_again(db: Database, restore: Row[Any], subjects: list[str]) -> list[Row[Any]]:
    """Subjects of these types that are newer than the restore, and that a look-up found upstream."""
    values = {"since": restore.recorded_at, "until": restore.look_first_until, "subjects": subjects}
    return list(db.execute(FILED_AGAIN, values).all())
