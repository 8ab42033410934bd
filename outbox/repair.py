"""Putting the ledger's own records right after something outside the product damaged them: never on its own account.

Each of these is safe whatever the upstream holds: what may have been sent is looked up before it is sent again.
"""

from __future__ import annotations

from sqlalchemy import text

from outbox.attempts import ENDED
from outbox.values import QueueSpec
from outbox.write import WAKE_CHANNEL, Database

# The latest message of this job that was tried for the subject and is gone, with what its last write left open.
LOST = text("""
    SELECT a.message_id, w.started_at, w.error_class,
           w.id IS NOT NULL AND (w.status <> 'error' OR w.error_class = 'Duplicate') AS is_open
      FROM outbox_attempts a
      LEFT JOIN LATERAL (SELECT * FROM outbox_attempts w WHERE w.message_id = a.message_id AND w.purpose = 'write'
                          ORDER BY w.id DESC LIMIT 1) w ON true
     WHERE a.subject_type = :subject_type AND a.subject_id = :subject_id
       AND a.job = (SELECT job FROM outbox_messages WHERE id = :message_id)
       AND NOT EXISTS (SELECT 1 FROM outbox_messages m WHERE m.id = a.message_id)
     ORDER BY a.message_id DESC LIMIT 1
""")
NEWEST = text("""
    SELECT max(id) FROM outbox_messages WHERE subject_type = :subject_type AND subject_id = :subject_id
""")
# In the order of their ids, so that two who lock the same never wait for each other.
LOCK = text("""
    SELECT state FROM outbox_messages WHERE subject_type = :subject_type AND subject_id = :subject_id
     ORDER BY id FOR UPDATE
""")
# Under its old id it finds its attempts again, and with them every answer that ever came.
RENAME = text("""
    WITH made AS (DELETE FROM outbox_messages WHERE id = :message_id RETURNING *)
    INSERT INTO outbox_messages (id, job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at,
                                 budget_from, give_up_at, unresolved_since, unresolved_why) OVERRIDING SYSTEM VALUE
    SELECT :lost, job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at,
           budget_from, give_up_at, CAST(:since AS timestamptz), CAST(:why AS text) FROM made
""")
# A try without its running message: a write may have happened, and its message, if there still is one, asks first.
END_TRY = text(f"""
    WITH ended AS (
        UPDATE outbox_attempts a
           SET status = CASE WHEN purpose = 'write' THEN 'unknown' ELSE 'error' END,
               {ENDED}, error_class = 'WorkerLost'
         WHERE a.message_id = :message_id AND a.status = 'try'
           AND NOT EXISTS (SELECT 1 FROM outbox_messages m
                            WHERE m.id = a.message_id AND m.fence = a.fence AND m.state = 'running')
        RETURNING a.message_id, a.purpose, a.started_at
    )
    UPDATE outbox_messages m
       SET unresolved_since = COALESCE(m.unresolved_since, ended.started_at),
           unresolved_why = COALESCE(m.unresolved_why, 'unanswered'), not_found_count = 0
      FROM ended WHERE m.id = ended.message_id AND ended.purpose = 'write'
""")
# Running without a try: somebody may be at it, and may have sent it. It waits with its question open.
RECLAIM = text("""
    UPDATE outbox_messages m
       SET state = 'ready', due_at = outbox_now(), worker_id = NULL, lease_expires_at = NULL, not_found_count = 0,
           unresolved_since = COALESCE(unresolved_since, outbox_now()),
           unresolved_why = COALESCE(unresolved_why, 'unanswered')
     WHERE id = :message_id AND state = 'running' AND NOT EXISTS (
           SELECT 1 FROM outbox_attempts a WHERE a.message_id = m.id AND a.fence = m.fence AND a.status = 'try')
""")
ASK_AGAIN = text("""
    UPDATE outbox_messages m
       SET unresolved_since = w.started_at, not_found_count = 0,
           unresolved_why = CASE WHEN w.error_class = 'Duplicate' THEN 'duplicate' ELSE 'unanswered' END
      FROM (SELECT started_at, error_class FROM outbox_attempts
             WHERE message_id = :message_id AND purpose = 'write' ORDER BY id DESC LIMIT 1) w
     WHERE m.id = :message_id AND m.state <> 'running' AND m.unresolved_since IS NULL
    RETURNING m.id
""")
# Due now, with the longest limits there are: gates and bounds still stand before it.
LET_GO_ON = text("""
    WITH moment AS (SELECT outbox_now() AS now, outbox_now() + interval '1 day' AS tomorrow)
    UPDATE outbox_messages
       SET due_at = CASE WHEN due_at > tomorrow THEN now ELSE due_at END,
           published_at = CASE WHEN published_at > tomorrow THEN now ELSE published_at END,
           budget_from = CASE WHEN budget_from > tomorrow THEN now ELSE budget_from END,
           lease_expires_at = CASE WHEN lease_expires_at > tomorrow THEN tomorrow ELSE lease_expires_at END,
           deadline_at = CASE WHEN deadline_at > now + interval '60 days' THEN tomorrow ELSE deadline_at END,
           give_up_at = LEAST(give_up_at, now + interval '30 days')
      FROM moment WHERE id = :message_id RETURNING id
""")
SERVE = text("""
    UPDATE outbox_messages SET queue = :queue, upstream = :upstream WHERE id = :message_id AND state <> 'running'
    RETURNING id
""")
END_TRIPS = text("""
    UPDATE outbox_breaker_trips c SET closed_at = outbox_now()
     WHERE c.upstream = :upstream AND c.closed_at IS NULL
       AND EXISTS (SELECT 1 FROM outbox_breakers g WHERE g.upstream = c.upstream AND g.opened_at IS NULL)
""")
BEGIN_TRIP = text("""
    INSERT INTO outbox_breaker_trips (upstream, opened_at, reason)
    SELECT upstream, opened_at, COALESCE(reason, 'unknown') FROM outbox_breakers
     WHERE upstream = :upstream AND opened_at IS NOT NULL
    ON CONFLICT (upstream) WHERE closed_at IS NULL DO NOTHING
""")
# Its next probe goes after the longest time that an answer of the upstream could have closed it for.
SHORTEN_TRIP = text("""
    UPDATE outbox_breakers SET open_until = LEAST(open_until, outbox_now() + make_interval(secs => :cap))
     WHERE upstream = :upstream
""")
# Until the moment it opened at, nothing would go through it and nothing would close it.
CLOSED_NOW = text("UPDATE outbox_breakers SET closed_at = LEAST(closed_at, outbox_now()) WHERE upstream = :upstream")


