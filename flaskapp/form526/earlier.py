"""Earlier uploads of a document that is to be uploaded again: what became of them comes first.

Lighthouse's FAILED is not always its last word (contract: benefits 4.3), and a second upload makes a second document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.form526.documents import SUBJECT, UPLOAD_WORK
from flaskapp.form526.polling import step_of
from flaskapp.form526.states import CLAIMS_EVIDENCE
from flaskapp.upstreams.lighthouse.documents import Statuses
from outbox import attempts, sql

# The request ids that it had each time that somebody had it uploaded again.
RESENT = text(f"""
    SELECT CAST(h.detail ->> 'earlier_request_id' AS bigint) {sql.history(subject_type=":subject", subject_id=":id")}
       AND h.what = 'document.moved' AND h.detail ->> 'earlier_request_id' IS NOT NULL
""")
ARRIVED, ON_ITS_WAY = "success", "in_progress"


class StillUnclear(Exception):
    """It cannot be read what became of an earlier upload."""


@dataclass(frozen=True)
class Received:
    """Lighthouse has a document under this request id.

    `found` is how an earlier upload of it stands, where nothing was sent: ARRIVED or ON_ITS_WAY. `beside` counts the
    other earlier uploads that may have arrived as well.
    """

    request_id: int
    found: str | None = None
    beside: int = 0


def earlier_ids(session: DbSession, document_id: str) -> tuple[int, ...]:
    """The request ids that uploads of it were given: by the answers, late ones included, and by its history."""
    answered = {int(kept["request"]) for kept in attempts.answers(session, SUBJECT, document_id, UPLOAD_WORK.path)}
    resent = session.execute(RESENT, {"subject": SUBJECT, "id": document_id}).scalars()
    return tuple(sorted(answered | set(resent)))


def judge_earlier(request_ids: Sequence[int], reply: Statuses) -> Received | None:
    """The earlier upload that arrived, else one that is on its way; None when Lighthouse says that there is none.

    Raises StillUnclear where it might be either.
    """
    states = {each: reply.found[each].state if each in reply.found else None for each in request_ids}
    for wanted in (ARRIVED, ON_ITS_WAY):
        for request_id, state in states.items():
            if state == wanted:
                others = [each for each in request_ids if each != request_id]
                return Received(request_id, wanted, count_arrived(others, reply))
    if reply.unreadable or "unknown" in states.values():
        raise StillUnclear
    return None


def count_arrived(request_ids: Sequence[int], reply: Statuses) -> int:
    """How many of these may be in the veteran's file: all but those that failed before they got there."""
    statuses = [reply.found.get(each) for each in request_ids]
    return sum(not (each and each.state == "failed" and step_of(each) == CLAIMS_EVIDENCE) for each in statuses)


def kept_of(received: Received) -> dict[str, str]:
    """What an attempt keeps of an answer; answers are compared by their digest."""
    request_id = str(received.request_id)
    kept = {"request": request_id, "digest": vault().digest("document", request_id), "beside": str(received.beside)}
    return {**kept, "found": received.found} if received.found else kept


def received_from(kept: dict[str, str]) -> Received:
    return Received(int(kept["request"]), kept.get("found"), int(kept.get("beside", 0)))
