"""Mark of synthetic rows: what Surefile filed by itself for a test person, to see that a flow works from end to end."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Date, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.flows import Flows


class Markable:
    """Adds the day (UTC) that a synthetic row is of; null for whatever a person asked for.

    A document has that of its form, a notification that of what it is about.
    """

    synthetic_on: Mapped[date | None] = mapped_column(Date, sort_order=1_000)


def synthetic_index(table: str, *, one_a_day: bool = True) -> Index:
    """The index of a table's few synthetic rows. Where it is `one_a_day`, Postgres itself refuses a second one."""
    marked = text("synthetic_on IS NOT NULL")
    return Index(f"ix_{table}_synthetic", "synthetic_on", unique=one_a_day, postgresql_where=marked)


def left_out(flows: Flows) -> str:
    """The SQL of the type and id of whatever is synthetic: it is promised like all else, and counted nowhere."""
    promised = [(name, subject.states) for name, subject in flows.promises.items()]
    return " UNION ALL ".join(
        f"SELECT CAST('{name}' AS text), id::text FROM {states.table} WHERE synthetic_on IS NOT NULL"
        for name, states in promised
        if states is not None and issubclass(states.model, Markable)
    )
