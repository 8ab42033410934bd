"""Messages as RQ sees them: pointers `(message id, fence)` in a list, and parked messages as failed jobs.

Nothing in Redis is relied on: it may forget, repeat or bring back anything, and the grant's compare-and-set decides.
Every function that is given a connection or a queue raises RedisError when Redis is away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import now, utcformat, utcparse
from rq.worker.base import BaseWorker

log = logging.getLogger("outbox.rq")

# How long RQ keeps what it finds refused or failed. A pointer that was followed leaves nothing behind anyway.
RESULT_SECONDS = 20
# A push wakes one worker for each pointer, but no more than this: a worker takes as much as it has threads for.
WOKEN = 4
# A wake-up that no worker was waiting for is soon of no use: workers look by themselves, too.
WAKING_SECONDS = 5
EXPLANATION = "{title}.\nNothing is lost: a person holds it. Requeue reopens it with a fresh budget.\n{hint}"
# Where rq-scheduler keeps when each job runs next.
SCHEDULED = "rq:scheduler:scheduled_jobs"
PARKED_SECONDS = 400 * 24 * 3600


# Pointers, their jobs, and how many more there are, in one round trip. They are safe in the intermediate list until a
# worker records that they began.
TAKE = """
local ids = redis.call('LPOP', KEYS[1], ARGV[2])
if not ids then return false end
redis.call('RPUSH', KEYS[2], unpack(ids))
local jobs = {}
for place, id in ipairs(ids) do jobs[place] = redis.call('HGETALL', ARGV[1] .. id) end
return {ids, jobs, redis.call('LLEN', KEYS[1])}
"""

# Of the fields of a job's hash: when it was made, and what no other job has.
TIMES = ("created_at", "enqueued_at")
OWN = ("data", "description")
OWN_READ = tuple(name.encode() for name in OWN)
# Pointers behind each other in one list, each with the hash of its job: fields that all of them share, and two of its
# own. RQ sends three commands for each job; this is one for all of them.
PUSH = """
local shared = tonumber(ARGV[2])
local fields = {unpack(ARGV, 3, 2 + shared)}
fields[shared + 1], fields[shared + 3] = 'data', 'description'
for at = 3 + shared, #ARGV, 3 do
    fields[shared + 2], fields[shared + 4] = ARGV[at + 1], ARGV[at + 2]
    redis.call('HSET', ARGV[1] .. ARGV[at], unpack(fields))
    redis.call('RPUSH', KEYS[1], ARGV[at])
end
"""


class ForbiddenCallable(Exception):
    """A job in Redis names a function that is not on our list: it was not written by us."""


class LedgerJob(Job):
    """An RQ job that carries JSON and runs only the callables in `allowed`. Raises ForbiddenCallable for any other.

    `hint` stands beside parked messages on the dashboard, and may name the `{message_id}`. An application sets both at
    its start.
    """

    allowed: frozenset[str] = frozenset()
    hint: str = ""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id=id, connection=connection, serializer=serializer or JSONSerializer)

    @property
    def func(self) -> Callable[..., Any]:
        if self.func_name not in self.allowed or self.instance is not None:
            raise ForbiddenCallable("refused a callable that is not on the list")
        return super().func

    def restore(self, raw_data: Any) -> Any:
        """Our jobs carry no callbacks and no webhooks. Any that Redis names were not written by us, and are dropped."""
        restored = super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []
        return restored


# A job that was taken, and its execution as RQ knows it.
Run = tuple[LedgerJob, Execution]


def open_queue(redis: Redis, name: str) -> Queue:
    return Queue(name, connection=redis, job_class=LedgerJob, serializer=JSONSerializer)


def job_id(message_id: int, fence: int) -> str:
    """The id of a pointer's RQ job."""
    return f"{message_id}-{fence}"


def texts(items: Any) -> list[str]:
    """Redis's answers to list and set reads, decoded."""
    return [item.decode() for item in items]


