"""The counting of hits: by one process from memory, by several through Redis, in limited memory, and at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flaskapp.config_readers import Rate
from flaskapp.web.rate_counter import MOST_COUNTED, Counts
from sandbox.servers import EmbeddedValkey

TEN = Rate(10, 3600)
MANY = Rate(1000, 3600)


def at_once(work: Callable[[], None]) -> None:
    work()


def never(_work: Callable[[], None]) -> None:
    """The work of reporting is not started; it waits until `tell` is called."""


@pytest.fixture
def redis(redis_server: EmbeddedValkey) -> Iterator[Redis]:
    client = Redis.from_url(redis_server.url)
    client.flushall()
    yield client
    client.close()


def refused(counts: Counts, times: int, rate: Rate = TEN) -> int:
    return sum(counts.add("one", rate) is not None for _ in range(times))


def test_as_many_pass_as_the_rate_says_and_the_rest_learn_when_it_ends(redis: Redis) -> None:
    counts = Counts(redis, "limit:", never)
    assert refused(counts, 13) == 3
    wait = counts.add("one", TEN)
    assert wait is not None and 3590 < wait <= 3600
    assert counts.add("other", TEN) is None


def test_a_new_period_begins_where_one_has_ended(redis: Redis) -> None:
    counts = Counts(redis, "limit:", never)
    assert refused(counts, 11) == 1
    counts.periods["one"].ends_at = time.monotonic()
    assert refused(counts, 11) == 1


def test_processes_learn_from_each_other(redis: Redis) -> None:
    first, second = Counts(redis, "limit:", never), Counts(redis, "limit:", never)
    for counts in (first, second):
        assert refused(counts, 6) == 0
        counts.tell()
    assert refused(second, 1) == 1
    assert refused(first, 1) == 0
    first.tell()
    assert refused(first, 1) == 1
    assert int(redis.get("limit:one") or 0) == 13


def test_hits_far_from_a_limit_are_not_reported_to_redis(redis: Redis) -> None:
    counts = Counts(redis, "limit:", at_once)
    assert refused(counts, 99, MANY) == 0
    assert redis.keys() == []
    assert refused(counts, 1, MANY) == 0
    assert redis.get("limit:one") == b"100"


def test_what_is_taken_back_is_taken_back_everywhere(redis: Redis) -> None:
    first, second = Counts(redis, "limit:", never), Counts(redis, "limit:", never)
    assert refused(first, 10) == 0
    first.tell()
    first.add("one", TEN, -1)
    first.tell()
    assert refused(second, 1) == 0
    second.tell()
    assert refused(second, 1) == 1


def test_a_lost_answer_counts_nobody_twice(redis: Redis) -> None:
    class Deaf(Redis):
        def eval(self, *args: Any) -> Any:
            super().eval(*args)
            raise ConnectionError("the answer was lost")

    deaf = Deaf(connection_pool=redis.connection_pool, retry=Retry(NoBackoff(), 0))
    counts = Counts(deaf, "limit:", never)
    assert refused(counts, 4) == 0
    for _ in range(3):
        counts.tell()
    assert redis.get("limit:one") == b"4"


def test_a_flushed_redis_forgives_no_process_what_it_counted_itself(redis: Redis) -> None:
    counts = Counts(redis, "limit:", never)
    assert refused(counts, 9) == 0
    counts.tell()
    redis.flushall()
    counts.add("one", TEN)
    counts.tell()
    assert refused(counts, 1) == 1


def test_one_thread_at_a_time_reports_to_redis_until_it_knows_all(redis: Redis) -> None:
    begun: list[Callable[[], None]] = []
    counts = Counts(redis, "limit:", begun.append)
    assert refused(counts, 50) == 40
    assert len(begun) == 1
    begun[0]()
    assert redis.get("limit:one") == b"50"
    assert refused(counts, 50) == 50
    assert len(begun) == 2


def test_a_process_without_redis_keeps_its_limits(redis: Redis) -> None:
    counts = Counts(Redis(port=1, retry=Retry(NoBackoff(), 0)), "limit:", never)
    assert refused(counts, 12) == 2
    assert not counts.tell()
    assert refused(counts, 3) == 3


def test_a_crowd_of_strangers_takes_limited_memory_and_no_time(redis: Redis) -> None:
    counts = Counts(redis, "limit:", never)
    began = time.thread_time()
    for number in range(MOST_COUNTED + 5_000):
        counts.add(str(number), MANY)
    each = (time.thread_time() - began) / (MOST_COUNTED + 5_000)
    assert len(counts.periods) == MOST_COUNTED
    assert each < 0.0002


def test_threads_lose_no_hit(redis: Redis) -> None:
    counts = Counts(redis, "limit:")
    threads = [threading.Thread(target=lambda: refused(counts, 500, MANY)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.periods["one"].here == 2000
