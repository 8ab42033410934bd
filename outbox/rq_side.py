"""A message as RQ sees it: a pointer `(message id, fence)` in a list, and parked ones as failed jobs.

Nothing here is believed: Redis may forget, repeat or bring back anything, and the grant's compare-and-set decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

log = logging.getLogger("outbox.rq")

# How long RQ keeps what it finds refused or failed: of a pointer that was followed nothing is left anyway.
RESULT_SECONDS = 20
# A push wakes one worker a pointer, but no more than this: whoever is woken takes as much as it has threads for.
WOKEN = 4
# What nobody waited for is soon of no use: workers look by themselves, too.
WAKING_SECONDS = 5
EXPLANATION = (
    "{title}.\nNothing is lost: a person holds it. Requeue reopens it with a fresh budget.\n"
    "Its attempts and history: flask outbox show {message_id}"
)
PARKED_SECONDS = 400 * 24 * 3600


# A pointer, its job, and how many more there are, in one trip. In the intermediate list it is safe until somebody says
# that it began.
TAKE = """
local id = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
return id and {id, redis.call('HGETALL', ARGV[1] .. id), redis.call('LLEN', KEYS[1])}
"""


class ForbiddenCallable(Exception):
    """A job in Redis names a function that is not on our list: somebody else wrote it."""


class LedgerJob(Job):
    """An RQ job that carries JSON and runs nothing but the callables registered in `allowed`."""

    allowed: frozenset[str] = frozenset()

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id=id, connection=connection, serializer=serializer or JSONSerializer)

    @property
    def func(self) -> Callable[..., Any]:
        if self.func_name not in self.allowed or self.instance is not None:
            raise ForbiddenCallable("refused a callable that is not on the list")
        return super().func

    def restore(self, raw_data: Any) -> Any:
        """Our jobs carry no callbacks and no webhooks: what Redis names as such is somebody else's, and dropped."""
        restored = super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []
        return restored


def open_queue(redis: Redis, name: str) -> Queue:
    return Queue(name, connection=redis, job_class=LedgerJob, serializer=JSONSerializer)


def job_id(message_id: int, fence: int) -> str:
    return f"{message_id}-{fence}"


def texts(items: Any) -> list[str]:
    """Redis's answers to list and set reads, decoded."""
    return [item.decode() for item in items]


def read_job_id(text: str) -> tuple[int, int] | None:
    """The `(message id, fence)` a job id stands for; None for periodic and foreign jobs."""
    message, _, fence = text.partition("-")
    return (int(message), int(fence)) if message.isdigit() and fence.isdigit() else None


def pushed_key(queue: str) -> str:
    """The list that a waiting worker blocks on: an element of it wakes one of them."""
    return f"surefile:pushed:{queue}"


def push(redis: Redis, queue: str, pointers: Iterable[tuple[int, str]], fence: int, timeout_seconds: int) -> None:
    """Append pointers `(message id, job path)` in one pipeline, in the order given, and wake the workers."""
    rq_queue = open_queue(redis, queue)
    data = [
        Queue.prepare_data(
            path,
            args=(message_id, fence),
            job_id=job_id(message_id, fence),
            description=f"{path.rsplit('.', 1)[-1]}, message {message_id}",
            timeout=timeout_seconds,
            result_ttl=RESULT_SECONDS,
            failure_ttl=RESULT_SECONDS,
        )
        for message_id, path in pointers
    ]
    with redis.pipeline() as pipe:
        rq_queue.enqueue_many(data, pipeline=pipe)
        pipe.lpush(pushed_key(queue), *["" for _ in data[:WOKEN]])
        pipe.ltrim(pushed_key(queue), 0, WOKEN - 1)
        pipe.expire(pushed_key(queue), WAKING_SECONDS)
        pipe.execute()


