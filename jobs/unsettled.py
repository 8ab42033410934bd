"""What Surefile itself cannot bring to its end, because its own records, keys or code stand in the way.

It goes to a human as it is: parked, with a case that names the error. Its subject is left as it stands, for nobody
knows better, and the person is told nothing: what was sent, and what was answered, is on the attempts.
"""

from __future__ import annotations

from flaskapp.cases.service import open_case
from flaskapp.db import DbSession, transaction
from outbox import parked

KIND = "unsettled"


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
