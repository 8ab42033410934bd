"""Outstanding work by the thousand or the million, put there at once."""

from __future__ import annotations

import time
from dataclasses import replace

from sqlalchemy import text

from flaskapp.db import db
from outbox.connections import connect_autocommit
from outbox.relay import Relay
from tests.benchmarks.noop import BENCH, NOOP

CLAIMS = 25
CLAIMED = 200

# Work that waits for a retry is older than new work, so its deadlines come first: the claim must not walk past all of
# it. The time is read once: as a column default, outbox_now() would run three times for each of a million rows.
ENQUEUE = text("""
    INSERT INTO outbox_messages
        (job, queue, upstream, subject_type, subject_id, state,
         due_at, deadline_at, budget_from, created_at, give_up_at)
    SELECT :job, :queue, :upstream, 'bench', gen_random_uuid()::text, :state,
           at + CASE WHEN :state = 'later' THEN interval '1 day' ELSE interval '0' END,
           at + CASE WHEN :state = 'later' THEN interval '1 hour' ELSE interval '1 day' END
                  + number * interval '1 millisecond',
           at, at, at + interval '9 days'
      FROM (SELECT outbox_now() AS at OFFSET 0) AS clock, generate_series(1, :count) AS number
""")


# A million rows take longer than any statement of the product may.
PATIENTLY = text("SET LOCAL statement_timeout = 0")


def enqueue(count: int, state: str = "ready") -> None:
    values = {"job": NOOP.work.path, "queue": BENCH.name, "upstream": BENCH.upstream, "state": state, "count": count}
    with db.engine.begin() as connection:
        connection.execute(PATIENTLY)
        connection.execute(ENQUEUE, values)


def vacuum(table: str = "outbox_messages") -> None:
    with connect_autocommit(db.engine) as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(f"VACUUM ANALYZE {table}"))
        connection.execute(text("RESET statement_timeout"))


def claims(relay: Relay) -> list[float]:
    """Claim after claim. What was claimed is done at once, and as much new work comes in."""
    queue = replace(BENCH, depth=CLAIMED)
    times = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        _, claimed = relay.claim(queue)
        times.append(time.perf_counter() - began)
        assert len(claimed) == CLAIMED
        with db.engine.begin() as connection:
            connection.execute(text("DELETE FROM outbox_messages WHERE state = 'published'"))
        enqueue(CLAIMED)
    return times
