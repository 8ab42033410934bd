"""Job behind *Requeue* on the RQ dashboard: it reopens a parked message and grants nothing."""

from __future__ import annotations

import logging

from rq import get_current_job

from flaskapp.requeue import Refused, requeue_message

log = logging.getLogger("jobs.ledger")


def requeue_from_dashboard(message_id: int, fence: int) -> None:
    """Reopen a parked message. A stale entry (requeued elsewhere, or parked again) loses the compare-and-set and ends
    quietly."""
    job = get_current_job()
    meta = job.meta if job is not None else {}
    try:
        requeue_message(
            message_id, actor=meta.get("requeued_by") or "rq dashboard", fence=fence, reason=meta.get("requeued_why")
        )
    except Refused as refusal:
        log.warning(
            "requeue refused", extra={"event": "outbox.reopen_refused", "message_id": message_id, "why": str(refusal)}
        )
