"""The relay: moving messages from Postgres to Redis, against RQ's own bulk enqueue and a bare claim and push."""

from __future__ import annotations

from collections.abc import Iterator

from rq import Queue
from rq.serializers import JSONSerializer

from tests.benchmarks.enqueuing import READY, enqueue
from tests.benchmarks.ground import Ground, Quiet, Site, frozen
from tests.benchmarks.noop import BENCH
from tests.benchmarks.peers_jobs import BATCH, NOTHING_PATH, enqueue_many
from tests.benchmarks.rows import Row, Run, at_least, measurement, rate_until, shown

MOVED = 20_000
CLAIM = """
    UPDATE outbox_messages SET state = 'published', fence = 1, published_at = outbox_now()
     WHERE id = ANY(ARRAY(SELECT id FROM outbox_messages WHERE state = 'ready' AND queue = %s
                           ORDER BY deadline_at, id LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id
"""


def start_again(site: Site) -> None:
    site.ground.redis.flushall()
    site.patiently("TRUNCATE outbox_messages")


def bare(site: Site, count: int) -> float:
    """Claim in batches, commit, and push the smallest pointers in one pipeline."""
    start_again(site)
    enqueue(site, count)

    def moved() -> bool:
        claimed = site.rows(CLAIM, BENCH.name, BATCH)
        with site.ground.redis.pipeline() as pipe:
            for (identifier,) in claimed:
                pipe.hset(f"bare:{identifier}", mapping={"data": identifier, "status": "queued"})
                pipe.rpush("bare", identifier)
            pipe.execute()
        return len(claimed) < BATCH

    return rate_until(moved, count)


def stock(site: Site, count: int) -> float:
    start_again(site)
    queue = Queue("stock", connection=site.ground.redis, serializer=JSONSerializer)

    def moved() -> bool:
        enqueue_many(queue, NOTHING_PATH, count)
        return True

    return rate_until(moved, count)


@measurement("relaying")
def relaying(ground: Ground, run: Run) -> Iterator[Row]:
    """The relay, fences on, one process and two, against RQ's enqueue_many and a bare claim and pipeline."""
    count = run.whole(MOVED, 1_000)
    names = ("relay", "relay.2")
    with ground.site("relaying") as site, site.beating(*names, module="tests.benchmarks.noop") as (one, two):

        def moved_by(*relays: Quiet) -> float:
            start_again(site)
            site.patiently("VACUUM ANALYZE outbox_messages")
            with frozen(*{one, two}.difference(relays)):
                with frozen(*relays):
                    enqueue(site, count)
                return rate_until(lambda: site.value(READY, BENCH.name) == 0, count)

        found = run.in_turn(
            "relay, messages a second",
            {
                "one relay": lambda: moved_by(one),
                "two relays": lambda: moved_by(one, two),
                "enqueue_many": lambda: stock(site, count),
                "bare claim and push": lambda: bare(site, count),
            },
        )
    run.known["relay"] = found["one relay"]
    mine = found["one relay"]
    yield at_least("relay, enqueue_many", mine, found["enqueue_many"], 1.8, "/s", f"RQ's enqueue_many of {BATCH} alone")
    yield shown("relay, bare", mine, found["bare claim and push"], "/s", "bare claim and pipeline")
    yield at_least("two relays", found["two relays"], mine, 1.6, "/s", "one relay")
