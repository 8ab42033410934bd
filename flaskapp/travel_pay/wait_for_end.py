"""The few seconds a posted claim is waited for, so that whoever filed it is told the end and not the beginning."""

from __future__ import annotations

import time
import uuid

from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.travel_pay.states import PENDING
from flaskapp.web.passthrough import bulkhead
from outbox.holds import IN_FORCE

FIRST_LOOK_SECONDS, MOST_SECONDS = 0.02, 0.25

LOOK = text(f"""
    SELECT c.state, EXISTS (SELECT 1 FROM outbox_messages m LEFT JOIN outbox_breakers g ON g.upstream = m.upstream
                             WHERE m.subject_type = 'travel_pay_claim' AND m.subject_id = c.id::text
                               AND (g.upstream IS NULL OR g.opened_at IS NOT NULL OR m.state = 'later'
                                    OR ({IN_FORCE.format(upstream="g.upstream")}) IS NOT NULL)) AS held_up
      FROM travel_pay_claims c WHERE c.id = :id
""")


def until_final(claim_id: uuid.UUID, ends_at: float) -> None:
    """Return when the claim has come to an end, or by `ends_at` (monotonic seconds), or as soon as waiting is in vain.

    Few wait at once in a process; whoever finds no place is answered with what is so now. No connection is held
    between two looks.
    """
    with bulkhead().take("travel_pay_claims") as free:
        pause = FIRST_LOOK_SECONDS
        while free and not is_over(claim_id):
            left = ends_at - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(MOST_SECONDS, pause * 1.5)


def is_over(claim_id: uuid.UUID) -> bool:
    """Whether it is at an end, or has met a gate, closed or held, or a failure: nothing happens while we wait then."""
    with transaction() as session:
        row = session.execute(LOOK, {"id": claim_id}).one()
    db.session.remove()
    return row.state != PENDING or row.held_up
