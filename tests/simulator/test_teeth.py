"""The proof of the simulator itself: the shipped code, broken in one place, is caught by one of the first few seeds."""

from __future__ import annotations

import pytest

from tests.simulator.breakages import BREAKAGES
from tests.simulator.product import Product
from tests.simulator.simulation import stories

MOST_SEEDS = 300
# The seed that caught it when this was written, tried first to save time. Any other may catch it too.
CAUGHT_BY = {
    "a pointer is pushed before its claim is committed": 1,
    "fences are counted up": 7,
    "missing pointers are not looked for": 14,
    "a dead probe is never released": 25,
    "rescue ignores leases": 25,
    "rescue forgets the unanswered writes of silent processes": 5,
    "a settle does not delete": 1,
    "a settle does not check its fence": 5,
    "a late answer is dropped": 20,
    "what could not be settled together is dropped": 8,
    "one whose fence is gone counts as settled with the others": 20,
    "what was begun is handed back as if it was not": 107,
    "what was handed back unbegun is begun": 107,
    "a failed look up clears the question": 7,
    "not found is trusted too early": 14,
    "not found is trusted at once": 5,
    "a pointer is turned back though it was granted": 5,
    "a job that ended is shown as begun": 1,
    "a job that ended keeps its thread": 5,
    "a handled pointer deletes what is shown of its message": 35,
    "what dead workers left is never dropped": 6,
    "a requeue grants": 75,
    "an itf is created without a look": 18,
    "an unanswered form is sent again unseen": 36,
    "uploads of a document are not counted": 36,
    "a poll whose message is lost is never made again": 6,
    "a failed document is not asked about again": 54,
    "a repaired message knows nothing of the lost one": 20,
}


def first_caught(product: Product, likely: int) -> int | None:
    """The first seed, of the likely one and then all, whose story breaks a promise."""
    seeds = [likely, *(seed for seed in range(1, MOST_SEEDS + 1) if seed != likely)]
    return next((story.seed for story in stories(product, seeds) if story.broken), None)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BREAKAGES)
def test_the_simulator_catches(name: str, simulated: Product) -> None:
    with pytest.MonkeyPatch.context() as patch:
        BREAKAGES[name](patch, simulated)
        caught = first_caught(simulated, CAUGHT_BY[name])
    assert caught is not None, f"{MOST_SEEDS} seeds did not catch that {name}"
    # Unbroken code keeps its promises in the others: test_simulator.py plays them.
    if caught != CAUGHT_BY[name]:
        (unbroken,) = stories(simulated, [caught])
        assert unbroken.broken == []
