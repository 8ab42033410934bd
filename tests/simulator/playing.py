"""One of several processes that play seeds, each with a product of its own as long as it lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.simulator.product import Product, simulated_config
from tests.simulator.simulation import Tally, simulate

PRODUCTS: list[Product] = []


def move_in(urls: Any, folder: Path) -> None:
    """`urls` is a queue with a database for each process."""
    PRODUCTS.append(Product(simulated_config(urls.get(), folder)))


def play_part(seeds: range) -> Tally:
    return simulate(PRODUCTS[0], seeds)
