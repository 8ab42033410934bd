"""The counting of hits: in limited memory, and at once."""

from __future__ import annotations

import threading
import time

from flaskapp.config_readers import Rate
from flaskapp.web.rate_counter import MOST_COUNTED, Counts

TEN = Rate(10, 3600)
MANY = Rate(1000, 3600)


def refused(counts: Counts, times: int, rate: Rate = TEN) -> int:
    return sum(counts.add("one", rate) is not None for _ in range(times))


def test_as_many_pass_as_the_rate_says_and_the_rest_learn_when_it_ends() -> None:
    counts = Counts()
    assert refused(counts, 13) == 3
    wait = counts.add("one", TEN)
    assert wait is not None and 3590 < wait <= 3600
    assert counts.add("other", TEN) is None


def test_a_new_period_begins_where_one_has_ended() -> None:
    counts = Counts()
    assert refused(counts, 11) == 1
    counts.periods["one"].ends_at = time.monotonic()
    assert refused(counts, 11) == 1


def test_what_is_taken_back_counts_no_more() -> None:
    counts = Counts()
    assert refused(counts, 10) == 0
    counts.add("one", TEN, -1)
    assert refused(counts, 2) == 1


def test_a_crowd_of_strangers_takes_bounded_capacity_and_no_time() -> None:
    counts = Counts()
    began = time.thread_time()
    for number in range(MOST_COUNTED + 5_000):
        counts.add(str(number), MANY)
    each = (time.thread_time() - began) / (MOST_COUNTED + 5_000)
    assert len(counts.periods) == MOST_COUNTED
    assert each < 0.0002


def test_threads_lose_no_hit() -> None:
    counts = Counts()
    threads = [threading.Thread(target=lambda: refused(counts, 500, MANY)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.periods["one"].hits == 2000
