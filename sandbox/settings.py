"""Every setting the product needs, for one machine: made-up credentials shared with the fakes, and secrets kept.

The secrets are drawn once and kept beside the data they encrypt, so that a restart can read old rows.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from cryptography.fernet import Fernet
from werkzeug.security import generate_password_hash

from flaskapp.config import setting_names
from sandbox.server import keep_private
from sandbox.upstreams.settings import FakeSettings

OPERATOR = "operator"
CALLBACK_PATH = "/va_notify/callbacks"
# Beside the data of a run, while it lasts: its environment, for commands in another terminal.
ENVIRONMENT_FILE = "environment"


@dataclass(frozen=True)
class Secrets:
    """What one installation keeps to itself; `operator_password` is the only one a person types."""

    secret_key: str
    encryption_keys: str
    digest_key: str
    operator_password: str


def kept_secrets(folder: Path) -> Secrets:
    """The secrets in `folder`/settings.json, drawn and written there (mode 0600) the first time."""
    path = folder / "settings.json"
    if path.exists():
        return Secrets(**json.loads(path.read_text()))
    drawn = Secrets(
        secret_key=secrets.token_urlsafe(32),
        encryption_keys=Fernet.generate_key().decode(),
        digest_key=secrets.token_urlsafe(32),
        operator_password=secrets.token_urlsafe(9),
    )
    folder.mkdir(parents=True, exist_ok=True)
    keep_private(path, json.dumps(asdict(drawn), indent=2))
    return drawn


def as_shell(environment: Mapping[str, str]) -> str:
    """The environment as lines of shell, `export NAME='text'`."""
    return "".join(f"export {name}={shlex.quote(text)}\n" for name, text in environment.items())


def from_shell(lines: str) -> dict[str, str]:
    """The environment that `as_shell` wrote."""
    words = (word for word in shlex.split(lines) if word != "export")
    return {name: text for name, _, text in (word.partition("=") for word in words)}


@cache
def hashed(password: str) -> str:
    """Slow on purpose, so once a process is enough."""
    return generate_password_hash(password)


def fake_settings(public_url: str) -> FakeSettings:
    """What the fakes are to know when the product listens at `public_url`."""
    return FakeSettings(vanotify_callback_url=f"{public_url}{CALLBACK_PATH}")


def environment(
    database: str,
    redis: str,
    upstreams: Mapping[str, str],
    kept: Secrets,
    overrides: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Environment name to text for every required setting.

    `upstreams` maps the fakes' names to their base URLs. `overrides` is usually the caller's own environment; of it
    only names the product knows count, and an empty text leaves the sandbox's value.
    """
    known = setting_names()
    chosen = {name: text for name, text in (overrides or {}).items() if name in known and text}
    return {
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "SECRET_KEY": kept.secret_key,
        "ENCRYPTION_KEYS": kept.encryption_keys,
        "DIGEST_KEY": kept.digest_key,
        "OPERATORS": json.dumps({OPERATOR: hashed(kept.operator_password)}),
        # Somebody else's operators have roles of their own.
        **({} if "OPERATORS" in chosen else {"OPERATOR_ADMINISTRATORS": OPERATOR}),
        "CASE_OWNER_TRAVEL_CLAIM": OPERATOR,
        "CASE_OWNER_INTENT_TO_FILE": OPERATOR,
        "CASE_OWNER_FORM526": OPERATOR,
        "CASE_OWNER_TRAVEL_PAY": OPERATOR,
        "CASE_OWNER_NOTIFICATION": OPERATOR,
        "METRICS_TOKEN": kept.operator_password,
        "INSECURE_COOKIES": "yes",
        "WEBHOOK_PRIVATE_ADDRESSES": "yes",
        "TRUSTED_PROXIES": "0",
        # Servers of tests do not wait for the disk.
        "ALLOW_LOSSY_POSTGRES": "yes",
        # One machine posts for everybody here: stories, faults, benchmarks and tests.
        "RATE_LIMIT_PER_CALLER": "1000000 per minute",
        "RATE_LIMIT_PER_ADDRESS": "1000000 per minute",
        "RATE_LIMIT_PER_WEBHOOK": "1000000 per minute",
        **FakeSettings().environment(upstreams),
        **chosen,
    }
