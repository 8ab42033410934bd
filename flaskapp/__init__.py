"""The web application: config, database, upstreams, blueprints, errors, put together in one place."""

from __future__ import annotations

from flask import Flask
from redis import Redis

from flaskapp import (
    audit_commands,
    browser,
    commands,
    db,
    errors,
    gate_commands,
    health,
    limits,
    logs,
    metrics,
    openapi,
    ops,
    release,
    request,
    waiting,
)
from flaskapp.check_in.routes import blueprint as check_in
from flaskapp.config import Config
from flaskapp.crypto import Vault
from flaskapp.form526 import commands as form526_commands
from flaskapp.form526.routes import blueprint as form526
from flaskapp.intent_to_file import commands as itf_commands
from flaskapp.intent_to_file.routes import blueprint as intent_to_file
from flaskapp.notifications.routes import blueprint as notifications
from flaskapp.ops import console, rq
from flaskapp.redis_pool import bounded_pool
from flaskapp.travel_claims.routes import blueprint as travel_claims
from flaskapp.travel_pay import commands as travel_pay_commands
from flaskapp.travel_pay.appointments import blueprint as appointments
from flaskapp.travel_pay.routes import blueprint as travel_pay
from flaskapp.upstreams import build
from outbox.rq_side import LedgerJob

# The token cache adds one of its own, and in a web process the dashboard two and the limits one: seven in all.
REDIS_CONNECTIONS = 3
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
    flows = (check_in, travel_claims, intent_to_file, form526, travel_pay, appointments, notifications)
    for blueprint in (*flows, metrics.blueprint):
        app.register_blueprint(blueprint)
    health.init_app(app, release.MIGRATIONS)
    limits.init_app(app, config)
    waiting.init_app(app, config)
    openapi.init_app(app, config)
    ops.init_app(app, config)
    rq.mount(app, config, config.redis_url, LedgerJob)
    console.init_app(app)
    release.init_app(app)
    commands.init_app(app)
    audit_commands.init_app(app)
    gate_commands.init_app(app)
    itf_commands.init_app(app)
    form526_commands.init_app(app)
    travel_pay_commands.init_app(app)
    return app


def open_redis(config: Config, connections: int = REDIS_CONNECTIONS) -> Redis:
    """A client with at most so many connections; a caller waits for one rather than open another."""
    pool = bounded_pool(config.redis_url, config.redis_verify_tls, connections)
    pool.timeout = REDIS_WAIT_SECONDS
    return Redis(connection_pool=pool)
