"""Missing pointers: those that Redis lost are published again, those that are only slow are left in peace."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError

from outbox import relay as relaying
from outbox import rq_side
from outbox.relay import Relay
from tests.ledger import CALLS, HookedRedis, Ledger


def look(ledger: Ledger, relay: Relay | None = None) -> None:
    """The relay's search for missing pointers, when everything published is old enough for it."""
    ledger.pass_time(6)
    (relay or ledger.relay).find_missing()


def test_pointers_that_redis_lost_are_published_again_with_a_new_fence(ledger: Ledger) -> None:
    message_id = ledger.add()
    ledger.relay.move(CALLS)
    old = ledger.row(message_id)["fence"]
    ledger.redis.flushall()
    look(ledger)
    assert ledger.state(message_id) == "published", "once is not enough: a worker may be about to grant it"
    look(ledger)
    assert ledger.state(message_id) == "ready"
    ledger.relay.move(CALLS)
    assert ledger.row(message_id)["fence"] != old
    assert ledger.grant(message_id, old) is None


def test_a_recent_publication_is_not_searched_for(ledger: Ledger) -> None:
    message_id = ledger.add()
    ledger.publish()
    for _ in range(8):
        ledger.relay.find_missing()
    assert ledger.state(message_id) == "published"


def test_a_long_wait_in_a_queue_is_no_evidence_of_loss(ledger: Ledger) -> None:
    message_id = ledger.add()
    ledger.relay.move(CALLS)
    for _ in range(8):
        ledger.pass_time(3600)
        ledger.relay.find_missing()
    assert len(ledger.waiting()) == 1
    assert ledger.state(message_id) == "published"


def test_a_crash_between_commit_and_push_is_repaired_by_another_relay(ledger: Ledger) -> None:
    message_id = ledger.add()
    ledger.publish()
    other = ledger.another_relay()
    look(ledger, other)
    look(ledger, other)
    other.move(CALLS)
    assert [pointer[0] for pointer in ledger.waiting()] == [message_id]


def take_and_die(ledger: Ledger, started: bool) -> int:
    """A worker takes the only pointer and dies, before or after RQ recorded the job as started."""
    message_id = ledger.add()
    ledger.relay.move(CALLS)
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    ((popped, fence),) = ledger.waiting()
    identifier = rq_side.job_id(popped, fence)
    ledger.redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    if started:
        ledger.redis.lrem(queue.intermediate_queue_key, 1, identifier)
        ledger.redis.zadd(queue.started_job_registry.key, {f"{identifier}:execution": 1})
    return message_id


def test_an_entry_in_the_intermediate_list_is_no_evidence_of_a_worker(ledger: Ledger) -> None:
    message_id = take_and_die(ledger, started=False)
    look(ledger)
    look(ledger)
    assert ledger.state(message_id) == "ready"


def test_a_started_entry_without_a_grant_is_trusted_a_little_longer(ledger: Ledger) -> None:
    message_id = take_and_die(ledger, started=True)
    for _ in range(relaying.STARTED_GRACE_LOOKS - 1):
        look(ledger)
        assert ledger.state(message_id) == "published"
    look(ledger)
    assert ledger.state(message_id) == "ready"


def test_an_unreachable_redis_is_no_evidence_about_its_pointers(ledger: Ledger) -> None:
    message_id = ledger.add()
    ledger.relay.move(CALLS)

    def away() -> None:
        raise RedisConnectionError("away")

    hooked = HookedRedis(connection_pool=ledger.redis.connection_pool)
    hooked.before = away
    relay = ledger.another_relay(redis=hooked)
    for _ in range(8):
        look(ledger, relay)
    assert ledger.state(message_id) == "published"
