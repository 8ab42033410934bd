"""`python -m tests.simulator --seeds 10000`: as many seeds as there is time for; `--seed 7` tells one, step by step."""

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
from tests.simulator.product import Product, migrate, simulated_config
from tests.simulator.simulation import Tally, stories
from tests.simulator.reporting import move_in, tell_part
from tests.simulator.world import Story

# So many seeds are told between two moves of the progress bar.
PART = 5


@contextmanager
def ground(products: int) -> Iterator[tuple[Path, list[str]]]:
    """A PostgreSQL for one command, with a database for each house."""
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


def tell_one(url: str, folder: Path, seed: int) -> int:
    product = Product(simulated_config(url, folder))
    story: Story = next(stories(product, [seed]))
    product.close()
    print("\n".join(story.steps))
    print(f"simulator: seed {seed}, {len(story.steps)} steps, {'; '.join(story.broken) or '0 broken promises'}")
    return 1 if story.broken else 0


def tell_many(urls: list[str], folder: Path, seeds: range) -> int:
    """In as many processes as there are products; which of them tells a seed makes no difference to it."""
    context = multiprocessing.get_context("spawn")
    keys = context.Queue()
    for url in urls:
        keys.put(url)
    parts = [seeds[place : place + PART] for place in range(0, len(seeds), PART)]
    tally = Tally()
    with ProcessPoolExecutor(len(urls), context, move_in, (keys, folder)) as pool:
        reported = pool.map(tell_part, parts)
        for part in track(reported, f"simulating seeds {seeds.start} to {seeds.stop - 1}", total=len(parts)):
            tally.join(part)
    for seed, broken in tally.broken.items():
        print(f"seed {seed}: {'; '.join(broken)} (replay: python -m tests.simulator --seed {seed})")
    print(tally)
    return 1 if tally.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell this one seed, step by step")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many tell seeds at once")
    requested = parser.parse_args()
    by_itself = requested.seed is not None
    with ground(1 if by_itself else requested.processes) as (folder, urls):
        if by_itself:
            return tell_one(urls[0], folder, requested.seed)
        return tell_many(urls, folder, range(requested.first, requested.first + requested.seeds))


if __name__ == "__main__":
    sys.exit(main())
