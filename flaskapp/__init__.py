"""The web application: config, database, upstreams, blueprints, errors, put together in one place."""

from __future__ import annotations

from flask import Flask

from flaskapp import db, logs, ops
from flaskapp.check_in.routes import blueprint as check_in
from flaskapp.config import Config
from flaskapp.crypto import Vault
from flaskapp.form526.routes import blueprint as form526
from flaskapp.intent_to_file.routes import blueprint as intent_to_file
from flaskapp.notifications.routes import blueprint as notifications
from flaskapp.ops import console, health, metrics, rq
from flaskapp.ops.commands import audit, breakers, ledger, release
from flaskapp.ops.commands import documents as form526_commands
from flaskapp.ops.commands import itf as itf_commands
from flaskapp.ops.commands import travel_pay as travel_pay_commands
from flaskapp.redis_pool import open_redis
from flaskapp.travel_claims.routes import blueprint as travel_claims
from flaskapp.travel_pay.appointments import blueprint as appointments
from flaskapp.travel_pay.routes import blueprint as travel_pay
from flaskapp.upstreams import build
from flaskapp.web import cross_origin, errors, json_body, openapi, passthrough, rate_limits
from outbox.rq_side import LedgerJob


def create_app(config: Config) -> Flask:
    app = Flask(__name__)
    app.extensions["config"] = config
    app.extensions["vault"] = Vault(config)
    app.extensions["redis"] = open_redis(config)
    app.extensions["upstreams"] = build(config, app.extensions["redis"])
    logs.init_app(app, config)
    cross_origin.init_app(app, config)
    errors.init_app(app, config)
    json_body.init_app(app, config)
    db.init_app(app, config)
    flows = (check_in, travel_claims, intent_to_file, form526, travel_pay, appointments, notifications)
    for blueprint in (*flows, metrics.blueprint):
        app.register_blueprint(blueprint)
    health.init_app(app, release.MIGRATIONS)
    rate_limits.init_app(app, config)
    passthrough.init_app(app, config)
    openapi.init_app(app, config)
    ops.init_app(app, config)
    rq.mount(app, config, config.redis_url, LedgerJob)
    console.init_app(app)
    release.init_app(app)
    ledger.init_app(app)
    audit.init_app(app)
    breakers.init_app(app)
    itf_commands.init_app(app)
    form526_commands.init_app(app)
    travel_pay_commands.init_app(app)
    return app
