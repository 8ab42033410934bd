"""`python -m tests.simulator --seeds 10000`: as many seeds as there is time for. `--seed 7` plays one, step by step."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.progress import track

from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedPostgres
from tests.simulator.playing import move_in, play_part
from tests.simulator.product import Product, migrate, simulated_config
from tests.simulator.simulation import Tally, stories
from tests.simulator.world import Story

# So many seeds are played between two moves of the progress bar.
PART = 5


@contextmanager
def ground(products: int) -> Iterator[tuple[Path, list[str]]]:
    """A PostgreSQL for one command, with a database for each product."""
    with tempfile.TemporaryDirectory(prefix="surefile-simulator-") as name:
        folder = Path(name)
        server = EmbeddedPostgres(folder / "postgres", fast=True)
        server.start()
        try:
            template = TemplateDatabase(server, lambda url: migrate(simulated_config(url, folder)))
            with ExitStack() as copies:
                yield folder, [copies.enter_context(template.copied()) for _ in range(products)]
        finally:
            server.stop()
            server.remove()


def play_one(url: str, folder: Path, seed: int) -> int:
    product = Product(simulated_config(url, folder))
    story: Story = next(stories(product, [seed]))
    product.close()
    print("\n".join(story.steps))
    print(f"simulator: seed {seed}, {len(story.steps)} steps, {'; '.join(story.broken) or '0 broken promises'}")
    return 1 if story.broken else 0


def play_many(urls: list[str], folder: Path, seeds: range) -> int:
    """Play in as many processes as there are products. The tally is the same whichever process plays a seed."""
    context = multiprocessing.get_context("spawn")
    keys = context.Queue()
    for url in urls:
        keys.put(url)
    parts = [seeds[place : place + PART] for place in range(0, len(seeds), PART)]
    tally = Tally()
    with ProcessPoolExecutor(len(urls), context, move_in, (keys, folder)) as pool:
        tallies = pool.map(play_part, parts)
        for part in track(tallies, f"simulating seeds {seeds.start} to {seeds.stop - 1}", total=len(parts)):
            tally.join(part)
    for seed, broken in tally.broken.items():
        print(f"seed {seed}: {'; '.join(broken)} (replay: python -m tests.simulator --seed {seed})")
    print(tally)
    return 1 if tally.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one seed, step by step")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many play seeds at once")
    arguments = parser.parse_args()
    only_one = arguments.seed is not None
    with ground(1 if only_one else arguments.processes) as (folder, urls):
        if only_one:
            return play_one(urls[0], folder, arguments.seed)
        return play_many(urls, folder, range(arguments.first, arguments.first + arguments.seeds))


if __name__ == "__main__":
    sys.exit(main())
