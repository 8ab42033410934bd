"""A job whose call takes no time: what it costs to do it through the ledger, against others' workers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from sandbox.processes import surroundings
from tests.benchmarks.enqueuing import in_redis
from tests.benchmarks.ground import ROOT, Ground, Site, cpu_of
from tests.benchmarks.rows import Row, Run, at_least, measurement, no_more_than, rate_until, shown

JOBS = {"ours": 2_000, "simple_worker": 300, "procrastinate": 600, "pgqueuer": 1_500, "raw": 3_000}
MODULE, WARM_UP = "tests.benchmarks.noop", 200


def peer_rate(site: Site, name: str, count: int) -> float:
    """Jobs a second of one peer, by its own clock."""
    command = ["python", "-m", "tests.benchmarks.peers_jobs", name, str(count)]
    with subprocess.Popen(
        command, cwd=ROOT, env=surroundings(site.environ, 0), stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True
    ) as peer:
        assert peer.stdin is not None and peer.stdout is not None
        assert peer.stdout.readline().strip() == "ready", f"{name} could not be prepared"
        peer.stdin.write("go\n")
        peer.stdin.flush()
        return count / float(peer.stdout.readline())


@measurement("jobs")
def jobs(ground: Ground, run: Run) -> Iterator[Row]:
    """One full job with a no-op upstream, one worker process, against RQ, Procrastinate, PgQueuer and raw commits."""
    spent: dict[str, float] = dict.fromkeys(("jobs", "worker", "postgres", "redis commands", "statements"), 0.0)
    with ground.site("jobs") as site, site.beating("relay", "worker", module=MODULE) as (relay, worker):

        def ours(count: int = run.whole(JOBS["ours"], 200)) -> float:
            in_redis(site, relay, [worker], count)
            site.reset_statements()
            before = (worker.cpu_seconds(), cpu_of(ground.postgres_family()), ground.redis_commands())
            rate = rate_until(lambda: site.work_left() == 0, count)
            after = (worker.cpu_seconds(), cpu_of(ground.postgres_family()), ground.redis_commands())
            differences = [last - first for first, last in zip(before, after, strict=True)]
            for name, value in zip(spent, [count, *differences, site.statements()[0]], strict=True):
                spent[name] += value
            return rate

        ours(WARM_UP)
        spent.update(dict.fromkeys(spent, 0.0))
        peers = {
            name: lambda name=name, count=count: peer_rate(site, name, run.whole(count, 100))  # type: ignore[misc]
            for name, count in JOBS.items()
            if name != "ours"
        }
        found = run.in_turn("one full job, jobs a second", {"ours": ours, **peers})
    mine = found["ours"]
    worker_ms, postgres_ms = (1000 * spent[name] / spent["jobs"] for name in ("worker", "postgres"))
    cpu = f"; CPU a job: worker {worker_ms:.2f} ms, Postgres {postgres_ms:.2f} ms"
    yield at_least("one job, RQ", mine, found["simple_worker"], 4.0, "/s", f"SimpleWorker, the same two commits{cpu}")
    yield at_least("one job, Procrastinate", mine, found["procrastinate"], 2.0, "/s", "10 at once, no-op task")
    yield at_least("one job, PgQueuer", mine, found["pgqueuer"], 0.75, "/s", "batches of 10, no-op task")
    yield shown("one job, raw commits", mine, found["raw"], "/s", "the two commits by 8 clients")
    commands, statements = (spent[name] / spent["jobs"] for name in ("redis commands", "statements"))
    yield no_more_than("Redis commands a job", commands, 10.0, "", "stock RQ: 57")
    yield no_more_than("SQL round trips a job", statements, 3.0, "", "statements, BEGIN and COMMIT too, in a full lane")
