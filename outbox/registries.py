"""Sweep of RQ's registries, so that they show what the ledger says: parked messages as failed jobs, and nothing else.

Every function reads the ledger on a connection of its own, writes to Redis only, and raises RedisError when Redis is
away.
"""

from __future__ import annotations

from redis import Redis
from sqlalchemy import Engine, text

from outbox import rq_side
from outbox.columns import in_state
from outbox.connections import connect_autocommit

PARKED = text("SELECT id, fence, job, parked_reason FROM outbox_messages WHERE queue = :queue AND state = 'parked'")
PARKED_ONE = text(f"""
    SELECT id, fence, job, queue, parked_reason FROM outbox_messages WHERE id = :id AND {in_state("parked")}
""")
LIVE = text(f"SELECT id, fence FROM outbox_messages WHERE id = ANY(:ids) AND {in_state('published', 'running')}")


def sweep_queue(engine: Engine, redis: Redis, queue: str, reopen_path: str) -> None:
    """Restore the failed entries that Redis lost, and drop those of messages no longer parked and of dead workers."""
    # Redis is read first: what it shows and the ledger does not know a little later is certainly outdated.
    shown = rq_side.failed_ids(redis, queue)
    with engine.begin() as db:
        rows = db.execute(PARKED, {"queue": queue}).all()
    parked = {rq_side.job_id(row.id, row.fence): row for row in rows}
    waiting, started = rq_side.pointers_held(redis, queue)
    # Before entries are shown: this deletes jobs, and one of them may be the one to show.
    drop_dead(engine, redis, queue)
    # An entry that was just requeued waits for its job, which reopens the message in its operator's name: keep it.
    for identifier in sorted(parked.keys() - shown - waiting - started):
        row = parked[identifier]
        show_parked(redis, queue, row.id, row.fence, row.job, row.parked_reason, reopen_path)
    if shown - parked.keys():
        rq_side.forget(redis, queue, shown - parked.keys() - waiting - started)


def show_if_parked(engine: Engine, redis: Redis, message_id: int, reopen_path: str) -> None:
    """Show a message that a settle has just parked, without waiting for the next sweep."""
    with connect_autocommit(engine) as db:
        row = db.execute(PARKED_ONE, {"id": message_id}).one_or_none()
    if row is not None:
        show_parked(redis, row.queue, row.id, row.fence, row.job, row.parked_reason, reopen_path)


def show_parked(redis: Redis, queue: str, message_id: int, fence: int, job: str, reason: str, reopen_path: str) -> None:
    """Leave a parked message in the failed registry, so that the dashboard shows it and can requeue it."""
    title = f"{job.rsplit('.', 1)[-1]}, message {message_id}, parked: {reason}"
    rq_side.leave_failed(redis, queue, message_id, fence, reopen_path, title)


def drop_dead(engine: Engine, redis: Redis, queue: str) -> None:
    """Drop started and intermediate entries with a stale pointer: they are of dead workers, whose work moved on."""
    started = rq_side.started_entries(redis, queue)
    between = rq_side.intermediate_ids(redis, queue)
    pointers = {item: rq_side.read_job_id(item.split(":")[0]) for item in [*started, *between]}
    ids = [pointer[0] for pointer in pointers.values() if pointer is not None]
    with engine.begin() as db:
        live = {(row.id, row.fence) for row in db.execute(LIVE, {"ids": ids})}
    stale = {item for item, pointer in pointers.items() if pointer is not None and pointer not in live}
    if stale & set(started):
        rq_side.forget_started(redis, queue, stale & set(started))
    if stale & set(between):
        rq_side.forget_intermediate(redis, queue, stale & set(between))
