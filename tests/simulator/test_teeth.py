"""The simulator's own proof: the shipped code, broken in one place, is caught by one of the first few seeds."""

from __future__ import annotations

import pytest

from tests.simulator.breakages import BREAKAGES
from tests.simulator.house import House
from tests.simulator.simulation import stories

MOST_SEEDS = 60


def first_caught(house: House) -> int | None:
    """The first seed whose story breaks a promise."""
    return next((story.seed for story in stories(house, range(1, MOST_SEEDS + 1)) if story.broken), None)


@pytest.mark.parametrize("name", BREAKAGES)
def test_the_simulator_catches(name: str, simulated: House) -> None:
    with pytest.MonkeyPatch.context() as patch:
        BREAKAGES[name](patch, simulated)
        caught = first_caught(simulated)
    assert caught is not None, f"{MOST_SEEDS} seeds did not notice that {name}"
    (unbroken,) = stories(simulated, [caught])
    assert unbroken.broken == []
