"""Column helpers: the ledger's clock, times with a zone, checks of allowed words, and names of constraints.

An application whose tables stand beside the ledger's uses the same ones, so that both compare the same time.
"""

from __future__ import annotations

from sqlalchemy import DateTime, func

# Names of constraints and indexes, for `MetaData(naming_convention=NAMING)`.
NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# The database's time in a statement or a column's default, under the offset that only tests set. The same within one
# transaction, like `now()`.
NOW = func.outbox_now()
Timestamp = DateTime(timezone=True)


def in_state(*states: str, column: str = "state") -> str:
    """A condition on the state of a message, for a statement that finds it by its id.

    As a plain comparison it would fit the partial indexes too. With statistics from a quiet hour, when nothing was in
    flight or parked, Postgres takes such an index for empty, and reads all of it instead of one row by its key.
    """
    return f"{column} || '' IN ({', '.join(repr(state) for state in states)})"


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The condition of a CHECK that `column` holds one of these words. They are written into the SQL as they are, so
    never pass what somebody sent."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"
