"""Views that replace those of rq-dashboard that are unsafe or fail.

With the JSON serializer its workers and job pages answer 500; requeueing stops at the first entry that is gone; and
its scripts put texts into the page as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import rq_dashboard.web as web
from flask import Response, current_app, jsonify, request
from markupsafe import escape
from redis import Redis
from rq import Queue, Worker
from rq.exceptions import DeserializationError, InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from flaskapp.ops.forms import LONGEST
from flaskapp.ops.login import operator_name
from flaskapp.web.errors import Problem

OnChange = Callable[[str, str, list[str]], None]

# A requeue takes about a millisecond and the router gives up after thirty seconds; the rest waits for another click.
REQUEUE_AT_MOST = 2_000


class ShownQueue(Queue):
    """A queue that is only read: always as JSON, and an entry whose job is gone is skipped, not removed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"serializer": JSONSerializer}))

    def fetch_job(self, job_id: str) -> Job | None:
        job = fetch(job_id, self.job_class, self.connection)
        return job if job is not None and job.origin == self.name else None


class ShownWorker(Worker):
    """A worker that is only read. RQ still drops expired execution entries while reading: they mean nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"serializer": JSONSerializer}))

    @classmethod
    def find_by_key(cls, worker_key: str, connection: Redis, *args: Any, **options: Any) -> Any:
        """Without RQ's removal of dead names: reading must change nothing."""
        return super().find_by_key(worker_key, connection, *args, **options) if connection.exists(worker_key) else None

    def _set_connection(self, connection: Redis) -> Redis:
        """Unchanged: RQ would raise the shared pool's time-out to that of a blocking worker, seven minutes."""
        return connection

    def get_current_job(self) -> Job | None:
        """None also for a job that has just ended or cannot be read, because the whole page would fail."""
        try:
            job = super().get_current_job()
            if job is not None:
                job.get_call_string()
        except (NoSuchJobError, DeserializationError, ValueError):
            return None
        return job


def read_json_only(job_class: type[Job]) -> None:
    """Give the dashboard our classes. It keeps them in module globals, so a process can have only one dashboard.

    With the default serializer, pickle, reading would run the code of anybody who can write to Redis.
    """
    web.config.serializer = JSONSerializer
    web.Job = bound_to_json(job_class)
    web.Queue = type("DashboardQueue", (ShownQueue,), {"job_class": job_class})
    web.Worker = type("DashboardWorker", (ShownWorker,), {"job_class": job_class, "queue_class": web.Queue})


def bound_to_json(job_class: type[Job]) -> type[Job]:
    """The class, always with JSON: the dashboard fetches some jobs without naming a serializer."""

    class DashboardJob(job_class):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"serializer": JSONSerializer}))

    return DashboardJob


def connection() -> Redis:
    return cast(Redis, current_app.redis_conn)  # type: ignore[attr-defined]


def fetch(job_id: str, job_class: type[Job], redis: Redis) -> Job | None:
    """The job, or None when there is none; an id that RQ would not accept names no job."""
    try:
        return job_class.fetch(job_id, connection=redis, serializer=JSONSerializer)
    except (NoSuchJobError, ValueError):
        return None


def known_job(job_id: str) -> Job:
    job = fetch(job_id, web.Job, connection())
    if job is None:
        raise Problem(404, detail="There is no such job in Redis. The ledger may know more about it.")
    return job


def escape_texts(value: Any, spared: frozenset[str] = frozenset()) -> Any:
    """Every text as HTML source, at every depth and in keys, without `spared`: the page's script escapes those."""
    if isinstance(value, str):
        return str(escape(value))
    if isinstance(value, list):
        return [escape_texts(item, spared) for item in value]
    if isinstance(value, dict):
        return {
            str(escape(key)): item if key in spared and isinstance(item, str) else escape_texts(item, spared)
            for key, item in value.items()
        }
    return value


def escaping(view: Callable[..., Any], *spared: str) -> Callable[..., Response]:
    """The view with its answer escaped, for a script that puts it into a page without escaping."""

    @wraps(view)
    def shown(**arguments: Any) -> Response:
        response = current_app.make_response(view(**arguments))
        response.set_data(json.dumps(escape_texts(response.get_json(), frozenset(spared))))
        return response

    return shown


