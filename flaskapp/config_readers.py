"""Readers of the texts of settings. Each raises ValueError with what was expected."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2.extensions
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import make_url

from outbox import read_options

EXPECTED = "expected postgres://user:password@host:port/name"
MISREAD = f"{EXPECTED}; in the password, each of : / @ ? # % is percent-encoded"
FERNET_BYTES = 32
SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


@dataclass(frozen=True)
class Rate:
    """An amount in so many seconds; as text `120 per minute`."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.amount} per {next(name for name, seconds in SECONDS.items() if seconds == self.seconds)}"


class Told(ValueError):
    """What is wrong with a secret setting, in words that hold nothing of it."""


def read_database_url(text: str) -> str:
    """The URL with its driver named, and its hosts as SQLAlchemy wants several.

    Heroku gives `postgres://`, which SQLAlchemy refuses. libpq takes `host1:5432,host2:5432`, SQLAlchemy only one host
    there and others as `?host=host1:5432&host=host2:5432`. Raises Told.
    """
    scheme, _, rest = text.partition("://")
    if scheme.split("+")[0] not in ("postgres", "postgresql") or not rest:
        raise Told(EXPECTED)
    place, slash, path = rest.partition("/")
    user, at, hosts = place.rpartition("@")
    if "," in hosts:
        name, _, query = path.partition("?")
        several = "&".join(f"host={host}" for host in hosts.split(","))
        rest = f"{user}{at}/{name}?{several}{'&' if query else ''}{query}"
    url = f"postgresql+psycopg2://{rest}"
    check_database_url(url)
    return url


def check_database_url(url: str) -> None:
    """Raises Told unless SQLAlchemy and libpq read it and it says which database."""
    try:
        args = PGDialect_psycopg2().create_connect_args(make_url(url))[1]
        options = args.pop("options", "")
        psycopg2.extensions.make_dsn(**args)
    except psycopg2.ProgrammingError as error:
        found = re.search(r'invalid connection option "(\w+)"', str(error))
        raise Told(f"{found[1]} is no option of PostgreSQL's client" if found else MISREAD) from None
    except Exception:
        raise Told(MISREAD) from None
    name = args.get("dbname", "")
    if not name:
        raise Told("it names no database")
    if "@" in name:
        raise Told(MISREAD)
    try:
        read_options(options)
    except ValueError as error:
        raise Told(str(error)) from None


def read_redis_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://… or rediss://…")
    return text


def read_base_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("expected http://… or https://…")
    return text.rstrip("/")


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def fernet_keys(text: str) -> tuple[str, ...]:
    """Keys as `Fernet.generate_key` makes them: 32 bytes each, in URL-safe base64. At least one."""
    keys = words(text)
    if not keys or any(len(base64.urlsafe_b64decode(key)) != FERNET_BYTES for key in keys):
        raise ValueError("expected Fernet keys: 32 bytes each, in URL-safe base64")
    return keys


def yes_or_no(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("1", "0", "yes", "no", "true", "false", "on", "off"):
        raise ValueError("expected yes or no")
    return lowered in ("1", "yes", "true", "on")


def one_of(*choices: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return choose


def string_map(text: str) -> dict[str, str]:
    value = json.loads(text)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError("expected a JSON object of texts")
    return value


def percent(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 100:
        raise ValueError("expected 0 to 100")
    return value


def days(text: str) -> tuple[int, ...]:
    """Numbers of days, each later than the one before; none for an empty text."""
    found = tuple(map(int, words(text)))
    if any(later <= earlier for earlier, later in zip((0, *found), found, strict=False)):
        raise ValueError("expected growing numbers of days")
    return found


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("expected 1 or more")
    return value


def not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("expected 0 or more")
    return value


def rate(text: str) -> Rate:
    found = re.fullmatch(r"(\d+) per (second|minute|hour|day)", text.strip())
    if found is None or int(found[1]) < 1:
        raise ValueError("expected a rate like 120 per minute")
    return Rate(int(found[1]), SECONDS[found[2]])


def above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError("expected more than 0")
    return value


def at_least_zero(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError("expected 0 or more")
    return value


def key_blocks(text: str) -> tuple[str, ...]:
    """PEM blocks one after another; `\\n` may stand for a line's end, as in one-line settings."""
    blocks = re.findall(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", text.replace("\\n", "\n"), re.DOTALL)
    if not blocks:
        raise ValueError("expected PEM text")
    return tuple(f"{block}\n" for block in blocks)
