"""Places where something is stored under a key: columns of our tables, and the answers that attempts keep.

They are found by the types and the `info` of the models' columns, so a new column belongs to them by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, LargeBinary, Table, and_, column, func, literal, select, table, tuple_, update

from flaskapp.crypto import EncryptedJSON, SealedBytes
from flaskapp.db import db
from outbox import Database, attempts

# A chunk of a file has a MiB, everything else a few kB.
ROWS, ROWS_OF_FILES = 100, 8

Key = tuple[Any, ...]
Parts = Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True)
class Stored:
    """One row: its primary key, and the values of its place as Postgres holds them, by column."""

    key: Key
    values: dict[str, Any]


class Place(Protocol):
    """Rows that are read in the order of their primary key, a few at a time, and written one by one."""

    name: str
    rows: int

    def count(self, session: Database) -> int: ...

    def read(self, session: Database, after: Key | None) -> list[Stored]:
        """The next `rows` after this key. No lock is taken."""

    def find(self, session: Database, keys: Sequence[Key], lock: bool = False) -> list[Stored]:
        """These rows, as far as they are there. With `lock`, those that nobody else has locked, locked: nobody is
        waited for, so nothing can wait in a circle."""

    def write(self, session: Database, key: Key, values: dict[str, Any]) -> None: ...

    def key_from(self, text: str) -> Key:
        """The key whose JSON this is."""


class Columns:
    """Some columns of one of our tables, past the types that open and seal them."""

    def __init__(self, model: Table, names: Sequence[str]) -> None:
        self.name = model.name
        self.primary = list(model.primary_key.columns)
        self.names = tuple(names)
        raw = [
            column(each.name, LargeBinary() if isinstance(each.type, EncryptedJSON | SealedBytes) else each.type)
            for each in model.columns
        ]
        self.table = table(model.name, *raw)
        self.key = [self.table.c[each.name] for each in self.primary]
        self.rows = ROWS_OF_FILES if any(isinstance(model.c[name].type, SealedBytes) for name in names) else ROWS

    def count(self, session: Database) -> int:
        return int(session.execute(select(func.count()).select_from(self.table)).scalar_one())

    def read(self, session: Database, after: Key | None) -> list[Stored]:
        statement = self.selected().order_by(*self.key).limit(self.rows)
        if after is not None:
            statement = statement.where(tuple_(*self.key) > tuple_(*self.literals(after)))
        return self.stored(session.execute(statement))

    def find(self, session: Database, keys: Sequence[Key], lock: bool = False) -> list[Stored]:
        statement = self.selected().where(tuple_(*self.key).in_([tuple_(*self.literals(key)) for key in keys]))
        if lock:
            statement = statement.with_for_update(skip_locked=True, key_share=True)
        return self.stored(session.execute(statement))

    def write(self, session: Database, key: Key, values: dict[str, Any]) -> None:
        this: ColumnElement[bool] = and_(*(each == value for each, value in zip(self.key, key, strict=True)))
        session.execute(update(self.table).where(this).values(values))

    def key_from(self, text: str) -> Key:
        return tuple(each.type.python_type(part) for each, part in zip(self.primary, json.loads(text), strict=True))

    def selected(self) -> Any:
        return select(*self.key, *(self.table.c[name].label(f"value_{name}") for name in self.names))

    def literals(self, key: Key) -> list[Any]:
        return [literal(value, each.type) for value, each in zip(key, self.key, strict=True)]

    def stored(self, rows: Iterable[Any]) -> list[Stored]:
        width = len(self.key)
        return [Stored(tuple(row[:width]), dict(zip(self.names, row[width:], strict=True))) for row in rows]


class Answers:
    """What attempts keep of an upstream's answer, sealed."""

    name = "attempts"
    rows = ROWS
    kept = "answer"

    def count(self, session: Database) -> int:
        return attempts.count_kept(session, self.kept)

    def read(self, session: Database, after: Key | None) -> list[Stored]:
        return self.stored(attempts.kept_after(session, self.kept, after[0] if after else 0, self.rows))

    def find(self, session: Database, keys: Sequence[Key], lock: bool = False) -> list[Stored]:
        return self.stored(attempts.kept_of(session, self.kept, [key[0] for key in keys], lock))

    def write(self, session: Database, key: Key, values: dict[str, Any]) -> None:
        attempts.rewrite_kept(session, key[0], self.kept, values[self.kept].decode())

    def key_from(self, text: str) -> Key:
        return tuple(json.loads(text))

    def stored(self, rows: Iterable[tuple[int, str]]) -> list[Stored]:
        return [Stored((attempt_id,), {self.kept: kept.encode()}) for attempt_id, kept in rows]


@dataclass(frozen=True)
class Digested:
    """A table with digests: for each digest's column, the encrypted column that it is made from, and how."""

    place: Columns
    made_from: dict[str, tuple[str, Parts]]


@dataclass(frozen=True)
class Sourceless:
    """A digest's column that cannot be made anew, the column that says when each was made, and whether those of an
    earlier key are `needed` as long as they are there."""

    name: str
    table: str
    made_at: str
    needed: bool


def key_text(key: Key) -> str:
    return json.dumps([part if isinstance(part, int) else str(part) for part in key])


def sealed_places() -> list[Place]:
    return [*sealed_tables(), Answers()]


def sealed_tables() -> Iterator[Columns]:
    for each in db.metadata.sorted_tables:
        names = [column.name for column in each.columns if isinstance(column.type, EncryptedJSON | SealedBytes)]
        if names:
            yield Columns(each, names)


def digested_places() -> list[Digested]:
    found = []
    for each in db.metadata.sorted_tables:
        made_from = {column.name: column.info["digest_of"] for column in each.columns if "digest_of" in column.info}
        if made_from:
            sources = dict.fromkeys(source for source, _ in made_from.values())
            found.append(Digested(Columns(each, [*made_from, *sources]), made_from))
    return found


def sourceless_digests() -> list[Sourceless]:
    return [
        Sourceless(f"{each.name}.{column.name}", each.name, *column.info["digest_from"])
        for each in db.metadata.sorted_tables
        for column in each.columns
        if "digest_from" in column.info
    ]