def job_info(instance_number: int, job_id: str) -> Response:
    """Like the dashboard's, which fails for unknown jobs and, on this RQ, for every job that depends on another."""
    job = known_job(job_id)
    latest = job.latest_result()
    depends_on = [str(other) for other in job.dependency_ids]
    info: dict[str, Any] = {
        "id": job.id,
        "created_at": web.serialize_date(job.created_at),
        "enqueued_at": web.serialize_date(job.enqueued_at),
        "started_at": web.serialize_date(job.started_at),
        "ended_at": web.serialize_date(job.ended_at),
        "origin": job.origin,
        "status": job.get_status(refresh=False),
        "result": latest.return_value if latest else None,
        "exc_info": latest.exc_string if latest else None,
        "description": web.format_job_description(job),
        "metadata": json.dumps(job.meta, default=str),
    }
    if depends_on:
        found = [fetch(other, web.Job, connection()) is not None for other in depends_on]
        info |= {"depends_on": depends_on, "depends_on_status": ["active" if one else "expired" for one in found]}
    return jsonify(info)


def failed_registry(queue_name: str) -> FailedJobRegistry:
    return FailedJobRegistry(queue_name, connection=connection(), job_class=web.Job, serializer=JSONSerializer)


def requeue(job: Job, operator: str) -> None:
    """Put a job back into its queue; raises InvalidJobOperation when it is not in the failed registry (any more).

    RQ saves meta in the transaction that pushes the job, so only the operator who really requeued it is named.
    """
    job.meta["requeued_by"] = operator
    if reason := request.form.get("reason", "")[:LONGEST].strip():
        job.meta["requeued_why"] = reason
    job.requeue()


def announce(operator: str, action: str, job_ids: list[str]) -> None:
    on_change: OnChange | None = current_app.extensions["rq_dashboard_on_change"]
    if on_change is not None and job_ids:
        on_change(operator, action, job_ids)


def requeue_job_view(job_id: str) -> Response:
    job = known_job(job_id)
    try:
        requeue(job, operator_name())
    except InvalidJobOperation as error:
        raise Problem(409, detail="This job is not failed; somebody may have requeued it already.") from error
    announce(operator_name(), "requeued", [job.id])
    return jsonify(status="OK")


def requeue_all(queue_name: str) -> Response:
    """Requeue the failed jobs of a queue. `skipped` were gone; `left` are too many for one click."""
    registry = failed_registry(queue_name)
    job_ids = registry.get_job_ids(0, REQUEUE_AT_MOST - 1, cleanup=False)
    done = [job_id for job_id in job_ids if requeued(registry, job_id)]
    announce(operator_name(), "requeued", done)
    left = registry.get_job_count(cleanup=False)
    return jsonify(status="OK", count=len(done), skipped=len(job_ids) - len(done), left=left)


def requeued(registry: FailedJobRegistry, job_id: str) -> bool:
    """False for an id whose job is gone; the id is removed from the list, which it would block for ever."""
    job = fetch(job_id, web.Job, connection())
    if job is None:
        connection().zrem(registry.key, job_id)
        return False
    try:
        requeue(job, operator_name())
    except InvalidJobOperation:
        return False
    return True


def compact_queue(queue_name: str) -> Response:
    """Remove ids whose job is gone from a queue, one by one.

    The dashboard's view renames the whole queue first: a process that died then would leave it where no worker looks.
    """
    queue = web.Queue(queue_name, connection=connection())
    gone = [job_id for job_id in queue.get_job_ids() if not web.Job.exists(job_id, connection())]
    for job_id in gone:
        queue.remove(job_id)
    return jsonify(status="OK", count=len(gone))


def refuse_deletion(**_arguments: Any) -> Response:
    raise Problem(403, detail="Nothing is deleted here: the ledger owns this work and would publish it again.")


def replacements() -> dict[str, Callable[..., Any]]:
    """Endpoint of the dashboard → the view that replaces it."""
    return {
        "list_queues": escaping(web.list_queues),
        "list_jobs": escaping(web.list_jobs),
        "list_workers": escaping(web.list_workers),
        "job_info": escaping(job_info),
        "compact_queue": compact_queue,
        "delete_job_view": refuse_deletion,
        "empty_queue": refuse_deletion,
    }
