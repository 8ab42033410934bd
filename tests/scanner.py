"""A scanner for what must not be written down, in any spelling: in logs, Redis, Postgres and pages."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from redis import Redis

from flaskapp.config import Config
from tests.product import Product

# Shorter texts also occur inside other words.
SHORTEST = 6
Written = Mapping[str, Iterable[str]]


def spellings(text: str) -> set[str]:
    """The text as it is, in an address, in JSON, and as in basic authentication."""
    plain = {text, quote(text), quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1]}
    # Base64 of a text inside a longer one depends on where it begins; the ends are left out.
    shifted = {b64encode(b"x" * shift + text.encode()).decode()[4:-4] for shift in range(3)}
    return {each.lower() for each in plain | shifted if len(each) >= SHORTEST}


def found_in(written: Written, texts: Iterable[str]) -> list[tuple[str, str]]:
    """Which of these texts stands where, as (place, text)."""
    read = {place: "\n".join(held).lower() for place, held in written.items()}
    return [
        (place, text)
        for text in texts
        for place, held in read.items()
        if any(spelling in held for spelling in spellings(text))
    ]


def secrets_of(config: Config) -> list[str]:
    """Every secret text of the settings: keys, passwords, tokens, and passwords in addresses."""
    found: list[str] = []
    for item in fields(Config):
        if item.metadata["secret"]:
            found += parts_of(getattr(config, item.name))
    return [text for text in found if len(text) >= SHORTEST]


def parts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return parts_of(tuple(value.values()))
    if isinstance(value, tuple):
        return [part for each in value for part in parts_of(each)]
    text = str(value or "")
    if "://" in text:
        return [urlsplit(text).password or ""]
    return [line for line in text.splitlines() if not line.startswith("-----")]


def redis_texts(redis: Redis) -> Iterator[str]:
    """Every key and every value in Redis, RQ's compressed ones unpacked."""
    readers: dict[bytes, Any] = {
        b"string": lambda key: [redis.get(key)],
        b"hash": lambda key: [part for pair in redis.hgetall(key).items() for part in pair],
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"stream": lambda key: [part for _, entry in redis.xrange(key) for pair in entry.items() for part in pair],
        b"none": lambda key: [],
    }
    for key in redis.scan_iter():
        yield key.decode()
        for value in readers[redis.type(key)](key):
            yield unpacked(value or b"")


def unpacked(value: bytes) -> str:
    try:
        return zlib.decompress(value).decode("latin-1")
    except zlib.error:
        return value.decode("latin-1")


def postgres_texts(product: Product) -> Iterator[str]:
    """Every value of every column of every table, as a thief of a backup would read it."""
    tables = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    for (table,) in product.rows(tables):
        for row in product.rows(f'SELECT * FROM "{table}"'):
            yield " ".join(
                bytes(value).decode("latin-1") if isinstance(value, memoryview) else str(value) for value in row
            )
