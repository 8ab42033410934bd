"""Trouble of one queue, at its breaker or in Redis, keeps no other queue waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event, text

from outbox import rq_side
from tests.ledger import CALLS, CHORES, Ledger
from tests.product import eventually


@pytest.fixture
def impatient(ledger: Ledger) -> Iterator[Ledger]:
    """A ledger whose transactions wait only shortly for a lock."""

    def hurry(connection: object) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")  # type: ignore[attr-defined]

    event.listen(ledger.engine, "begin", hurry)
    yield ledger
    event.remove(ledger.engine, "begin", hurry)


def test_a_locked_breaker_delays_only_its_own_queue(impatient: Ledger) -> None:
    ledger = impatient
    held_up, other = ledger.add(), ledger.add(queue=CHORES)
    with ledger.engine.connect() as somebody:
        somebody.execute(text("SELECT FROM outbox_breakers WHERE upstream = 'clerk' FOR UPDATE"))
        ledger.relay.run_once()
        assert (ledger.state(held_up), ledger.state(other)) == ("ready", "published")
    ledger.relay.run_once()
    assert ledger.state(held_up) == "published"


def test_a_key_of_the_wrong_type_in_redis_delays_only_its_own_queue(ledger: Ledger) -> None:
    held_up, other = ledger.add(), ledger.add(queue=CHORES)
    ledger.redis.set(rq_side.open_queue(ledger.redis, CALLS.name).key, "no list")
    ledger.relay.run_once()

    def others_turn() -> bool:
        ledger.relay.run_once()
        return ledger.state(other) == "published"

    assert eventually(others_turn)
    assert ledger.state(held_up) == "ready"
