"""Pages of the RQ dashboard, made on the server in the look of the console: no script runs in them.

They replace rq-dashboard's own, which compile their templates in the browser, say *1 second ago* of whatever has no
time, and cannot be used by somebody who does not see them. What they show comes from its JSON views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rq_dashboard.web as web
from flask import current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from flaskapp.ops import rq_views
from flaskapp.web.errors import Problem

REGISTRIES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
ON_A_PAGE = "20"
LOOKED_AT = 200


@dataclass(frozen=True)
class Ledger:
    """What the pages say of Postgres: `waiting()` gives, by queue, how many messages wait and are parked there, and
    `newer(job ids)` of how many of these failed jobs the person filed a newer one since."""

    waiting: Callable[[], Mapping[str, Mapping[str, int]]] = dict
    newer: Callable[[Sequence[str]], int] = len


def ledger() -> Ledger | None:
    found: Ledger | None = current_app.extensions.get("rq_dashboard_ledger")
    return found


def said(view: Callable[..., Any], **arguments: Any) -> Any:
    """What a JSON view of rq-dashboard answers, unescaped: these templates escape it."""
    return current_app.make_response(view(instance_number=0, **arguments)).get_json()


def at(text: str | None) -> str:
    """A time of RQ, in UTC to the second; nothing where RQ has none."""
    return "" if not text else datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def queues_overview(instance_number: int) -> str:
    known = ledger()
    waiting = known.waiting() if known is not None else {}
    queues = said(web.list_queues)["queues"]
    return render_template("rq/queues.html", queues=queues, waiting=waiting, registries=REGISTRIES)


def workers_overview(instance_number: int) -> str:
    return render_template("rq/workers.html", workers=said(web.list_workers)["workers"])


def jobs_overview(
    instance_number: int, queue_name: str | None, registry_name: str, per_page: int, order: str, page: int
) -> str:
    names = sorted(queue.name for queue in web.Queue.all(connection=rq_views.connection()))
    chosen = request.args.get("queue") or queue_name or next(iter(names), "default")
    registry = request.args.get("registry") or registry_name
    if chosen not in [*names, "default", queue_name] or registry not in REGISTRIES:
        raise Problem(404)
    found = said(
        web.list_jobs,
        queue_name=chosen,
        registry_name=registry,
        per_page=str(per_page) if queue_name else ON_A_PAGE,
        order=order,
        page=str(page),
    )
    return render_template(
        "rq/jobs.html", names=names, chosen=chosen, registry=registry, registries=REGISTRIES, at=at, **found
    )


def job_view(instance_number: int, job_id: str) -> str:
    info = current_app.make_response(rq_views.job_info(0, job_id)).get_json()
    return render_template("rq/job.html", job=info, at=at)


def requeue_preview(queue_name: str) -> str:
    """What *Requeue all* would meet."""
    registry = rq_views.failed_registry(queue_name)
    first, known = registry.get_job_ids(0, LOOKED_AT - 1, cleanup=False), ledger()
    return render_template(
        "rq/requeue.html",
        queue=queue_name,
        failed=registry.get_job_count(cleanup=False),
        most=rq_views.REQUEUE_AT_MOST,
        looked_at=len(first),
        newer=known.newer(first) if known is not None else None,
    )


def requeue_one(job_id: str) -> Response:
    """By the button of a page; scripts get JSON."""
    if not by_form():
        return rq_views.requeue_job_view(job_id)
    queue = rq_views.known_job(job_id).origin
    rq_views.requeue_job_view(job_id)
    flash(f"Job {job_id} requeued.")
    return to_failed(queue)


def requeue_many(queue_name: str) -> Response:
    answer = rq_views.requeue_all(queue_name)
    if not by_form():
        return answer
    did = answer.get_json()
    flash(f"{did['count']} requeued; {did['skipped']} were gone; {did['left']} are left.")
    return to_failed(queue_name)


def by_form() -> bool:
    return "csrf_token" in request.form


def to_failed(queue: str) -> Response:
    path = url_for(
        "rq_dashboard.jobs_overview",
        instance_number=0,
        queue_name=queue,
        registry_name="failed",
        per_page=ON_A_PAGE,
        order="dsc",
        page=1,
    )
    return redirect(path, 303)


def replacements() -> dict[str, Callable[..., Any]]:
    return {
        "queues_overview": queues_overview,
        "workers_overview": workers_overview,
        "jobs_overview": jobs_overview,
        "job_view": job_view,
        "requeue_job_view": requeue_one,
        "requeue_all": requeue_many,
    }
