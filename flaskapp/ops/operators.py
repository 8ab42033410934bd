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

VIEWER, OPERATOR, ADMINISTRATOR = "viewer", "operator", "administrator"
# How a sign-in service names them.
ROLES = {role: f"surefile-{role}" for role in (VIEWER, OPERATOR, ADMINISTRATOR)}

operators_cli = AppGroup("operators", help="Operators of the consoles.")


class Operator(UserMixin):
    """A logged-in operator; `id` is the name that history shows, `log_in` the id by which this log-in is ended.

    Who signed in elsewhere has no password hash, and the `role` that they have there.
    """

    def __init__(self, name: str, log_in: str, *, password_hash: str = "", role: str | None = None) -> None:
        self.id = name
        self.log_in = log_in
        self.password_hash = password_hash
        self.role = role or role_of(name)

    @property
    def may_act(self) -> bool:
        """Whether they may change something, and not only look."""
        return self.role != VIEWER

    @property
    def is_administrator(self) -> bool:
        """Whether they may do what others may not take back, and be shown secrets."""
        return self.role == ADMINISTRATOR

    @property
    def may_see_people(self) -> bool:
        """Whether they may find a person, and be shown who it is."""
        return self.is_administrator

    def get_id(self) -> str:
        """What the session keeps: the name, signed with its time and bound to the password, or to the provider and the
        role there: it ends with either."""
        bound_to = fingerprint(self.password_hash) if self.password_hash else elsewhere(self.role)
        return signer().dumps([self.id, bound_to, self.log_in])


def role_of(name: str) -> str:
    """The role of a name in the settings, read anew at every request."""
    config = operators_config()
    if name in config.operator_administrators:
        return ADMINISTRATOR
    return VIEWER if name in config.operator_viewers else OPERATOR


def elsewhere(role: str) -> str:
    """What binds a session to the sign-in service of the settings, and to the role that it gave."""
    config = operators_config()
    return f"{role} {fingerprint(f'{config.oidc_issuer} {config.oidc_client_id}')}"


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
    found = bound_operator(str(name), str(bound_to), str(log_in))
    return None if found is None or found.log_in in log_outs() else found


def bound_operator(name: str, bound_to: str, log_in: str) -> Operator | None:
    """The operator of a session, if what it is bound to still holds."""
    password_hash = operators().get(name)
    if password_hash is not None and fingerprint(password_hash) == bound_to:
        return Operator(name, log_in, password_hash=password_hash)
    role = bound_to.partition(" ")[0]
    if operators_config().oidc_issuer is not None and role in ROLES and bound_to == elsewhere(role):
        return Operator(name, log_in, role=role)
    return None


def log_outs() -> LogOuts:
    found: LogOuts = current_app.extensions["log_outs"]
    return found


def authenticate(name: str, password: str) -> Operator | None:
    """The operator with this name and password. An unknown name costs the same time as a wrong password."""
    known = operators()
    password_hash = known.get(name) or next(iter(known.values()), NOBODY)
    correct = is_right(password_hash, password)
    if not correct or name not in known:
        return None
    return Operator(name, secrets.token_urlsafe(16), password_hash=password_hash)


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
