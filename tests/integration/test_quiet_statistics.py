"""Messages are found by their key, also with statistics from an hour in which nothing was in flight and none parked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event

from outbox import attempts, breakers, grants, parked, registries, relay, rescue, rq_side
from tests.integration.footprint_steps import Plans
from tests.ledger import ACCEPTED, CALLS, REOPEN, Ledger

WAITING = 4_000
ENQUEUE = """
    INSERT INTO outbox_messages (job, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT 'none', 'elsewhere', 'elsewhere', 'toy', number::text, 'ready', tomorrow, tomorrow, tomorrow
      FROM (SELECT outbox_now() + interval '1 day' AS tomorrow) AS clock, generate_series(1, :count) AS number
"""
MOVE_ON = """
    UPDATE outbox_messages
       SET state = (ARRAY['published', 'running', 'parked'])[1 + id % 3], fence = id, published_at = outbox_now(),
           worker_id = CASE id % 3 WHEN 1 THEN 'none' END, parked_reason = CASE id % 3 WHEN 2 THEN 'none' END,
           lease_expires_at = CASE id % 3 WHEN 1 THEN due_at END
     WHERE queue = 'elsewhere'
"""


@pytest.fixture
def plans(ledger: Ledger) -> Iterator[Plans]:
    """Plans of what is executed while thousands are in flight or parked, of which the statistics know nothing."""
    ledger.run(ENQUEUE, count=WAITING)
    ledger.run("ANALYZE outbox_messages")
    ledger.run(MOVE_ON)
    found = Plans()
    event.listen(ledger.engine, "before_cursor_execute", found.explain)
    yield found
    event.remove(ledger.engine, "before_cursor_execute", found.explain)
    ledger.run("DELETE FROM outbox_messages")
    ledger.run("ANALYZE outbox_messages")


def put_through_everything(ledger: Ledger) -> None:
    """A grant, a settle that parks, a requeue, and pointers whose messages are not theirs any more."""
    done = ledger.start()
    with ledger.engine.begin() as db:
        assert attempts.complete_held(db, [(done, ACCEPTED)]) == {done.attempt_id: False}
    grant = ledger.start()
    rescue.keep(ledger.engine, grant.worker_id, [grant])
    ledger.park(grant)
    registries.show_if_parked(ledger.engine, ledger.redis, grant.message_id, REOPEN)
    with ledger.engine.begin() as db:
        assert parked.reopen(db, grant.message_id, actor="shell")
    ((message_id, fence),) = ledger.publish()
    ledger.relay.undo(fence, [message_id])
    assert ledger.grant(message_id, fence) is None
    ledger.redis.rpush(rq_side.open_queue(ledger.redis, CALLS.name).intermediate_queue_key, "1-1")
    registries.drop_dead(ledger.engine, ledger.redis, CALLS.name)


STATEMENTS = {
    "grant": grants.GRANT,
    "a stale pointer": grants.TURN_BACK,
    "settle": attempts.LOCK_MESSAGE,
    "settle in one statement": attempts.COMPLETE_HELD,
    "an answer in hand": rescue.KEEP,
    "requeue": parked.REOPEN,
    "showing it as parked": registries.PARKED_ONE,
    "undoing a claim": relay.UNDO,
    "dropping what is stale": registries.LIVE,
    "the probe": breakers.ASK,
}


def test_messages_are_found_by_their_keys(ledger: Ledger, plans: Plans) -> None:
    put_through_everything(ledger)
    used = {name: plans.of(statement) for name, statement in STATEMENTS.items()}
    assert {name for name, indexes in used.items() if "pk_outbox_messages" not in indexes} == set()
    # A claim counts what is in flight.
    del used["the probe"]
    assert {index for indexes in used.values() for index in indexes if index.startswith("ix_outbox_messages")} == set()
