"""One of several processes that tell seeds, each in a house of its own as long as it lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.simulator.house import House, simulated_config
from tests.simulator.simulation import Tally, simulate

HOUSES: list[House] = []


def move_in(urls: Any, folder: Path) -> None:
    """`urls` is a queue with a database for each process."""
    HOUSES.append(House(simulated_config(urls.get(), folder)))


def tell_part(seeds: range) -> Tally:
    return simulate(HOUSES[0], seeds)