def read_job_id(text: str) -> tuple[int, int] | None:
    """The `(message id, fence)` that a job id stands for; None for periodic and foreign jobs."""
    message, _, fence = text.partition("-")
    return (int(message), int(fence)) if message.isdigit() and fence.isdigit() else None


def pushed_key(queue: str) -> str:
    """The list that waiting workers block on: each element of it wakes one of them."""
    return f"outbox:pushed:{queue}"


def push(redis: Redis, queue: str, pointers: Sequence[tuple[int, str]], fence: int, timeout_seconds: int) -> None:
    """Append pointers `(message id, job path)` in one transaction, in the order given, and wake workers.

    When it raises, they may be in Redis all the same: undo the claim under its fence.
    """
    shared = shared_fields(queue, timeout_seconds)
    with redis.pipeline() as pipe:
        if shared is None:
            open_queue(redis, queue).enqueue_many(as_rq_data(pointers, fence, timeout_seconds), pipeline=pipe)
        else:
            enqueue_as_rq(pipe, queue, shared, pointers, fence)
        pipe.lpush(pushed_key(queue), *["" for _ in pointers[:WOKEN]])
        pipe.ltrim(pushed_key(queue), 0, WOKEN - 1)
        pipe.expire(pushed_key(queue), WAKING_SECONDS)
        pipe.execute()


def as_rq_data(pointers: Iterable[tuple[int, str]], fence: int, timeout_seconds: int) -> list[Any]:
    """Pointers for RQ's `enqueue_many`."""
    return [
        Queue.prepare_data(
            path,
            args=(message_id, fence),
            job_id=job_id(message_id, fence),
            description=describe(path, message_id),
            timeout=timeout_seconds,
            result_ttl=RESULT_SECONDS,
            failure_ttl=RESULT_SECONDS,
        )
        for message_id, path in pointers
    ]


def describe(path: str, message_id: int) -> str:
    return f"{path.rsplit('.', 1)[-1]}, message {message_id}"


def as_data(path: str, message_id: int, fence: int) -> str:
    """The call of a job, in JSON. RQ would compress it, which takes longer than all the rest, and reads it as it is."""
    return f'["{path}", null, [{message_id}, {fence}], {{}}]'


def enqueue_as_rq(
    pipe: Pipeline, queue: str, shared: dict[str, Any], pointers: Iterable[tuple[int, str]], fence: int
) -> None:
    """Append pointers as RQ's `enqueue_many` would, without making an object for each."""
    made_at = utcformat(now())
    fields = [each for field in {**shared, **dict.fromkeys(TIMES, made_at)}.items() for each in field]
    own: list[str] = []
    for message_id, path in pointers:
        own += (job_id(message_id, fence), as_data(path, message_id, fence), describe(path, message_id))
    key = Queue.redis_queue_namespace_prefix + queue
    pipe.sadd(Queue.redis_queues_keys, key)
    pipe.eval(PUSH, 1, key, LedgerJob.redis_job_namespace_prefix, len(fields), *fields, *own)


