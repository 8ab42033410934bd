"""The web application: config, database, upstreams, blueprints, errors, put together in one place."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from flask_migrate import Migrate
from redis import Redis

from flaskapp import browser, commands, db, errors, health, limits, logs, metrics, openapi, ops, request
from flaskapp.check_in.routes import blueprint as check_in
from flaskapp.config import Config
from flaskapp.crypto import Vault
from flaskapp.notifications.routes import blueprint as notifications
from flaskapp.ops import console, rq
from flaskapp.redis_pool import bounded_pool
from flaskapp.travel_claims.routes import blueprint as travel_claims
from flaskapp.upstreams import build
from outbox.rq_side import LedgerJob

MIGRATIONS = str(Path(__file__).parent.parent / "migrations")
# A worker's fetchers wait on Redis inside a blocking command, so its sockets must outlast that wait.
REDIS_CONNECTIONS = 8
REDIS_WAIT_SECONDS = 5.0


def create_app(config: Config) -> Flask:
    app = Flask(__name__)
    app.extensions["config"] = config
    app.extensions["vault"] = Vault(config)
    app.extensions["redis"] = open_redis(config)
    app.extensions["upstreams"] = build(config, app.extensions["redis"])
    logs.init_app(app, config)
    browser.init_app(app, config)
    errors.init_app(app, config)
    request.init_app(app, config)
    db.init_app(app, config)
    Migrate(app, db.db, directory=MIGRATIONS)
    for blueprint in (check_in, travel_claims, notifications, metrics.blueprint):
        app.register_blueprint(blueprint)
    health.init_app(app, MIGRATIONS)
    limits.init_app(app, config)
    openapi.init_app(app, config)
    ops.init_app(app, config)
    rq.mount(app, config, config.redis_url, LedgerJob)
    console.init_app(app)
    commands.init_app(app)
    return app


def open_redis(config: Config) -> Redis:
    """At most eight connections a process; a caller waits for one rather than open a ninth."""
    pool = bounded_pool(config.redis_url, config.redis_verify_tls, REDIS_CONNECTIONS)
    pool.timeout = REDIS_WAIT_SECONDS
    return Redis(connection_pool=pool)