def is_running(db: Database, subject_type: str, subject_id: str) -> bool:
    """Lock what is owed to the subject; whether a worker has any of it in hand."""
    rows = db.execute(LOCK, {"subject_type": subject_type, "subject_id": subject_id}).all()
    return any(row.state == "running" for row in rows)


def take_up_again(db: Database, subject_type: str, subject_id: str) -> int:
    """The subject's newest message becomes the lost one it stands for, if that was ever tried; returns its id.

    What the lost one may have done upstream is an open question of the new one: it looks before it sends.
    """
    subject = {"subject_type": subject_type, "subject_id": subject_id}
    message_id = int(db.execute(NEWEST, subject).scalar_one())
    lost = db.execute(LOST, {**subject, "message_id": message_id}).one_or_none()
    if lost is None:
        return message_id
    why = None if not lost.is_open else "duplicate" if lost.error_class == "Duplicate" else "unanswered"
    since = lost.started_at if lost.is_open else None
    db.execute(RENAME, {"message_id": message_id, "lost": lost.message_id, "since": since, "why": why})
    end_tries(db, lost.message_id)
    return int(lost.message_id)


def end_tries(db: Database, message_id: int) -> None:
    """End the tries that no running message stands for."""
    db.execute(END_TRY, {"message_id": message_id})


def reclaim(db: Database, message_id: int) -> None:
    """A running message whose try is gone waits again, and looks before it sends."""
    db.execute(RECLAIM, {"message_id": message_id})
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))


def ask_again(db: Database, message_id: int) -> bool:
    """What its last write may have done is an open question again; False where somebody has it in hand, or did it."""
    return db.execute(ASK_AGAIN, {"message_id": message_id}).one_or_none() is not None


def let_go_on(db: Database, message_id: int) -> bool:
    """Its moments are no further ahead than any of ours ever are; False where it is done."""
    found = db.execute(LET_GO_ON, {"message_id": message_id}).one_or_none()
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return found is not None


def serve(db: Database, message_id: int, queue: QueueSpec) -> bool:
    """It waits where its job is done; False while a worker has it in hand."""
    values = {"message_id": message_id, "queue": queue.name, "upstream": queue.upstream}
    return db.execute(SERVE, values).one_or_none() is not None


def match_trips(db: Database, upstream: str) -> None:
    """The book of trips follows the gate: budgets run in the time between them."""
    db.execute(END_TRIPS, {"upstream": upstream})
    db.execute(BEGIN_TRIP, {"upstream": upstream})


def shorten_trip(db: Database, upstream: str, cap_seconds: float) -> None:
    """A gate is closed no longer than its upstream's own answers could have closed it for."""
    db.execute(SHORTEN_TRIP, {"upstream": upstream, "cap": cap_seconds})


def date_closing(db: Database, upstream: str) -> None:
    """A gate said to open in the future is open, and its flow starts slowly."""
    db.execute(CLOSED_NOW, {"upstream": upstream})
