"""RQ dashboard at /rq, made safe: by itself it has no log-in, changes state by GET, and trusts stored texts.

Only operators get in, static files included. Only a POST from one of its own pages changes anything. Its pages are ours
(`rq_pages`), and run no script at all.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import rq_dashboard.web as web
from flask import Flask, Response, make_response, render_template, request
from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response as WerkzeugResponse

from flaskapp.config import Config
from flaskapp.ops import rq_pages
from flaskapp.ops.login import SAFE_METHODS, check_form, demand_act, demand_operator
from flaskapp.ops.rq_views import OnChange, read_json_only, replacements
from flaskapp.redis_pool import bounded_pool
from flaskapp.web import access
from flaskapp.web.cross_origin import same_origin
from flaskapp.web.errors import Problem, add_page_prefix, entry, page_wanted, refuse

PREFIX = "/rq"
NAME = "rq_dashboard"
CONNECTIONS = 2
CHANGES_BY_GET = frozenset({f"{NAME}.requeue_all"})

# Other values than these give a 500.
ARGUMENTS = {
    "instance_number": re.compile(r"0"),
    "queue_name": re.compile(r"[A-Za-z0-9_.-]{1,100}"),
    "registry_name": re.compile(r"queued|scheduled|deferred|started|finished|failed|canceled"),
    "per_page": re.compile(r"[1-9][0-9]?|1[0-9][0-9]|200"),
    "order": re.compile(r"asc|dsc"),
    "page": re.compile(r"[1-9][0-9]{0,5}"),
}


def mount(
    app: Flask,
    config: Config,
    redis_url: str,
    job_class: type[Job],
    on_change: OnChange | None = None,
    ledger: rq_pages.Ledger | None = None,
) -> None:
    """Serve the dashboard under /rq. Call after `ops.init_app`.

    RQ's jobs are read as `job_class`, always with the JSON serializer. `on_change(operator, "requeued", job ids)` is
    called after jobs went back to their queues; each then carries the operator in `meta["requeued_by"]`.
    """
    pool = bounded_pool(redis_url, config.redis_verify_tls, CONNECTIONS)
    app.redis_conn = Redis(connection_pool=pool)  # type: ignore[attr-defined]
    app.config["RQ_DASHBOARD_REDIS_URL"] = (label(redis_url),)
    app.config["RQ_DASHBOARD_DISABLE_DELETE"] = True
    app.extensions["rq_dashboard_on_change"] = on_change
    app.extensions["rq_dashboard_ledger"] = ledger
    read_json_only(job_class)
    add_page_prefix(app, PREFIX)
    access.declare(web.blueprint, "operators, by log-in")
    app.register_blueprint(web.blueprint, url_prefix=PREFIX)
    # Replaced here and not on the blueprint, which is one object for the whole process and closed once registered.
    views = replacements() | rq_pages.replacements()
    app.view_functions.update({f"{NAME}.{name}": view for name, view in views.items()})
    app.add_url_rule(f"{PREFIX}/requeue/<queue_name>/preview", f"{NAME}.requeue_preview", rq_pages.requeue_preview)
    # This also drops its own hook, which opened a new Redis client at every poll and put it into the app.
    app.before_request_funcs[NAME] = [admit]

    @app.errorhandler(RedisError)
    def redis_away(_error: RedisError) -> Response:
        detail = "Redis cannot be reached. Nothing is lost: the work is in the ledger and is published again."
        if request.path.startswith(f"{PREFIX}/") and page_wanted(app):
            return make_response(render_template("rq/away.html"), 503, {"Retry-After": "5"})
        return refuse(app, 503, [entry(503, detail=detail)], {"Retry-After": "5"})


def label(redis_url: str) -> str:
    """The address as the page shows it: host and database, never credentials or options."""
    parts = urlsplit(redis_url)
    return f"{parts.hostname or 'local'}{parts.path}"


def admit() -> WerkzeugResponse | None:
    """Check before every view: an operator, a known address, and for changes a POST from one of our own pages."""
    if request.method in SAFE_METHODS and request.endpoint in CHANGES_BY_GET:
        raise MethodNotAllowed(["POST"])
    response = demand_operator()
    if response is not None:
        return response
    check_arguments(request.view_args or {})
    if request.method not in SAFE_METHODS:
        # A page's form carries its token, a script its origin.
        if "csrf_token" in request.form:
            check_form()
        else:
            check_sender()
        demand_act()
    return None


def check_arguments(arguments: dict[str, Any]) -> None:
    for name, pattern in ARGUMENTS.items():
        value = arguments.get(name)
        if value is not None and not pattern.fullmatch(str(value)):
            raise Problem(404)


def check_sender() -> None:
    """A form on another site can send neither this header nor our origin; the dashboard's own script sends both."""
    if request.headers.get("X-Requested-With") != "XMLHttpRequest" or not same_origin():
        raise Problem(403, detail="Changes are taken from the dashboard's own pages only.")
