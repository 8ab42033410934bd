"""Short wait after a claim is posted, so that the answer can say how it ended, and not only that it began."""

from __future__ import annotations

import math
import time
import uuid

from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.travel_pay.states import PENDING
from flaskapp.upstreams.transport.http import seconds_left
from flaskapp.web.passthrough import bulkhead
from outbox import sql

FIRST_LOOK_SECONDS, MOST_SECONDS = 0.02, 0.25

LOOK = text(f"""
    SELECT c.state, {sql.held_up("'travel_pay_claim'", "c.id::text")} AS held_up
      FROM travel_pay_claims c WHERE c.id = :id
""")


def until_final(claim_id: uuid.UUID, ends_at: float) -> None:
    """Return when the claim has ended, or at `ends_at` (monotonic seconds), or as soon as waiting is useless, or the
    request's own time is used up.

    Only a few callers wait at once in a process; without a free slot the answer says how the claim stands now. No
    connection is held between two looks.
    """
    ends_at = min(ends_at, time.monotonic() + seconds_left(math.inf))
    with bulkhead().take("travel_pay_claims") as free:
        pause = FIRST_LOOK_SECONDS
        while free and not is_over(claim_id):
            left = ends_at - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(MOST_SECONDS, pause * 1.5)


def is_over(claim_id: uuid.UUID) -> bool:
    """Whether it has ended, or waits for an open or held breaker or for a retry: then waiting here is useless."""
    with transaction() as session:
        row = session.execute(LOOK, {"id": claim_id}).one()
    db.session.remove()
    return row.state != PENDING or row.held_up
