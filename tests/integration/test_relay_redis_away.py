"""A relay whose Redis is away: every new claim wakes it, and none of these wake-ups costs Postgres anything."""

from __future__ import annotations

import time

from redis.exceptions import ConnectionError as RedisConnectionError

from outbox import relay as relay_module
from tests.ledger import CALLS, CHORES, HookedRedis, Ledger


class AwayRedis(HookedRedis):
    """Refuses and counts every push until `away` is set to False."""

    pushes = 0
    away = True

    def before(self) -> None:
        self.pushes += 1
        if self.away:
            raise RedisConnectionError("nobody listens")


def test_while_redis_is_away_a_relay_tries_once_a_second_however_often_it_is_woken(ledger: Ledger) -> None:
    waiting = [ledger.add(), ledger.add(queue=CHORES)]
    redis = AwayRedis(connection_pool=ledger.redis.connection_pool)
    relay = ledger.another_relay(CALLS, CHORES, redis=redis)
    began = time.monotonic()
    for _ in range(20):
        assert relay.run_once() == relay_module.POLL_SECONDS
    assert 1 <= redis.pushes <= 1 + (time.monotonic() - began) // relay_module.POLL_SECONDS
    assert [ledger.state(message_id) for message_id in waiting] == ["ready", "ready"]


def test_when_redis_is_back_all_waiting_work_is_published_within_a_poll(ledger: Ledger) -> None:
    waiting = [ledger.add(), ledger.add(queue=CHORES)]
    redis = AwayRedis(connection_pool=ledger.redis.connection_pool)
    relay = ledger.another_relay(CALLS, CHORES, redis=redis)
    relay.run_once()
    redis.away = False
    time.sleep(relay_module.POLL_SECONDS)
    relay.run_once()
    assert [ledger.state(message_id) for message_id in waiting] == ["published", "published"]
