"""A small app made of the edge modules only, for tests that need no flow and no database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import Flask
from werkzeug.security import generate_password_hash

import flaskapp
from flaskapp import logs, ops
from flaskapp.config import Config
from flaskapp.web import cross_origin, errors, json_body, openapi, rate_limits

ORIGIN = "https://www.example.gov"
PASSWORD = "correct horse"
# A cheap hash: the tests check who gets in, not how slow guessing is.
OPERATORS = {"ana": generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")}
CONFIG = replace(
    Config(),
    redis_url="redis://127.0.0.1:1/0",
    secret_key="for tests only",
    digest_key="for tests only",
    trusted_proxies=1,
    operators=OPERATORS,
    frontend_origins=(ORIGIN,),
    insecure_cookies=True,
    max_body_bytes=2_000,
)


def make_app(config: Config = CONFIG, routes: Callable[[Flask], None] | None = None, operators: bool = False) -> Flask:
    """`create_app` without flows: the same modules in the same order."""
    app = Flask(flaskapp.__name__)
    for module in (logs, errors, json_body, cross_origin, rate_limits):
        module.init_app(app, config)
    app.extensions["config"] = config
    if operators:
        ops.init_app(app, config)
        # A set can do both things that are needed, and there is no database here.
        app.extensions["log_outs"] = set()
    openapi.init_app(app, config)
    if routes is not None:
        routes(app)
    return app


def log_in(client, password=PASSWORD, name="ana", target="/ops/"):
    """Post the log-in form with the token of a freshly loaded page."""
    token = csrf_of(client.get("/ops/login").text)
    form = {"name": name, "password": password, "csrf_token": token}
    return client.post(f"/ops/login?next={target}", data=form)


def csrf_of(html):
    _, _, rest = html.partition('name="csrf_token"')
    return rest.partition('value="')[2].partition('"')[0]
