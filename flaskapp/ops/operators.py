"""Operators: their names and password hashes from the settings, and how long a log-in lasts."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Mapping

import click
from flask import current_app
from flask.cli import AppGroup
from flask_login import UserMixin
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.security import check_password_hash, generate_password_hash

from flaskapp.config import Config
from flaskapp.ops.log_outs import LogOuts
from flaskapp.web.errors import RETRY_AFTER_SECONDS, Problem

LOGIN_SECONDS = 8 * 3600
KNOWN_SECONDS = 90 * 86_400
# Making a hash takes 32 MiB, and a web process has enough threads to run out of memory that way.
HASHES_AT_ONCE = threading.BoundedSemaphore(2)
HASH_WAIT_SECONDS = 1.0

# The hash of a password that nobody knows; checked for unknown names, so that they take as long as known ones.
NOBODY = (
    "scrypt:32768:8:1$fD9bQ1mXw0s2LkVe$"
    "5d2a0f1c7be94e9b7d2c61f08a3e5b64c19f7d20e8b3a6459c0d1e2f3a4b5c6d"
    "7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d"
)

operators_cli = AppGroup("operators", help="Operators of the consoles.")


class Operator(UserMixin):
    """A logged-in operator; `id` is the name that history shows, `log_in` the id by which this log-in is ended."""

    def __init__(self, name: str, password_hash: str, log_in: str) -> None:
        self.id = name
        self.password_hash = password_hash
        self.log_in = log_in

    @property
    def may_act(self) -> bool:
        """Whether they may change something, and not only look."""
        return self.id not in operators_config().operator_viewers

    @property
    def may_see_people(self) -> bool:
        """Whether they may find a person, and be shown who it is."""
        return self.id in operators_config().operator_administrators

    def get_id(self) -> str:
        """What the session keeps: the name, signed with its time and bound to the password: it ends with either."""
        return signer().dumps([self.id, fingerprint(self.password_hash), self.log_in])


def signer(salt: str = "operator-login") -> URLSafeTimedSerializer:
    """Signs with `SECRET_KEY`; what was signed with an earlier one stays valid."""
    config = operators_config()
    return URLSafeTimedSerializer([*reversed(config.earlier_secret_keys), config.secret_key], salt=salt)


def known_browser(operator: Operator) -> str:
    """What a browser keeps from which somebody has logged in. It proves nothing else."""
    return str(signer("known-browser").dumps(operator.id))


def known_name(token: str) -> str | None:
    """The operator who has logged in from the browser that kept this; None for anything else."""
    try:
        return str(signer("known-browser").loads(token, max_age=KNOWN_SECONDS))
    except BadData:
        return None


def fingerprint(password_hash: str) -> str:
    return hashlib.sha256(password_hash.encode()).hexdigest()[:16]


def operators_config() -> Config:
    config: Config = current_app.extensions["operators_config"]
    return config


def operators() -> Mapping[str, str]:
    return operators_config().operators


def load_operator(token: str) -> Operator | None:
    """The operator that a session names, unless eight hours have passed, they logged out, the name is gone, or its
    password changed. Postgres is only queried about a session that we signed."""
    try:
        name, bound_to, log_in = signer().loads(token, max_age=LOGIN_SECONDS)
    except (BadData, ValueError, TypeError):
        return None
    password_hash = operators().get(str(name))
    if password_hash is None or fingerprint(password_hash) != bound_to or str(log_in) in log_outs():
        return None
    return Operator(str(name), password_hash, str(log_in))


def log_outs() -> LogOuts:
    found: LogOuts = current_app.extensions["log_outs"]
    return found


def authenticate(name: str, password: str) -> Operator | None:
    """The operator with this name and password. An unknown name costs the same time as a wrong password."""
    known = operators()
    password_hash = known.get(name) or next(iter(known.values()), NOBODY)
    correct = is_right(password_hash, password)
    return Operator(name, password_hash, secrets.token_urlsafe(16)) if correct and name in known else None


def is_right(password_hash: str, password: str) -> bool:
    """Whether the password fits. Raises Problem 503 when too many others are being checked."""
    if not HASHES_AT_ONCE.acquire(timeout=HASH_WAIT_SECONDS):
        raise Problem(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    try:
        return bool(check_password_hash(password_hash, password))
    finally:
        HASHES_AT_ONCE.release()


@operators_cli.command("hash")
@click.password_option(
    "--password", prompt="Password", help="Asks for it when left out, which keeps it out of the shell history."
)
def hash_password(password: str) -> None:
    """Print the hash of a password, for the OPERATORS setting."""
    click.echo(generate_password_hash(password))
