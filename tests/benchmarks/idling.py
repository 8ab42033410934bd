"""What the whole system costs while nobody comes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.ground import Ground, cpu_of
from tests.benchmarks.rows import Row, Run, measurement, no_more_than

IDLE_SECONDS, SETTLING_SECONDS = 30.0, 5.0
# Measured on 2026-11-29, on two cores: seconds of CPU a minute, statements and Redis commands a second. Half is the
# bar.
BEFORE = {"worker": 0.84, "Postgres": 0.36, "Redis": 0.26, "relay": 0.10}
STATEMENTS_BEFORE, COMMANDS_BEFORE = 20.0, 103.0


@measurement("idle")
def idle(ground: Ground, run: Run) -> Iterator[Row]:
    """The idle system: CPU of each process, statements and Redis commands."""
    with ground.site("idle") as site, site.web(), site.beating("relay", "worker", "scheduler") as (relay, worker, _):
        time.sleep(SETTLING_SECONDS)
        families = {"worker": worker.family(), "relay": relay.family(), "Redis": ground.redis_family()}
        seconds = run.seconds(IDLE_SECONDS, 3)
        site.reset_statements()
        began, commands = time.perf_counter(), ground.redis_commands()
        before = {name: cpu_of(family) for name, family in families.items()}
        # PostgreSQL's children come and go; those that stay are the sessions of our processes.
        postgres = ground.postgres_family()
        before["Postgres"] = cpu_of(postgres)
        time.sleep(seconds)
        took = time.perf_counter() - began
        after = {name: cpu_of(family) for name, family in families.items()}
        after["Postgres"] = cpu_of([each for each in postgres if each.is_running()])
        statements, commands = site.statements()[0] / took, (ground.redis_commands() - commands) / took
    for name, spent in BEFORE.items():
        value = (after[name] - before[name]) * 60 / took
        yield no_more_than(f"idle, CPU a minute: {name}", value, spent / 2, "s", f"{spent} s on 2026-11-29")
    yield no_more_than(
        "idle, statements a second", statements, STATEMENTS_BEFORE / 2, "/s", f"{STATEMENTS_BEFORE:.0f}/s"
    )
    yield no_more_than("idle, Redis commands a second", commands, COMMANDS_BEFORE / 2, "/s", f"{COMMANDS_BEFORE:.0f}/s")
