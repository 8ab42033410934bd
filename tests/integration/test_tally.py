"""The tally: of few messages it is always new; of many it is kept, says how old it is, and is counted again in time."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from flaskapp.db import transaction
from jobs import housekeeping
from outbox import tally
from tests.product import Product

# Due for a minute.
ENQUEUE = text("""
    INSERT INTO outbox_messages (job, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT 'jobs.travel_claims.submit_claim', 'travel_claims', 'btsss', 'travel_claim', gen_random_uuid()::text,
           'ready', outbox_now() - interval '1 minute', outbox_now() + interval '1 day', outbox_now() + interval '5 day'
      FROM generate_series(1, :count)
""")


def enqueue(count: int) -> None:
    with transaction() as session:
        session.execute(ENQUEUE, {"count": count})


def shown(product: Product) -> float:
    name = 'surefile_messages{queue="travel_claims",state="ready"} '
    return float(next(line for line in product.metrics().splitlines() if line.startswith(name)).removeprefix(name))


def test_what_is_large_is_counted_once_for_everybody_and_again_in_time(product: Product) -> None:
    for count in (1, 2):
        enqueue(1)
        assert shown(product) == count
    enqueue(tally.LARGE)
    assert shown(product) == tally.LARGE + 2
    enqueue(1)
    # Nobody counts anew for the metrics, for readiness, for the console; each says how old it is, or what was due then.
    product.move_clock(timedelta(seconds=tally.COUNT_AGAIN_SECONDS + 1))
    assert shown(product) == tally.LARGE + 2
    age = next(line for line in product.metrics().splitlines() if line.startswith("surefile_counted_seconds "))
    assert tally.COUNT_AGAIN_SECONDS < float(age.partition(" ")[2]) < tally.KEEP_SECONDS
    ready = product.app.test_client().get("/healthz/ready").get_json()
    assert ready["oldest_due_seconds"] > 60 + tally.COUNT_AGAIN_SECONDS
    housekeeping.sweep()
    assert shown(product) == tally.LARGE + 3
    # Without a sweep, whoever comes when it is too old counts.
    enqueue(1)
    assert shown(product) == tally.LARGE + 3
    product.move_clock(timedelta(seconds=3 * tally.KEEP_SECONDS))
    assert shown(product) == tally.LARGE + 4
