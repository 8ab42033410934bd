"""Repairs of the ledger's own records, for when something outside the product damaged them.

Nothing here runs by itself: an operator starts it. Each repair is safe whatever the upstream has on file: what may have
been sent is looked up before it is sent again.

Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

from sqlalchemy import text

from outbox.attempts import ENDED
from outbox.values import QueueSpec
from outbox.write import WAKE_CHANNEL, Database

# The latest message of this job that was tried for the subject and is lost, with what its last write left open.
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
# In the order of their ids, so that two transactions that lock the same messages never wait for each other.
LOCK = text("""
    SELECT state FROM outbox_messages WHERE subject_type = :subject_type AND subject_id = :subject_id
     ORDER BY id FOR UPDATE
""")
DROP_IDLE = text("""
    DELETE FROM outbox_messages WHERE subject_type = :subject_type AND subject_id = :subject_id AND state <> 'running'
""")
# Under its old id the message finds its attempts again, and with them every answer that ever came.
RENAME = text("""
    WITH made AS (DELETE FROM outbox_messages WHERE id = :message_id RETURNING *)
    INSERT INTO outbox_messages (id, job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at,
                                 budget_from, give_up_at, unresolved_since, unresolved_why) OVERRIDING SYSTEM VALUE
    SELECT :lost, job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at,
           budget_from, give_up_at, CAST(:since AS timestamptz), CAST(:why AS text) FROM made
""")
# A try without its running message: a write may have happened. Its message, if there still is one, looks up first.
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
# Running without a try: a worker may be at it, and may have sent it. It waits with its question open.
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
# Due now, with the longest limits there are. Breakers and limits still apply to it.
LET_GO_ON = text("""
    WITH times AS (SELECT outbox_now() AS now, outbox_now() + interval '1 day' AS tomorrow)
    UPDATE outbox_messages
       SET due_at = CASE WHEN due_at > tomorrow THEN now ELSE due_at END,
           published_at = CASE WHEN published_at > tomorrow THEN now ELSE published_at END,
           budget_from = CASE WHEN budget_from > tomorrow THEN now ELSE budget_from END,
           lease_expires_at = CASE WHEN lease_expires_at > tomorrow THEN tomorrow ELSE lease_expires_at END,
           deadline_at = CASE WHEN deadline_at > now + interval '60 days' THEN tomorrow ELSE deadline_at END,
           give_up_at = LEAST(give_up_at, now + interval '30 days')
      FROM times WHERE id = :message_id RETURNING id
""")
SERVE = text("""
    UPDATE outbox_messages SET queue = :queue, upstream = :upstream WHERE id = :message_id AND state <> 'running'
    RETURNING id
""")
END_TRIPS = text("""
    UPDATE outbox_breaker_trips t SET closed_at = outbox_now()
     WHERE t.upstream = :upstream AND t.closed_at IS NULL
       AND EXISTS (SELECT 1 FROM outbox_breakers b WHERE b.upstream = t.upstream AND b.opened_at IS NULL)
""")
BEGIN_TRIP = text("""
    INSERT INTO outbox_breaker_trips (upstream, opened_at, reason)
    SELECT upstream, opened_at, COALESCE(reason, 'unknown') FROM outbox_breakers
     WHERE upstream = :upstream AND opened_at IS NOT NULL
    ON CONFLICT (upstream) WHERE closed_at IS NULL DO NOTHING
""")
# Its next probe goes after the longest time that an answer of the upstream could have opened it for, at the latest.
SHORTEN_TRIP = text("""
    UPDATE outbox_breakers SET open_until = LEAST(open_until, outbox_now() + make_interval(secs => :cap))
     WHERE upstream = :upstream
""")
# Until the time it is said to have closed at, nothing would pass and nothing would open it.
DATE_CLOSING = text("UPDATE outbox_breakers SET closed_at = LEAST(closed_at, outbox_now()) WHERE upstream = :upstream")


def is_running(db: Database, subject_type: str, subject_id: str) -> bool:
    """Lock the subject's messages to the end of the caller's transaction. True when a worker is running one of them."""
    rows = db.execute(LOCK, {"subject_type": subject_type, "subject_id": subject_id}).all()
    return any(row.state == "running" for row in rows)


def take_up_again(db: Database, subject_type: str, subject_id: str) -> int:
    """Give the subject's newest message the id of the lost one that it replaces, if that was ever tried.

    Returns the id that the message has now; the subject must have one. What the lost one may have done upstream becomes
    its open question: it is looked up before it is sent.
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


def drop_idle(db: Database, subject_type: str, subject_id: str) -> None:
    """Delete the subject's messages that no worker is running, also parked ones and those with an open question.

    Only for work that is enqueued anew right after this and goes on under the old id (`take_up_again`): what the
    deleted message may have done upstream is lost otherwise.
    """
    db.execute(DROP_IDLE, {"subject_type": subject_type, "subject_id": subject_id})


def end_tries(db: Database, message_id: int) -> bool:
    """End the attempts that still say `try` although no message is running under them. A write among them may have
    happened, so its message looks up first."""
    db.execute(END_TRY, {"message_id": message_id})
    return True


def reclaim(db: Database, message_id: int) -> bool:
    """Let a running message whose try is gone wait again: it is looked up before it is sent. Relays are woken when the
    caller commits."""
    db.execute(RECLAIM, {"message_id": message_id})
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return True


def ask_again(db: Database, message_id: int) -> bool:
    """Open the question again whether the message's last write happened.

    False when a worker is running it, when its question is open already, and when it is gone.
    """
    return db.execute(ASK_AGAIN, {"message_id": message_id}).one_or_none() is not None


def let_go_on(db: Database, message_id: int) -> bool:
    """Set the message's timestamps back to where they can be at most. False when it is gone. Relays are woken when the
    caller commits."""
    found = db.execute(LET_GO_ON, {"message_id": message_id}).one_or_none()
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return found is not None


def serve(db: Database, message_id: int, queue: QueueSpec) -> bool:
    """Put the message into the queue in which its job is done. False when a worker is running it, or it is gone."""
    values = {"message_id": message_id, "queue": queue.name, "upstream": queue.upstream}
    return db.execute(SERVE, values).one_or_none() is not None


def match_trips(db: Database, upstream: str) -> bool:
    """Make the recorded trips agree with the breaker: budgets run in the time between trips."""
    db.execute(END_TRIPS, {"upstream": upstream})
    db.execute(BEGIN_TRIP, {"upstream": upstream})
    return True


def shorten_trip(db: Database, upstream: str, cap_seconds: float) -> bool:
    """Keep the breaker open for `cap_seconds` from now at most: no answer of its upstream could open it for longer."""
    db.execute(SHORTEN_TRIP, {"upstream": upstream, "cap": cap_seconds})
    return True


def date_closing(db: Database, upstream: str) -> bool:
    """Correct a closing that is dated in the future: the breaker closed now, and its flow starts slowly."""
    db.execute(DATE_CLOSING, {"upstream": upstream})
    return True
