"""Postgres is away: the one list of errors that say so, and the reason in words that may be shown to anybody.

Away is refused, silent, hung, shutting down, read-only, full, or without the right to write. It never is about the
row in work: any other row would have failed as well, and the same statement succeeds when Postgres is back.
"""

from __future__ import annotations

import re

import psycopg2
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from outbox.write import Database

READ_ONLY = "25006"
# Somebody else holds a lock, or the statement took too long: it may be about this row after all.
SLOW = ("55P03", "57014")
# A session of the server that is not the one we had.
FORGOTTEN = "26000"
# In this order: connection, read-only, ended in mid-transaction, forgotten, too many or no room, shut down, system,
# broken files.
AWAY = ("08", READ_ONLY, "25P03", FORGOTTEN, "53", "57P", "58", "XX001", "XX002", *SLOW)
# A managed plan that is full takes the right to write away. Without that right, reading is a fault of ours.
REVOKED = "42501"
WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)

WRITABLE = text("""
    SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only')::bool AS read_only,
           has_table_privilege('outbox_messages', 'INSERT') AS may_write
""")

# What libpq and the server say when there is no connection, which has no SQLSTATE. The first one found counts: of
# several hosts, each may say another.
REASONS = (
    ("password authentication failed", "PostgreSQL refuses this user's password"),
    ("no password supplied", "PostgreSQL wants a password, and the URL has none"),
    ("no pg_hba.conf entry", "PostgreSQL does not let this user in from here (pg_hba.conf)"),
    ("unsupported startup parameter", "PostgreSQL, or the pooler before it, refuses a start-up parameter"),
    ("unrecognized configuration parameter", "PostgreSQL does not know a parameter in the URL's options"),
    ("invalid value for parameter", "PostgreSQL refuses the value of a parameter in the URL's options"),
    ("server does not support ssl", "TLS is wanted, and PostgreSQL does not offer it"),
    ("certificate", "TLS fails: a certificate is refused"),
    ("ssl", "TLS fails"),
    ("read-only", "PostgreSQL is read-only"),
    ("recovery", "PostgreSQL is a standby"),
    ("too many", "PostgreSQL has no connection left"),
    ("remaining connection slots", "PostgreSQL has no connection left"),
    ("query_wait_timeout", "the pooler has no connection left"),
    ("starting up", "PostgreSQL is starting"),
    ("shutting down", "PostgreSQL is shutting down"),
    ("could not translate host name", "PostgreSQL's host name is not known"),
    ("could not match", "the URL's hosts and ports differ in number"),
    ("invalid port", "the URL's port is not a number that can be used"),
    ("timeout expired", "PostgreSQL does not answer"),
    ("no answer", "PostgreSQL does not answer"),
    ("connection refused", "nobody listens at PostgreSQL's address"),
)
NO_SUCH = re.compile(r'(database|role|user) "[^"]*" does not exist')
REASON_OF_SQLSTATE = {
    READ_ONLY: "PostgreSQL is read-only",
    REVOKED: "PostgreSQL refuses to be written to: our rights were taken away",
    FORGOTTEN: "PostgreSQL, or a pooler before it, forgot what our session had prepared",
    "53100": "PostgreSQL's disk is full",
    "53200": "PostgreSQL is out of memory",
    "53300": "PostgreSQL has no connection left",
    "55P03": "PostgreSQL waits for somebody else's lock",
    "57014": "PostgreSQL took too long",
}
UNNAMED = "PostgreSQL cannot be reached"


def sqlstate_of(error: BaseException) -> str:
    """The SQLSTATE, or an empty text where the server gave none: then the connection itself failed."""
    return getattr(getattr(error, "orig", error), "pgcode", None) or ""


def is_away(error: BaseException) -> bool:
    """Whether the error says that Postgres is away. Takes the errors of SQLAlchemy and those of psycopg2."""
    if isinstance(error, PoolTimeoutError | DisconnectionError):
        return True
    if not isinstance(error, DBAPIError | psycopg2.Error):
        return False
    sqlstate = sqlstate_of(error)
    if sqlstate == REVOKED:
        return bool(WRITES.search(getattr(error, "statement", None) or ""))
    if sqlstate:
        return sqlstate.startswith(AWAY)
    return getattr(error, "connection_invalidated", False) or about_the_connection(error)


def about_the_connection(error: BaseException) -> bool:
    """Of errors without a SQLSTATE, those of psycopg2 itself about values and statements are not about Postgres."""
    plain = type(error) in (DatabaseError, psycopg2.DatabaseError)
    return plain or isinstance(
        error, OperationalError | InterfaceError | psycopg2.OperationalError | psycopg2.InterfaceError
    )


def is_slow(error: BaseException) -> bool:
    """Whether a lock or a statement took too long."""
    return sqlstate_of(error).startswith(SLOW)


def why_not_writable(db: Database) -> str | None:
    """The reason why nothing can be written, or None. Reads in the caller's transaction."""
    row = db.execute(WRITABLE, {}).one()
    if row.is_standby:
        return "PostgreSQL is a standby"
    if row.read_only:
        return REASON_OF_SQLSTATE[READ_ONLY]
    return None if row.may_write else REASON_OF_SQLSTATE[REVOKED]


def reason_of(error: BaseException) -> str:
    """The reason in one line. It holds no host, user, password or value: those are in the error's own text."""
    if isinstance(error, PoolTimeoutError):
        return "every connection of this process is in use"
    if found := REASON_OF_SQLSTATE.get(sqlstate_of(error)):
        return found
    said = str(getattr(error, "orig", error)).lower()
    if missing := NO_SUCH.search(said):
        return f"PostgreSQL has no such {missing[1]}"
    return next((reason for sign, reason in REASONS if sign in said), UNNAMED)
