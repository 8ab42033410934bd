"""Health checks: liveness touches nothing, readiness needs Postgres at the right migration. Redis may be away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.db import DbSession, transaction
from flaskapp.ops import ground
from flaskapp.web import access
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import describe
from outbox import Database, messages, rescue

blueprint = Blueprint("health", __name__, url_prefix="/healthz")
access.declare(blueprint, "anybody: nothing here says more than that we run")


def init_app(app: Flask, migrations: Path) -> None:
    app.extensions["expected_migration"] = newest_migration(migrations)
    app.register_blueprint(blueprint)


def newest_migration(migrations: Path) -> str:
    """The newest migration's number, from its file name: every process needs it, and only a release loads Alembic."""
    return max(path.name for path in (migrations / "versions").glob("[0-9]*.py")).partition("_")[0]


@blueprint.get("/live")
@describe("Is the process alive?", answers={200: "Yes."})
def live() -> Response:
    return answer({"status": "alive"})


@blueprint.get("/ready")
@describe(
    "Can requests be accepted?",
    answers={
        200: "Yes; `processes` counts those beating, `redis` is `ok` or `away`.",
        503: "Postgres is away, not migrated, restored from a backup or not durable; `reason` says which.",
    },
)
def ready() -> Response:
    try:
        with transaction() as session:
            for reason in (check(session) for check in CHECKS):
                if reason is not None:
                    return not_ready(reason)
            return answer({"status": "ready", **state_of(session), "redis": redis_state()})
    except SQLAlchemyError:
        return not_ready("the database cannot be reached")


def not_migrated(session: DbSession) -> str | None:
    current = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if current == current_app.extensions["expected_migration"] else "the database is not migrated"


# Each gives the reason why no request can be accepted, or None.
CHECKS: list[Callable[[DbSession], str | None]] = [not_migrated, ground.gives_way]


def not_ready(reason: str) -> Response:
    return answer({"status": "unready", "reason": reason}, 503, {"Retry-After": "5"})


def state_of(session: Database) -> dict[str, Any]:
    return {"processes": rescue.beating(session), "oldest_due_seconds": messages.oldest_due_seconds(session)}


def redis_state() -> str:
    redis: Redis = current_app.extensions["redis"]
    try:
        redis.ping()
        return "ok"
    except (RedisError, OSError):
        return "away"
