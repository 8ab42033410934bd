"""Consoles for operators: log-in, home page, and the guard in front of every console."""

from __future__ import annotations

from flask import Flask
from flask_login import LoginManager, current_user
from flask_wtf.csrf import generate_csrf

from flaskapp.config import Config
from flaskapp.ops import home, login, oidc, shown
from flaskapp.ops.home import link, panel
from flaskapp.ops.log_outs import LogOuts
from flaskapp.ops.login import operator_name, require_operator
from flaskapp.ops.operators import LOGIN_SECONDS, load_operator, operators_cli
from flaskapp.web.errors import add_page_prefix

__all__ = ["init_app", "link", "operator_name", "panel", "require_operator"]


def init_app(app: Flask, config: Config) -> None:
    """Call after `db` and `rate_limits`. Sets up the session cookie for the whole app."""
    app.secret_key = config.secret_key
    # The last one signs, all are valid.
    keys = [*reversed(config.earlier_secret_keys), config.secret_key]
    app.config.update(
        SECRET_KEY_FALLBACKS=list(config.earlier_secret_keys),
        WTF_CSRF_SECRET_KEY=keys,
        SESSION_COOKIE_NAME="surefile_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=not config.insecure_cookies,
        WTF_CSRF_TIME_LIMIT=LOGIN_SECONDS,
    )
    app.extensions["operators_config"] = config
    app.jinja_env.globals["csrf_token"] = generate_csrf
    app.extensions["log_outs"] = LogOuts()
    manager = LoginManager()
    # Only pages that name the operator look up who it is: a page about a problem must need no database.
    manager.init_app(app, add_context_processor=False)
    app.jinja_env.globals["current_user"] = current_user
    # An application without flows has the log-in and the home page only.
    app.jinja_env.globals["has_page"] = lambda endpoint: endpoint in app.view_functions
    manager.user_loader(load_operator)
    add_page_prefix(app, "/ops")
    shown.init_app(app)
    oidc.init_app(app, config)
    app.jinja_env.globals["oidc_is_offered"] = oidc.is_offered
    app.register_blueprint(login.blueprint)
    app.register_blueprint(home.blueprint)
    app.cli.add_command(operators_cli)