def take(queue: Queue) -> tuple[LedgerJob | None, int]:
    """The queue's next job, None when it is empty, and how many are left. What is no job is passed over: Redis lost it,
    or somebody else wrote it."""
    redis = queue.connection
    while True:
        taken = redis.eval(TAKE, 2, queue.key, queue.intermediate_queue_key, LedgerJob.redis_job_namespace_prefix)
        if taken is None:
            return None, 0
        identifier, fields, left = taken[0].decode(), taken[1], taken[2]
        try:
            job = LedgerJob(identifier, connection=redis)
            job.restore(dict(zip(fields[::2], fields[1::2], strict=True)))
        except Exception as error:
            log.warning("no job", extra={"event": "outbox.no_job", "queue": queue.name, "error": type(error).__name__})
        else:
            return job, left
        redis.lrem(queue.intermediate_queue_key, 1, identifier)


def put_back(queue: Queue, job: Job) -> None:
    """Taken, but not begun: the next in its queue again."""
    with queue.connection.pipeline() as pipe:
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        pipe.lpush(queue.key, job.id)
        pipe.execute()


def forget_job(pipe: Pipeline, job: Job) -> None:
    """Drop a job and what RQ keeps beside it, with the caller's pipeline; what is parked is shown as failed anew."""
    pipe.zrem(FailedJobRegistry(job.origin, connection=job.connection).key, job.id)
    pipe.delete(job.key, job.execution_registry.key, Result.get_key(job.id))


def pointers_held(redis: Redis, queue: str) -> tuple[set[str], set[str]]:
    """Job ids the queue really holds: waiting in its list, and started. The intermediate list is not evidence."""
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
        Result.create_failure(
            job, PARKED_SECONDS, EXPLANATION.format(title=title, message_id=message_id), pipeline=pipe
        )
        FailedJobRegistry(queue=rq_queue).add(job, ttl=PARKED_SECONDS, pipeline=pipe)
        pipe.execute()


def failed_ids(redis: Redis, queue: str) -> set[str]:
    registry = FailedJobRegistry(queue=open_queue(redis, queue))
    return set(texts(redis.zrange(registry.key, 0, -1)))


def forget(redis: Redis, queue: str, ids: Iterable[str]) -> None:
    """Drop failed entries and their jobs: no longer parked, or never ours."""
    registry = FailedJobRegistry(queue=open_queue(redis, queue))
    with redis.pipeline() as pipe:
        for identifier in ids:
            pipe.zrem(registry.key, identifier)
            pipe.delete(LedgerJob.key_for(identifier), Result.get_key(identifier))
        pipe.execute()


def forget_pointers(redis: Redis, queue: str, ids: Iterable[str]) -> None:
    """Drop waiting pointers and their jobs: their messages have moved on."""
    key = open_queue(redis, queue).key
    with redis.pipeline() as pipe:
        for identifier in ids:
            pipe.lrem(key, 0, identifier)
            pipe.delete(LedgerJob.key_for(identifier))
        pipe.execute()


def started_entries(redis: Redis, queue: str) -> list[str]:
    registry = StartedJobRegistry(queue=open_queue(redis, queue))
    return texts(redis.zrange(registry.key, 0, -1))


def intermediate_ids(redis: Redis, queue: str) -> list[str]:
    return texts(redis.lrange(open_queue(redis, queue).intermediate_queue_key, 0, -1))


def forget_started(redis: Redis, queue: str, entries: Iterable[str]) -> None:
    """Drop started entries (`<job>:<execution>`) of workers that died: their messages moved on without them.

    Never the job alone: what is parked is shown as failed anew.
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
    rq_queue = open_queue(redis, queue)
    failed = FailedJobRegistry(queue=rq_queue)
    with redis.pipeline() as pipe:
        for identifier in ids:
            pipe.lrem(rq_queue.intermediate_queue_key, 0, identifier)
            pipe.zrem(failed.key, identifier)
            pipe.delete(LedgerJob.key_for(identifier))
        pipe.execute()
