"""The promises, for a first set of seeds: kept in any order of events, and wherever a process ends.

A failing seed replays by number: `python -m tests.simulator --seed N` plays it step by step.
"""

from __future__ import annotations

import pytest

from tests.simulator.product import Product
from tests.simulator.simulation import simulate, stories

SEEDS = range(1, 151)


@pytest.mark.timeout(600)
def test_150_seeds_break_no_promise(simulated: Product) -> None:
    tally = simulate(simulated, SEEDS)
    assert tally.broken == {}
    assert tally.seeds == len(SEEDS)
    # Stories in which nothing went wrong would prove nothing.
    assert tally.accepted > len(SEEDS) and tally.crashes.total() > 100 and len(tally.crashes) > 40
    assert {"restart of Postgres", "Redis flushed", "Redis fails before", "Redis fails after"} <= tally.faults.keys()


def test_a_seed_is_the_same_story_each_time_it_is_played(simulated: Product) -> None:
    first, _, again = stories(simulated, [7, 8, 7])
    assert first.steps == again.steps
    assert len(first.steps) > 100
