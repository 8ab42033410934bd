"""The web application: configuration, database, upstreams, flows and consoles, put together in one place."""

from __future__ import annotations

from functools import partial

from flask import Flask

from flaskapp import db, logs, ops
from flaskapp.cases.flow import FLOW as CASES
from flaskapp.check_in.flow import FLOW as CHECK_IN
from flaskapp.config import Config
from flaskapp.crypto import Vault
from flaskapp.flows import Flows
from flaskapp.form526.flow import FLOW as FORM526
from flaskapp.intent_to_file.flow import FLOW as INTENT_TO_FILE
from flaskapp.notifications.flow import FLOW as NOTIFICATIONS
from flaskapp.ops import (
    breakers,
    cases,
    commands,
    console,
    counters,
    exports,
    health,
    metrics,
    pages,
    parked,
    people,
    rq,
    webhooks,
)
from flaskapp.ops.commands.release import MIGRATIONS
from flaskapp.ops.operators import operators_cli
from flaskapp.redis_pool import open_redis
from flaskapp.submissions.flow import FLOW as SUBMISSIONS
from flaskapp.travel_claims.flow import FLOW as TRAVEL_CLAIMS
from flaskapp.travel_pay.flow import FLOW as TRAVEL_PAY
from flaskapp.upstreams import build
from flaskapp.web import cross_origin, errors, json_body, key_guard, openapi, passthrough, rate_limits, sign_in, waiting
from flaskapp.web.application import Application
from flaskapp.webhooks.flow import FLOW as WEBHOOKS
from outbox import LedgerJob

# A new flow is entered here, and nowhere else.
REGISTERED = Flows(
    CHECK_IN, TRAVEL_CLAIMS, INTENT_TO_FILE, FORM526, TRAVEL_PAY, SUBMISSIONS, NOTIFICATIONS, CASES, WEBHOOKS
)


def create_app(config: Config, flows: Flows = REGISTERED) -> Flask:
    app = Application(__name__)
    app.extensions["config"] = config
    app.extensions["flows"] = flows
    app.extensions["vault"] = Vault(config)
    app.extensions["redis"] = open_redis(config)
    app.extensions["upstreams"] = build(config, app.extensions["redis"])
    logs.init_app(app, config)
    cross_origin.init_app(app, config)
    errors.init_app(app, config)
    json_body.init_app(app, config)
    db.init_app(app, config)
    key_guard.init_app(app)
    for blueprint in flows.blueprints:
        app.register_blueprint(blueprint)
    metrics.init_app(app)
    counters.init_app(app)
    exports.init_app(app, config)
    health.init_app(app, MIGRATIONS)
    rate_limits.init_app(app, config)
    passthrough.init_app(app, config)
    waiting.init_app(app)
    app.extensions["at_web_start"] = partial(at_web_start, app)
    openapi.init_app(app, config)
    ops.init_app(app, config)
    LedgerJob.hint = "Its attempts and history: flask outbox show {message_id}"
    rq.mount(app, config, config.redis_url, LedgerJob, ledger=console.RQ_LEDGER)
    pages.init_app(app)
    people.init_app(app)
    cases.init_app(app)
    breakers.init_app(app)
    parked.init_app(app)
    webhooks.init_app(app)
    console.init_app(app)
    commands.init_app(app)
    return app


def at_web_start(app: Flask) -> None:
    """What a web process does before it accepts anybody."""
    sign_in.fetch_keys(app)
    counters.begin_in_web(app)


def create_help_app() -> Flask:
    """Nothing but the commands, for help and shell completion: these need no settings, no database and no keys."""
    app = Flask(__name__)
    commands.init_app(app)
    app.cli.add_command(operators_cli)
    return app
