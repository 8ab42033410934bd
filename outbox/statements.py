"""Statements that Postgres parses and plans once for each connection, instead of at every execution.

Planning is half of what the statements of an attempt cost Postgres. psycopg2 has no prepared statements of its own, so
these are SQL's: PREPARE with the first execution, in the same message, and EXECUTE from then on. Not behind a pooler,
where the next transaction may get another session.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from psycopg2.errors import FeatureNotSupported, InvalidSqlStatementName
from sqlalchemy import TextClause, text

MARK = "/* prepared */"
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
# What Postgres cannot conclude from where a value stands: a float next to an integer would be rounded to one. All
# others it takes as what stands there calls for, as it does with a literal; but of a list, it knows what it is made of.
TYPES = {bool: "boolean", int: "bigint", float: "double precision", datetime: "timestamptz", UUID: "uuid"}
OF_LISTS = {**TYPES, date: "date", str: "text", bytes: "bytea"}


def prepared(sql: str) -> TextClause:
    """The SQL as a statement to be prepared. A parameter of which nothing shows its type needs a CAST, and what it
    returns should be named: `*` fails once on each connection after a migration that adds a column."""
    return text(MARK + sql)


@cache
def parts_of(query: str) -> tuple[str, tuple[str, ...]]:
    """The query with numbered parameters, and the name of each. A parameter that occurs twice is two."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        names.append(found[1])
        return f"${len(names)}"

    return PLACEHOLDER.sub(number, query), tuple(names)


def type_of(value: Any) -> str:
    if not isinstance(value, list):
        return TYPES.get(type(value), "unknown")
    if not value:
        return "unknown"
    return OF_LISTS[next((type(each) for each in value if each is not None), str)] + "[]"


@cache
def call_of(name: str, names: tuple[str, ...]) -> str:
    values = f" ({', '.join(f'%({each})s' for each in names)})" if names else ""
    return f"EXECUTE {name}{values}"


class Statements:
    """The prepared statements of one connection."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, tuple[str, ...]], str] = {}
        self.count = 0

    def run(self, execute: Callable[[str, Any], None], query: str, values: Any) -> None:
        """Execute the query with its values, prepared. Where what it returns has changed, or the session forgot it, it
        fails once, and is prepared anew the next time."""
        body, names = parts_of(query)
        key = query, tuple(type_of(values[name]) for name in names)
        known = self.names.get(key)
        if known is not None:
            try:
                execute(call_of(known, names), values)
            except (FeatureNotSupported, InvalidSqlStatementName):
                self.names.clear()
                raise
            return
        self.count += 1
        made = f"p{self.count}"
        types = f" ({', '.join(key[1])})" if names else ""
        execute(f"PREPARE {made}{types} AS {body};\n{call_of(made, names)}", values)
        self.names[key] = made
