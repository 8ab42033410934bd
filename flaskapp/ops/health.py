"""Health checks: liveness touches nothing, readiness needs a Postgres that takes writes and is migrated.

Without Redis, a relay, a worker or a scheduler, requests are accepted all the same: what stands still is said, and
turns no web process away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.db import AUDIT, RETENTION, SWEEP, DbSession, transaction
from flaskapp.keys.checks import unready_for_keys
from flaskapp.ops import ground
from flaskapp.redis_pool import redis_state
from flaskapp.web import access, liveness
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import NUMBER, TEXT, WHOLE, listed, or_null, thing, word
from outbox import Database, away, leases, rescue, tally

# What stands still without each kind of process.
KINDS = {
    "relay": "work waits in Postgres",
    "worker": "nothing is sent to an upstream",
    "scheduler": "no sweep and no audit is started",
}
# Some beats may come late before it is said; a process is missed after this.
SILENT_SECONDS = 15.0
# How long work that is due every ten seconds, every minute and every hour may not have run.
MOST_SECONDS = {SWEEP: 120.0, AUDIT: 300.0, RETENTION: 7_800.0}
REDIS_STANDS = {
    "away": "Redis is away: work waits in Postgres",
    "read-only": "Redis takes no writes: work waits in Postgres",
}

ALIVE = thing("Alive", {"status": word("alive")})
# By the names of the kinds of processes, and of the periodic work.
READY = thing(
    "Ready",
    {
        "status": word("ready", "degraded"),
        "processes": {"type": "object", "additionalProperties": WHOLE},
        "oldest_due_seconds": or_null(NUMBER),
        "last_runs": {"type": "object", "additionalProperties": or_null(NUMBER)},
        "redis": word("ok", *REDIS_STANDS),
    },
    {"standing_still": listed(TEXT)},
)
UNREADY = thing("Unready", {"status": word("unready"), "reason": TEXT})

blueprint = Blueprint("health", __name__, url_prefix="/healthz")
access.declare(blueprint, "anybody: whether we run and what stands still, in words of ours")


def init_app(app: Flask, migrations: Path) -> None:
    app.extensions["expected_migration"] = newest_migration(migrations)
    app.register_blueprint(blueprint)


def newest_migration(migrations: Path) -> str:
    """The newest migration's number, from its file name: every process needs it, and only a release loads Alembic."""
    return max(path.name for path in (migrations / "versions").glob("[0-9]*.py")).partition("_")[0]


@blueprint.get("/live")
@describe("Is the process alive?", answers={200: Answer("Yes.", ALIVE)})
def live() -> Response:
    """The web worker answers this itself, without a thread; here it is for any other server."""
    return answer(liveness.ALIVE)


@blueprint.get("/ready")
@describe(
    "Can requests be accepted?",
    answers={
        200: Answer(
            "Yes. `status` is `ready`, or `degraded` while something stands still: `standingStill` says what, in"
            " words. `processes` counts those beating, `lastRuns` are seconds.",
            READY,
        ),
        503: Answer(
            "Postgres is away, takes no writes, is not migrated, was restored from a backup or is not durable, or the"
            " keys do not fit; `reason` says which.",
            UNREADY,
        ),
    },
)
def ready() -> Response:
    try:
        with transaction() as session:
            for reason in (check(session) for check in CHECKS):
                if reason is not None:
                    return not_ready(reason)
            state, standing = state_of(session), standing_still(session)
    except SQLAlchemyError as error:
        return not_ready(away.reason_of(error) if away.is_away(error) else "the database cannot be read")
    # Asked without a connection of Postgres in hand: a hung Redis takes its time.
    redis = redis_state(current_app.extensions["redis"])
    standing += [REDIS_STANDS[redis]] if redis in REDIS_STANDS else []
    status = {"status": "degraded", "standing_still": standing} if standing else {"status": "ready"}
    return answer({**status, **state, "redis": redis})


def not_migrated(session: DbSession) -> str | None:
    """A later migration is right as well: migrations only add, and the release before runs beside the new one."""
    current = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    expected = current_app.extensions["expected_migration"]
    return None if current is not None and current >= expected else "the database is not migrated"


# Each gives the reason why no request can be accepted, or None.
CHECKS: list[Callable[[DbSession], str | None]] = [
    away.why_not_writable,
    not_migrated,
    ground.gives_way,
    unready_for_keys,
]


def not_ready(reason: str) -> Response:
    return answer({"status": "unready", "reason": reason}, 503, {"Retry-After": "5"})


def state_of(session: Database) -> dict[str, Any]:
    runs = {name: run.age for name, run in leases.last_runs(session).items()}
    return {
        "processes": rescue.beating(session),
        "oldest_due_seconds": tally.latest(session).oldest_due_seconds(),
        "last_runs": runs,
    }


def standing_still(session: Database) -> list[str]:
    """What does not do its work just now, in words."""
    beats, runs = rescue.last_beats(session), leases.last_runs(session)
    found = [f"no {kind} is running: {effect}" for kind, effect in KINDS.items() if kind not in beats]
    for kind, effect in KINDS.items():
        if beats.get(kind, 0.0) > SILENT_SECONDS:
            found.append(f"no {kind} has beaten for {beats[kind]:.0f} s: {effect}")
    for name, most in MOST_SECONDS.items():
        run = runs.get(name)
        if run is not None and run.age is not None and run.age > most:
            found.append(f"the {name} has not run for {run.age:.0f} s")
        if run is not None and run.passed_over_for is not None and run.passed_over_for > most:
            found.append(f"the {name} finds its lease taken for {run.passed_over_for:.0f} s")
    return found
