"""Readers of the texts of settings. Each raises ValueError; ours say what was expected, and never what was given."""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg2.extensions
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import make_url

from outbox import read_options

DATABASE_URL = "expected postgres://user:password@host:port/name"
MISREAD = f"{DATABASE_URL}; in the password, each of : / @ ? # % is percent-encoded"
HEXADECIMAL_KEY = re.compile(r"[0-9a-fA-F]{64}")
FERNET_BYTES = 32
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Keys that sign or digest: as long as the output of the hash that they are used with.
LEAST_KEY_LENGTH = 32
# No number means anything beyond this, and larger ones overflow in Postgres or in a sleep.
MOST = 1_000_000
MOST_DAYS = 3_650
# What may be said of the person for whom synthetic submissions are filed.
PERSON_FIELDS = ("account", "icn", "phone", "station", "facility_type", "facility_name")
SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


class Expected(ValueError):
    """What was expected. It may be shown for a secret, too."""


@dataclass(frozen=True)
class Rate:
    """An amount in so many seconds; as text `120 per minute`."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.amount} per {next(name for name, seconds in SECONDS.items() if seconds == self.seconds)}"


def read_database_url(text: str) -> str:
    """The URL with its driver named, and its hosts as SQLAlchemy wants several.

    Heroku gives `postgres://`, which SQLAlchemy refuses. libpq takes `host1:5432,host2:5432`, SQLAlchemy only one host
    there and others as `?host=host1:5432&host=host2:5432`. Raises Expected.
    """
    scheme, _, rest = text.partition("://")
    if scheme.split("+")[0] not in ("postgres", "postgresql") or not rest:
        raise Expected(DATABASE_URL)
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
    """Raises Expected unless SQLAlchemy and libpq read it and it says which database."""
    try:
        args = PGDialect_psycopg2().create_connect_args(make_url(url))[1]
        options = args.pop("options", "")
        psycopg2.extensions.make_dsn(**args)
    except psycopg2.ProgrammingError as error:
        found = re.search(r'invalid connection option "(\w+)"', str(error))
        raise Expected(f"{found[1]} is no option of PostgreSQL's client" if found else MISREAD) from None
    except Exception:
        raise Expected(MISREAD) from None
    name = args.get("dbname", "")
    if not name:
        raise Expected("it names no database")
    if "@" in name:
        raise Expected(MISREAD)
    try:
        read_options(options)
    except ValueError as error:
        raise Expected(str(error)) from None


def line(text: str) -> str:
    """One line as it is. A blank or a line's end that was copied along would make a key or a header another one."""
    if text != text.strip() or not text.isprintable():
        raise Expected("expected one line, without blanks around it")
    return text


def key_text(text: str) -> str:
    """A key that we chose ourselves."""
    if len(line(text)) < LEAST_KEY_LENGTH:
        raise Expected(f"expected {LEAST_KEY_LENGTH} characters or more")
    return text


def read_redis_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise Expected("expected redis://… or rediss://…")
    return text


def read_base_url(text: str) -> str:
    parts = urlsplit(line(text))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Expected("expected http://… or https://…")
    if parts.port == 0:
        raise Expected("expected a port from 1 to 65535")
    return text.rstrip("/")


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them: scheme, host and, where it is not the scheme's own, port."""
    found = words(text)
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
            raise Expected("expected origins like https://www.example.gov, without a path")
    return found


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def some_words(text: str) -> tuple[str, ...]:
    """Words, of which there must be one at least."""
    found = words(text)
    if not found:
        raise Expected("expected one or more, comma separated")
    return found


def one_or_two(text: str) -> tuple[str, ...]:
    found = words(text)
    if not 1 <= len(found) <= 2:
        raise Expected("expected one or two, comma separated")
    return found


def from_digits(digits: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digits)).decode()


def fernet_keys(text: str) -> tuple[str, ...]:
    """Keys as `Fernet.generate_key` makes them, one at least; or each as the 64 hexadecimal digits of its bytes, which
    is what a platform draws as a secret."""
    found = tuple(from_digits(word) if HEXADECIMAL_KEY.fullmatch(word) else word for word in some_words(text))
    for key in found:
        try:
            length = len(base64.urlsafe_b64decode(key))
        except (binascii.Error, ValueError):
            length = 0
        if length != FERNET_BYTES:
            raise Expected("expected Fernet keys, comma separated: 32 bytes each, in URL-safe base64")
    return found


