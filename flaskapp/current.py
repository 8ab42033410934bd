"""Access to what the running application was made with, for code far from `create_app`."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import current_app
from sqlalchemy import select

from flaskapp.config import Config
from flaskapp.flows import Flows
from flaskapp.upstreams import Upstreams
from outbox import NOW, BreakerSettings, Database


def settings() -> Config:
    found: Config = current_app.extensions["config"]
    return found


def breaker_settings(config: Config) -> BreakerSettings:
    """How long a breaker stays open, for jobs and synchronous calls alike."""
    return BreakerSettings(open_seconds=config.breaker_open_seconds, cap_seconds=config.breaker_cap_seconds)


def flows() -> Flows:
    """The flows this application was made with."""
    found: Flows = current_app.extensions["flows"]
    return found


def upstreams() -> Upstreams:
    found: Upstreams = current_app.extensions["upstreams"]
    return found


def database_now(db: Database) -> datetime:
    """Postgres's clock, aware, in UTC: it also decides what is due, valid and late."""
    found: datetime = db.execute(select(NOW)).scalar_one()
    return found.astimezone(UTC)