class Recorder:
    """Stand-in for Redis that keeps the commands which RQ sends for one job, and the fields of the job's hash."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.fields: dict[str, Any] = {}

    def info(self, section: str) -> dict[str, str]:
        return {"redis_version": "6.2.0"}

    def hset(self, key: str, name: str = "", value: Any = None, mapping: dict[str, Any] | None = None) -> None:
        self.sent.append(("hset", key))
        self.fields.update(mapping or {name: value})

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.sent.append((name, *args))


@cache
def shared_fields(queue: str, timeout_seconds: int) -> dict[str, Any] | None:
    """The fields that all jobs of a queue have alike, learned from RQ.

    None where this RQ sends something else than `enqueue_as_rq`, or would not read that as its own: then it has to
    enqueue them itself.
    """
    learned, asked = (fields_by_rq(queue, message_id, timeout_seconds) for message_id in (1, 22))
    shared = {name: value for name, value in learned.items() if name not in (*TIMES, *OWN)}
    ours = {**shared, "data": as_data("a.job", 22, 333), "description": describe("a.job", 22)}
    ours |= {name: asked[name] for name in TIMES if name in asked}
    read = LedgerJob("22-333", connection=Recorder())  # type: ignore[arg-type]
    read.restore({name: value.encode() if isinstance(value, str) else value for name, value in ours.items()})
    # RQ packs `data` in another way, so what it reads of ours is what is compared.
    if asked and {**ours, "data": asked["data"]} == asked == read.to_dict():
        return shared
    log.warning("RQ enqueues by itself", extra={"event": "outbox.rq_differs", "queue": queue})
    return None


def fields_by_rq(queue: str, message_id: int, timeout_seconds: int) -> dict[str, Any]:
    """The hash that RQ makes of a pointer; empty if it does more than to write it and to append the id."""
    pipe, data = Recorder(), as_rq_data([(message_id, "a.job")], 333, timeout_seconds)
    open_queue(Recorder(), queue).enqueue_many(data, pipeline=pipe)  # type: ignore[arg-type]
    key, identifier = Queue.redis_queue_namespace_prefix + queue, job_id(message_id, 333)
    hset = ("hset", LedgerJob.redis_job_namespace_prefix + identifier)
    expected = [("sadd", Queue.redis_queues_keys, key), hset, hset, ("rpush", key, identifier)]
    return pipe.fields if pipe.sent == expected else {}


def wait_for_work(redis: Redis, queues: Sequence[str], seconds: float) -> Sequence[str]:
    """The queue to which something was pushed within `seconds`; all of them if nothing was, but something waits."""
    pushed = redis.blpop([pushed_key(queue) for queue in queues], timeout=seconds)
    if pushed:
        return [queue for queue in queues if pushed_key(queue).encode() == pushed[0]]
    waits = redis.exists(*[Queue.redis_queue_namespace_prefix + queue for queue in queues])
    return queues if waits else ()


def take(queue: Queue, most: int) -> tuple[list[LedgerJob], int]:
    """The queue's next jobs, `most` of them at most, and how many are left. They stay in the intermediate list.

    Entries that are no job of ours are dropped: Redis lost the job, or somebody else wrote it.
    """
    redis = queue.connection
    while True:
        keys = (queue.key, queue.intermediate_queue_key)
        taken = redis.eval(TAKE, 2, *keys, LedgerJob.redis_job_namespace_prefix, most)
        if not taken:
            return [], 0
        ids, hashes, left = taken
        found = list(read_jobs(queue, texts(ids), hashes))
        for identifier, job in found:
            if job is None:
                redis.lrem(queue.intermediate_queue_key, 1, identifier)
        jobs = [job for _, job in found if job is not None]
        if jobs or not left:
            return jobs, left


def read_jobs(
    queue: Queue, identifiers: Sequence[str], hashes: Sequence[Sequence[bytes]]
) -> Iterator[tuple[str, LedgerJob | None]]:
    """The jobs that these hashes stand for, given as names and values in turn; None for one that nobody can read.

    RQ reads the first of those that were pushed together. Of the others only their own fields are read.
    """
    pushed_with: dict[tuple[tuple[bytes, bytes], ...], LedgerJob] = {}
    for identifier, fields in zip(identifiers, hashes, strict=True):
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        shared = tuple(item for item in found.items() if item[0] not in OWN_READ)
        data, description = (found.get(name, b"") for name in OWN_READ)
        like = pushed_with.get(shared)
        if like is None or read_job_id(identifier) is None or not data.startswith(b"["):
            job = read_job(queue, identifier, found)
            if job is not None:
                pushed_with[shared] = job
        else:
            job = copy(like)
            job.id, job.data, job.description = identifier, data, description.decode()
        yield identifier, job


def read_job(queue: Queue, identifier: str, fields: Mapping[bytes, bytes]) -> LedgerJob | None:
    """The job that RQ reads from a hash; None for one that it cannot read."""
    job = LedgerJob(identifier, connection=queue.connection)
    try:
        job.restore(fields)
    except Exception as error:
        log.warning("no job", extra={"event": "outbox.no_job", "queue": queue.name, "error": type(error).__name__})
        return None
    return job


def put_back(queue: Queue, jobs: Sequence[Job]) -> None:
    """Make jobs that were taken, but not begun, the next in their queue again."""
    with queue.connection.pipeline() as pipe:
        for job in jobs:
            pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        pipe.lpush(queue.key, *[job.id for job in reversed(jobs)])
        pipe.execute()


def note_begun(pipe: Pipeline, queue: Queue, runs: Sequence[Run], worker: BaseWorker) -> None:
    """Show jobs as started by this RQ worker, and take them out of the intermediate list, with the caller's pipeline.

    It is what RQ would write for each of them, but for what nobody reads: the list of a job's executions, and times to
    live. Whoever ends or drops a job deletes what is written here.
    """
    at = now()
    began: dict[Any, Any] = {"last_heartbeat": utcformat(at), "started_at": utcformat(at), "status": JobStatus.STARTED}
    life_seconds = max(worker.get_heartbeat_ttl(job) for job, _ in runs)
    for job, execution in runs:
        pipe.hset(job.key, mapping={**began, "worker_name": worker.name})
        pipe.hset(execution.key, mapping=execution.serialize())
    entries = [execution.composite_key for _, execution in runs]
    pipe.zadd(StartedJobRegistry(queue=queue).key, dict.fromkeys(entries, at.timestamp() + life_seconds))
    pipe.sadd(worker.executions_key, *entries)
    pipe.expire(worker.executions_key, life_seconds + 60)
    for job, _ in runs:
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)


def note_ended(pipe: Pipeline, queue: Queue, runs: Sequence[Run], worker: BaseWorker) -> None:
    """Delete jobs that `note_begun` showed as started, and what RQ keeps beside them, with the caller's pipeline.

    Their failed entries go too: a parked message is shown as failed again by `registries`.
    """
    entries = [execution.composite_key for _, execution in runs]
    pipe.zrem(StartedJobRegistry(queue=queue).key, *entries)
    pipe.srem(worker.executions_key, *entries)
    pipe.zrem(FailedJobRegistry(queue=queue).key, *[job.id for job, _ in runs])
    pipe.delete(*[key for job, execution in runs for key in (job.key, execution.key, Result.get_key(job.id))])


def forget_job(pipe: Pipeline, job: Job) -> None:
    """Delete a job and what RQ keeps beside it, with the caller's pipeline.

    Its failed entry goes too: a parked message is shown as failed again by `registries`.
    """
    pipe.zrem(FailedJobRegistry(job.origin, connection=job.connection).key, job.id)
    pipe.delete(job.key, job.execution_registry.key, Result.get_key(job.id))


def pointers_held(redis: Redis, queue: str) -> tuple[set[str], set[str]]:
    """The job ids that a queue really holds: those waiting in its list, and those started.

    The intermediate list proves nothing: a worker may have died with it.
    """
    rq_queue = open_queue(redis, queue)
    with redis.pipeline(transaction=False) as pipe:
        pipe.lrange(rq_queue.key, 0, -1)
        pipe.zrange(StartedJobRegistry(queue=rq_queue).key, 0, -1)
        waiting, started = pipe.execute()
    return set(texts(waiting)), {item.split(":")[0] for item in texts(started)}


def leave_failed(redis: Redis, queue: str, message_id: int, fence: int, reopen_path: str, title: str) -> None:
    """Show a parked message as a failed job. Its Requeue runs `reopen_path`, which grants nothing."""
    rq_queue = open_queue(redis, queue)
    job = LedgerJob.create(
        reopen_path,
        args=(message_id, fence),
        id=job_id(message_id, fence),
        connection=redis,
        origin=queue,
        description=title,
        status=JobStatus.FAILED,
        result_ttl=RESULT_SECONDS,
        failure_ttl=PARKED_SECONDS,
        timeout=60,
        serializer=JSONSerializer,
    )
    with redis.pipeline() as pipe:
        pipe.sadd(Queue.redis_queues_keys, rq_queue.key)
        job.save(pipeline=pipe)
        pipe.delete(Result.get_key(job.id))
        # The dashboard offers Requeue in its list only beside a job with an error text.
        hint = LedgerJob.hint.format(message_id=message_id)
        Result.create_failure(job, PARKED_SECONDS, EXPLANATION.format(title=title, hint=hint), pipeline=pipe)
        FailedJobRegistry(queue=rq_queue).add(job, ttl=PARKED_SECONDS, pipeline=pipe)
        pipe.execute()


def failed_ids(redis: Redis, queue: str) -> set[str]:
    """The job ids in a queue's failed registry."""
    registry = FailedJobRegistry(queue=open_queue(redis, queue))
    return set(texts(redis.zrange(registry.key, 0, -1)))


