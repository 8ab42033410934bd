"""Requeue: reopens a parked message in the same way for the dashboard, the console and the command line."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError, NoResultFound

from flaskapp import subjects
from flaskapp.current import flows
from flaskapp.db import transaction
from flaskapp.statemachine import IllegalMove
from outbox import parked, write_history

# The callable behind *Requeue* on the RQ dashboard.
REOPEN_PATH = "jobs.ledger.requeue_from_dashboard"

UNIQUE_VIOLATION, EXCLUSION_VIOLATION = "23505", "23P01"


class Refused(Exception):
    """The message stays parked; the text says why."""


def requeue_message(
    message_id: int,
    *,
    actor: str,
    fence: int | None = None,
    although_superseded: bool = False,
    reason: str | None = None,
) -> bool:
    """`parked` → `ready` and its subject back to work, in one transaction; False when somebody else was first.

    Raises Refused when a constraint or the subject's states do not allow it, when its subject is gone, or when a newer
    one takes its place, unless it is wanted `although_superseded`. The message then keeps the reason.
    """
    try:
        with transaction() as session:
            row = parked.reopen(session, message_id, actor=actor, fence=fence, reason=reason)
            if row is None:
                return False
            subject = flows().subjects[row.subject_type]
            subjects.reopen_subject(session, subject, row.subject_id, actor, although_superseded=although_superseded)
            session.flush()
        return True
    except (IntegrityError, IllegalMove, NoResultFound) as error:
        why = constraint_of(error)
    with transaction() as session:
        parked.keep_parked(session, message_id, f"requeue refused: {why}")
        write_history(session, "message", str(message_id), "message.reopen_refused", actor=actor, message_id=message_id)
    raise Refused(why)


def constraint_of(error: Exception) -> str:
    """The rule that refused it, without the row's values: those may be personal data."""
    if isinstance(error, IntegrityError):
        name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        newer = getattr(error.orig, "pgcode", None) in (UNIQUE_VIOLATION, EXCLUSION_VIOLATION)
        return f"{'a newer one exists' if newer else 'a constraint forbids it'} ({name})"
    return "what it was for is gone" if isinstance(error, NoResultFound) else str(error)
