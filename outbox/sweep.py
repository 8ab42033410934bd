"""Making RQ's registries say what the ledger says: parked messages as failed jobs, and nothing that is not so."""

from __future__ import annotations

from redis import Redis
from sqlalchemy import Engine, text

from outbox import rq_side

PARKED = text("SELECT id, fence, job, parked_reason FROM outbox_messages WHERE queue = :queue AND state = 'parked'")
LIVE = text("SELECT id, fence FROM outbox_messages WHERE id = ANY(:ids) AND state IN ('published', 'running')")


def sweep_queue(engine: Engine, redis: Redis, queue: str, reopen_path: str) -> None:
    """Restore failed entries that Redis lost, drop those no longer parked, and entries of workers that died."""
    with engine.begin() as db:
        rows = db.execute(PARKED, {"queue": queue}).all()
    parked = {rq_side.job_id(row.id, row.fence): row for row in rows}
    shown = rq_side.failed_ids(redis, queue)
    for identifier in parked.keys() - shown:
        row = parked[identifier]
        show_parked(redis, queue, row.id, row.fence, row.job, row.parked_reason, reopen_path)
    gone = [item for item in shown - parked.keys() if not is_reopening(redis, queue, item)]
    if gone:
        rq_side.forget(redis, queue, gone)
    drop_dead(engine, redis, queue)


def is_reopening(redis: Redis, queue: str, identifier: str) -> bool:
    """A requeued entry waits in the queue's list for the pointer that reopens it: leave it alone."""
    waiting, started = rq_side.pointers_held(redis, queue)
    return identifier in waiting | started


def show_parked(redis: Redis, queue: str, message_id: int, fence: int, job: str, reason: str, reopen_path: str) -> None:
    """Leave a parked message in the failed registry, so that the dashboard shows it and can requeue it."""
    title = f"{job.rsplit('.', 1)[-1]}, message {message_id}, parked: {reason}"
    rq_side.leave_failed(redis, queue, message_id, fence, reopen_path, title)


def drop_dead(engine: Engine, redis: Redis, queue: str) -> None:
    """Started and intermediate entries whose pointer is stale belong to workers that died: their work moved on."""
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