def yes_or_no(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("1", "0", "yes", "no", "true", "false", "on", "off"):
        raise Expected("expected yes or no")
    return lowered in ("1", "yes", "true", "on")


def one_of(*choices: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in choices:
            raise Expected(f"expected one of {', '.join(choices)}")
        return text

    return choose


def some_of(*choices: str) -> Callable[[str], tuple[str, ...]]:
    def choose(text: str) -> tuple[str, ...]:
        found = words(text)
        if not set(found) <= set(choices):
            raise Expected(f"expected some of {', '.join(choices)}")
        return found

    return choose


def host_and_port(text: str) -> tuple[str, int]:
    host, _, port = line(text).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise Expected("expected a host and a port, as in 127.0.0.1:8125")
    return host.strip("[]"), int(port)


def string_map(text: str) -> dict[str, str]:
    value = json.loads(text)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Expected("expected a JSON object of texts")
    return value


def json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict) or not value:
        raise Expected("expected a JSON object")
    return value


def synthetic_person(text: str) -> dict[str, str]:
    """Whom synthetic submissions are filed for."""
    found = string_map(text)
    unknown = found.keys() - PERSON_FIELDS
    if unknown or not found or not all(value.strip() for value in found.values()):
        raise Expected(f"expected a JSON object of texts with some of {', '.join(PERSON_FIELDS)}")
    if "account" in found:
        try:
            uuid.UUID(found["account"])
        except ValueError:
            raise Expected("expected a UUID as account") from None
    return found


def time_of_day(text: str) -> str:
    """A time as `09:30`."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise Expected("expected a time like 09:30")
    return text


def password_hashes(text: str) -> dict[str, str]:
    """Hashes by name. One that nothing can match would lock its operator out without a word."""
    found = string_map(text)
    if not all(name.strip() and value.count("$") == 2 for name, value in found.items()):
        raise Expected("expected names with hashes from `flask operators hash`")
    return found


def read_log_level(text: str) -> str:
    return one_of(*LOG_LEVELS)(text.strip().upper())


def whole(least: int, most: int = MOST) -> Callable[[str], int]:
    """A reader of whole numbers in these bounds."""

    def read(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise Expected(f"expected a whole number from {least} to {most}")
        return value

    return read


def number(least: float, most: float = MOST, *, above: bool = False) -> Callable[[str], float]:
    """A reader of numbers in these bounds, or `above` the lower one. Neither nan nor inf is within any."""

    def read(text: str) -> float:
        value = float(text)
        if not least <= value <= most or (above and value == least):
            raise Expected(f"expected {'a number above' if above else 'a number from'} {least:g}, at most {most:g}")
        return value

    return read


def days(text: str) -> tuple[int, ...]:
    """Numbers of days, each later than the one before; none for an empty text."""
    found = tuple(map(int, words(text)))
    growing = all(later > earlier for earlier, later in zip((0, *found), found, strict=False))
    if not growing or max(found, default=0) > MOST_DAYS:
        raise Expected(f"expected growing numbers of days, at most {MOST_DAYS}")
    return found


def rate(text: str) -> Rate:
    found = re.fullmatch(r"(\d+) per (second|minute|hour|day)", text.strip())
    if found is None or int(found[1]) < 1:
        raise Expected("expected a rate like 120 per minute")
    return Rate(int(found[1]), SECONDS[found[2]])


def key_blocks(text: str) -> tuple[str, ...]:
    """PEM blocks one after another; `\\n` may stand for a line's end, as in one-line settings."""
    blocks = re.findall(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", text.replace("\\n", "\n"), re.DOTALL)
    if not blocks:
        raise Expected("expected PEM text")
    return tuple(f"{block}\n" for block in blocks)


percent = whole(0, 100)
at_least_one, not_negative = whole(1), whole(0)
above_zero, at_least_zero = number(0, above=True), number(0)
