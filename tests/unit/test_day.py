"""What the simulated day predicts, and when it says that the prediction did not hold."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from contextlib import suppress

from sandbox.chaos.crowd import Closed
from sandbox.chaos.journeys import TRAVEL_CLAIM, Promise
from sandbox.day import MONDAY, Constants, Course, Monday, expected, largest_backlog, pace_of, shortfalls
from sandbox.upstreams.cast import DEFAULT_CAST


def promised(*at: float) -> list[Promise]:
    return [Promise(TRAVEL_CLAIM, f"claim {number}", DEFAULT_CAST[0], "", when) for number, when in enumerate(at)]


def test_a_day_is_whole_and_its_busiest_hour_has_the_real_rate() -> None:
    assert len(MONDAY) == 24
    day = Monday(["127.0.0.1:1"], "http://127.0.0.1:1", seconds=240.0, peak=20.0)
    times = [day.when(number) for number in range(5_000)]
    assert times == sorted(times)
    came = Counter(int(at / 10) for at in times if at < 240)
    assert all(abs(came[hour] / 10 - 20 * share / max(MONDAY)) < 0.2 for hour, share in enumerate(MONDAY))
    assert times[-1] == math.inf


def test_whoever_comes_alone_is_told_as_soon_as_a_single_submission() -> None:
    course, waits = expected(promised(0.0, 10.0, 20.0), Constants(1.0, 1.0, {TRAVEL_CLAIM: 0.5}))
    assert set(waits.values()) == {0.5}
    assert course == Course(1.0, 0.5, 0.5)


def test_a_crowd_waits_as_long_as_the_backlog_before_it_takes() -> None:
    course, waits = expected(promised(*[0.0] * 100), Constants(10.0, 1.0, {TRAVEL_CLAIM: 1.0}))
    assert course.backlog == 100
    assert round(max(waits.values()), 6) == 9.9 + 1.0


def test_the_backlog_is_what_was_answered_and_not_told() -> None:
    found = largest_backlog(promised(0.0, 1.0, 2.0, 3.0), {"claim 0": 1.5, "claim 1": 2.5, "claim 2": 3.5})
    assert found == 2
    assert largest_backlog(promised(0.0, 1.0), {}) == 2


def test_the_pace_is_that_of_the_middle_of_a_backlog() -> None:
    backlog = promised(*[0.0] * 100)
    told = {promise.key: 60.0 + number / 10 for number, promise in enumerate(backlog)}
    told["claim 0"], told["claim 99"] = 0.0, 500.0
    assert round(pace_of(backlog, told), 3) == 10.0


def test_a_day_that_went_worse_than_predicted_is_named() -> None:
    predicted = Course(100.0, 1.0, 10.0)
    assert shortfalls(Course(199.0, 2.9, 19.0), predicted) == []
    assert shortfalls(Course(1.0, 0.1, 0.1), predicted) == []
    worse = shortfalls(Course(201.0, 3.1, 20.5), predicted)
    assert [reason.partition(":")[0] for reason in worse] == ["backlog", "p50", "p99"]


def test_turns_are_taken_until_midnight_and_not_beyond() -> None:
    day = Monday(["127.0.0.1:1"], "http://127.0.0.1:1", seconds=1.2, peak=40.0)
    taken: list[float] = []

    def take_turns() -> None:
        with suppress(Closed):
            while True:
                day._turn()
                taken.append(time.monotonic() - day.began)

    day.began = time.monotonic()
    hands = [threading.Thread(target=take_turns) for _ in range(10)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    by_curve = 1.2 * 40.0 * sum(MONDAY) / max(MONDAY) / 24
    assert abs(len(taken) - by_curve) <= 1
    assert max(taken) > 1.0