def forget(redis: Redis, queue: str, ids: Iterable[str]) -> None:
    """Delete failed entries and their jobs: of messages no longer parked, or never ours."""
    registry = FailedJobRegistry(queue=open_queue(redis, queue))
    with redis.pipeline() as pipe:
        for identifier in ids:
            pipe.zrem(registry.key, identifier)
            pipe.delete(LedgerJob.key_for(identifier), Result.get_key(identifier))
        pipe.execute()


def forget_pointers(redis: Redis, queue: str, ids: Iterable[str]) -> None:
    """Delete waiting pointers and their jobs: their messages have moved on."""
    key = open_queue(redis, queue).key
    with redis.pipeline() as pipe:
        for identifier in ids:
            pipe.lrem(key, 0, identifier)
            pipe.delete(LedgerJob.key_for(identifier))
        pipe.execute()


def started_entries(redis: Redis, queue: str) -> list[str]:
    """The entries (`<job>:<execution>`) of a queue's started registry."""
    registry = StartedJobRegistry(queue=open_queue(redis, queue))
    return texts(redis.zrange(registry.key, 0, -1))


def intermediate_ids(redis: Redis, queue: str) -> list[str]:
    """The job ids in a queue's intermediate list: taken, and not recorded as begun."""
    return texts(redis.lrange(open_queue(redis, queue).intermediate_queue_key, 0, -1))


