"""Lanes of a worker: whose turn it is at the database, and who records for all."""

from __future__ import annotations

import threading

import pytest

from jobs.engine import gathering
from jobs.engine.gathering import Gathering
from jobs.engine.turns import Turns
from tests.product import eventually


def test_lanes_take_turns_whatever_the_number_of_their_threads() -> None:
    turns, served = Turns(places=1), []

    def work(lane: str) -> None:
        with turns.take(lane):
            served.append(lane)

    with turns.take("before them"):
        lanes = ["many"] * 6 + ["few"] * 2 + ["one"]
        threads = []
        for count, lane in enumerate(lanes, start=1):
            threads.append(threading.Thread(target=work, args=(lane,)))
            threads[-1].start()
            eventually(lambda count=count: sum(map(len, turns.waiting.values())) == count)
    for thread in threads:
        thread.join()
    assert served == ["many", "few", "one", "many", "few", "many", "many", "many", "many"]
    assert (turns.free, len(turns.waiting)) == (1, 0)


def test_a_turn_that_ends_with_an_error_is_passed_on() -> None:
    turns = Turns(places=1)
    for _ in range(2):
        with pytest.raises(ValueError), turns.take("a lane"):
            raise ValueError
    assert turns.free == 1


def test_what_comes_while_one_thread_records_is_recorded_by_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(gathering, "MOST", 3)

    def record(items: list[int]) -> None:
        rounds.append(items)
        begun.set()
        go_on.wait()

    gathered = Gathering(record)
    first = threading.Thread(target=gathered.put, args=(0,))
    first.start()
    begun.wait()
    for number in range(1, 6):
        # Nobody else waits for a record: each leaves what it has, and goes.
        gathered.put(number)
    go_on.set()
    first.join()
    assert rounds == [[0], [1, 2, 3], [4, 5]]


def test_a_record_that_dies_leaves_the_next_to_others() -> None:
    recorded: list[list[int]] = []

    def record(items: list[int]) -> None:
        recorded.append(items)
        if items == [1]:
            raise SystemExit

    gathered = Gathering(record)
    with pytest.raises(SystemExit):
        gathered.put(1)
    gathered.put(2)
    assert recorded == [[1], [2]]
