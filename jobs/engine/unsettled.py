"""What Surefile itself cannot bring to its end, because its own records, keys or code stand in the way.

It goes to a human as it is: parked, with a case that names the error. Its subject is left as it stands, for nobody
knows better, and the person is told nothing: what was sent, and what was answered, is on the attempts.
"""

from __future__ import annotations

from sqlalchemy import text

from flaskapp.cases.service import open_case
from flaskapp.db import DbSession, db, is_outage, transaction
from jobs.engine.outcome import Outcome
from jobs.engine.settle import ending
from jobs.engine.spec import JobSpec
from outbox import attempts, parked
from outbox.values import Grant
from outbox.write import write_history

KIND = "unsettled"
KEPT_SECONDS = 30.0
NOT_RECORDED = "attempt.not_recorded"
# Whether the attempt before this one could not be recorded either.
TWICE_RUNNING = text("""
    SELECT EXISTS (
        SELECT 1 FROM outbox_history h
         WHERE h.subject_type = :subject_type AND h.subject_id = :subject_id AND h.what = :what
           AND h.message_id = :message_id
           AND CAST(h.detail ->> 'attempt' AS bigint) = (
                SELECT max(a.id) FROM outbox_attempts a WHERE a.message_id = :message_id AND a.id < :attempt_id))
""")


def keep_answer(spec: JobSpec, grant: Grant, outcome: Outcome, error: Exception) -> None:
    """The settle itself cannot be made: put the answer on its attempt, and owe the work again a little later.

    A human gets it where it was so the time before as well: nothing says that it would be otherwise the next time.
    Postgres being away, however often, is no such thing.
    """
    db.session.rollback()
    with transaction() as session:
        if not attempts.lock_message(session, grant):
            return
        why = "unanswered" if grant.purpose == "write" else None
        if is_outage(error) or not was_kept_before(session, grant):
            attempts.finish(session, grant.attempt_id, ending(spec, outcome), late=True)
            attempts.postpone(session, grant, KEPT_SECONDS, unresolved_why=why)
            note_not_recorded(session, grant, error)
        else:
            leave_unsettled(session, spec, grant, outcome, error, why)


def note_not_recorded(session: DbSession, grant: Grant, error: Exception) -> None:
    if not is_outage(error):
        detail = {"attempt": grant.attempt_id, "error": type(error).__name__}
        subject = (grant.subject_type, grant.subject_id)
        write_history(session, *subject, NOT_RECORDED, message_id=grant.message_id, detail=detail)


def was_kept_before(session: DbSession, grant: Grant) -> bool:
    names = ("subject_type", "subject_id", "message_id", "attempt_id")
    values = {name: getattr(grant, name) for name in names}
    return bool(session.execute(TWICE_RUNNING, {**values, "what": NOT_RECORDED}).scalar_one())


def leave_unsettled(
    session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome, error: Exception, why: str | None
) -> None:
    """Parked under a new fence, its answer kept, with a case. What nobody was promised goes, and comes again when it is
    due: nothing would be left to requeue, and history says what went wrong."""
    if spec.disposable:
        attempts.complete(session, grant, ending(spec, outcome))
        return note_not_recorded(session, grant, error)
    attempts.finish(session, grant.attempt_id, ending(spec, outcome), late=True)
    attempts.park(session, grant, reason_of(error), new_fence=parked.draw_fence(), unresolved_why=why)
    open_unsettled(session, grant.subject_type, grant.subject_id, grant.message_id, error)
    return None


def reason_of(error: BaseException) -> str:
    return f"{KIND}: {type(error).__name__}"


def park_unsettled(message_id: int, error: BaseException) -> None:
    """Leave a waiting message to a human; nothing where somebody else was faster."""
    with transaction() as session:
        row = parked.park_waiting(session, message_id, reason=reason_of(error), actor="sweep")
        if row is not None:
            open_unsettled(session, row.subject_type, row.subject_id, message_id, error)


def open_unsettled(
    session: DbSession, subject_type: str, subject_id: str, message_id: int, error: BaseException
) -> None:
    """An alert's subject is a case that is open anyway."""
    if subject_type != "case":
        details = {"message": message_id, "error": type(error).__name__}
        open_case(session, KIND, subject_type, subject_id, details)
