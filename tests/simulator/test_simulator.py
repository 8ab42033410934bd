"""The promises, for the first seeds and those that catch a known breakage: kept in any order of events, wherever a
process ends.

`make simulate` plays a thousand others. A failing seed replays by number: `python -m tests.simulator --seed N` plays it
step by step.
"""

from __future__ import annotations

from sqlalchemy import text

from tests.simulator.product import EMPTY, Product
from tests.simulator.simulation import simulate, stories
from tests.simulator.test_teeth import CAUGHT_BY

FIRST_SEEDS = 21
# Whatever test_teeth.py breaks, one of these stories shows it.
SEEDS = sorted({*range(1, FIRST_SEEDS + 1), *CAUGHT_BY.values()})

# What a database is released with, or every story begins by setting.
MADE_ONCE = {
    "alembic_version",
    "key_checks",
    "outbox_clock",
    "outbox_counted",
    "outbox_era",
    "outbox_retention",
}


def test_these_seeds_break_no_promise(simulated: Product) -> None:
    tally = simulate(simulated, SEEDS)
    assert tally.broken == {}
    assert tally.seeds == len(SEEDS)
    # Stories in which nothing went wrong would prove nothing.
    assert tally.accepted > len(SEEDS) and tally.crashes.total() > 30 and len(tally.crashes) > 20
    assert {"restart of Postgres", "Redis flushed", "Redis fails before", "Redis fails after"} <= tally.faults.keys()


def test_a_story_finds_nothing_of_the_one_before(simulated: Product) -> None:
    """Else a seed that fails after others could not be replayed by itself."""
    simulate(simulated, [7, 19])
    simulated.server.hub = None
    simulated.server.look(EMPTY)
    with simulated.engine.begin() as connection:
        tables = (
            connection.execute(
                text(
                    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = CAST('public' AS regnamespace)"
                )
            )
            .scalars()
            .all()
        )
        left = {
            name for name in tables if connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {name})")).scalar_one()
        }
        assert left == MADE_ONCE


def test_a_seed_is_the_same_story_each_time_it_is_played(simulated: Product) -> None:
    first, _, again = stories(simulated, [7, 8, 7])
    assert first.steps == again.steps
    assert len(first.steps) > 100