def periodic_runs(redis: Redis) -> list[tuple[str, datetime, datetime | None]]:
    """Each periodic job of rq-scheduler by its name, with its next run and the end of the last one of which RQ still
    knows. Raises RedisError."""
    found: list[Any] = redis.zrange(SCHEDULED, 0, -1, withscores=True)
    with redis.pipeline(transaction=False) as pipe:
        for name, _ in found:
            pipe.hget(Job.key_for(name.decode()), "ended_at")
        ended = pipe.execute()
    return sorted(
        (name.decode(), datetime.fromtimestamp(at, UTC), utcparse(end.decode()).astimezone(UTC) if end else None)
        for (name, at), end in zip(found, ended, strict=True)
    )


def forget_started(redis: Redis, queue: str, entries: Iterable[str]) -> None:
    """Delete started entries (`<job>:<execution>`) of dead workers, and their jobs: their messages moved on.

    The failed entry always goes with its job: a parked message is shown as failed again by `registries`.
    """
    rq_queue = open_queue(redis, queue)
    started, failed = StartedJobRegistry(queue=rq_queue), FailedJobRegistry(queue=rq_queue)
    with redis.pipeline() as pipe:
        for entry in entries:
            identifier = entry.split(":")[0]
            pipe.zrem(started.key, entry)
            pipe.zrem(failed.key, identifier)
            pipe.delete(f"rq:execution:{entry}", f"rq:executions:{identifier}", LedgerJob.key_for(identifier))
        pipe.execute()


def forget_intermediate(redis: Redis, queue: str, ids: Iterable[str]) -> None:
    """Delete intermediate entries of dead workers, and their jobs: their messages moved on."""
    rq_queue = open_queue(redis, queue)
    failed = FailedJobRegistry(queue=rq_queue)
    with redis.pipeline() as pipe:
        for identifier in ids:
            pipe.lrem(rq_queue.intermediate_queue_key, 0, identifier)
            pipe.zrem(failed.key, identifier)
            pipe.delete(LedgerJob.key_for(identifier))
        pipe.execute()
