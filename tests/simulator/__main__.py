"""`python -m tests.simulator --seeds 10000`: as many seeds as there is time for; `--seed 7` tells one, step by step."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import track

from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedPostgres
from tests.simulator.house import House, migrate, simulated_config
from tests.simulator.simulation import Tally, stories
from tests.simulator.world import Story


@contextmanager
def standing_alone() -> Iterator[House]:
    """A house on a PostgreSQL of its own, for one command."""
    with tempfile.TemporaryDirectory(prefix="surefile-simulator-") as name:
        folder = Path(name)
        server = EmbeddedPostgres(folder / "postgres", fast=True)
        server.start()
        try:
            template = TemplateDatabase(server, lambda url: migrate(simulated_config(url, folder)))
            with template.copied() as url:
                house = House(simulated_config(url, folder))
                yield house
                house.close()
        finally:
            server.stop()
            server.remove()


def tell_one(house: House, seed: int) -> int:
    story: Story = next(stories(house, [seed]))
    print("\n".join(story.steps))
    print(f"simulator: seed {seed}, {len(story.steps)} steps, {'; '.join(story.broken) or '0 broken promises'}")
    return 1 if story.broken else 0


def tell_many(house: House, seeds: range) -> int:
    tally = Tally()
    told = stories(house, seeds)
    for story in track(told, f"simulating seeds {seeds.start} to {seeds.stop - 1}", total=len(seeds)):
        tally.add(story)
    for seed, broken in tally.broken.items():
        print(f"seed {seed}: {'; '.join(broken)} (replay: python -m tests.simulator --seed {seed})")
    print(tally)
    return 1 if tally.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell this one seed, step by step")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    asked = parser.parse_args()
    with standing_alone() as house:
        if asked.seed is not None:
            return tell_one(house, asked.seed)
        return tell_many(house, range(asked.first, asked.first + asked.seeds))


if __name__ == "__main__":
    sys.exit(main())
