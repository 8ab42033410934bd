"""Many seeds, one after another, and their result: one line at the end, in whichever process they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.simulator.product import Product
from tests.simulator.world import Story, World

# Rows of earlier seeds are vacuumed now and then; otherwise every look would walk past them.
VACUUM_EVERY = 25


@dataclass
class Tally:
    """`broken` holds what went wrong by seed; each seed can be replayed by its number."""

    seeds: int = 0
    steps: int = 0
    accepted: int = 0
    crashes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    broken: dict[int, list[str]] = field(default_factory=dict)

    def add(self, story: Story) -> None:
        self.seeds += 1
        self.steps += len(story.steps)
        self.accepted += story.accepted
        self.crashes += story.crashes
        self.faults += story.faults
        if story.broken:
            self.broken[story.seed] = story.broken

    def join(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.accepted += other.accepted
        self.crashes += other.crashes
        self.faults += other.faults
        self.broken |= other.broken

    def __str__(self) -> str:
        return (
            f"simulator: {self.seeds} seeds, {self.steps} steps, {self.accepted} submissions,"
            f" {self.crashes.total()} crashes of {len(self.crashes)} kinds,"
            f" {self.faults.total()} faults and answers of {len(self.faults)} kinds,"
            f" {len(self.broken)} broken promises"
        )


def stories(product: Product, seeds: Iterable[int]) -> Iterator[Story]:
    """Each seed's story as it ends. Meanwhile the product's clocks and random numbers are ours."""
    with product.in_hand():
        for seed in seeds:
            product.begun += 1
            if product.begun % VACUUM_EVERY == 0:
                product.vacuum()
            yield World(product, seed).tell()


def simulate(product: Product, seeds: Iterable[int]) -> Tally:
    tally = Tally()
    for story in stories(product, seeds):
        tally.add(story)
    return tally
