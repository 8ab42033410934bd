"""Counters of the work that Postgres does, taken from Postgres itself, and of the indexes that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.sql.expression import TextClause

from flaskapp.db import db, transaction
from outbox.statements import MARK, parts_of
from tests.many_itfs import plant_here
from tests.product import Product

FRAMES = ("BEGIN", "COMMIT", "ROLLBACK")
# Behind a pooler, settings travel in the message of another statement, and are no round trips.
SPENT = """
    SELECT query, calls, wal_bytes FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
     WHERE d.datname = %s AND calls > 0 AND query !~ '^SET LOCAL (statement_timeout|lock_timeout|idle_in|timezone)'
"""
EXPLAINED = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")

# These rows are never due, and no queue of ours holds them: a worker must not take them. Many are about something that
# can be overdue, as in production: else the type alone finds as few as the deadline does, and either index is right.
FILLING = (
    """INSERT INTO outbox_messages (job, queue, upstream, subject_type, subject_id, state, fence, due_at, deadline_at,
                                     give_up_at, published_at, worker_id, lease_expires_at, parked_reason)
       SELECT 'none', 'filling', 'filling', CASE state WHEN 'parked' THEN 'notification' ELSE 'filling' END,
              number::text, state, number, tomorrow, tomorrow, tomorrow,
              CASE WHEN state IN ('published', 'running') THEN outbox_now() END,
              CASE WHEN state = 'running' THEN :worker END, CASE WHEN state = 'running' THEN tomorrow END,
              CASE WHEN state = 'parked' THEN 'filling' END
         FROM (SELECT number, outbox_now() + interval '1 day' AS tomorrow,
                      CASE WHEN number % 100 = 0 THEN 'running' WHEN number % 100 < 4 THEN 'published'
                           ELSE (ARRAY['ready', 'later', 'parked'])[1 + number % 3] END AS state
                 FROM generate_series(1, :count) AS number) AS made""",
    """INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, status,
                                     finished_at, answered, worker_id)
       SELECT -number, number, 'filling', number::text, 'none', 'btsss', 'write', 'success',
              outbox_now() - interval '1 day', number % 2 = 0, 'none' FROM generate_series(1, :count) AS number""",
    """INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state, filed,
                                  finished_at)
       SELECT gen_random_uuid(), number::text, '', c.appointment_date, c.identity, 'submitted', c.identity,
              outbox_now() FROM travel_claims c, generate_series(1, :count) AS number""",
    """INSERT INTO notifications (id, subject_type, subject_id, kind, cycle, channel, sender, recipient,
                                  personalisation, state, sent_at)
       SELECT gen_random_uuid(), 'filling', number::text, n.kind, 1, n.channel, n.sender, n.recipient,
              n.personalisation, 'sent', outbox_now()
         FROM (SELECT * FROM notifications LIMIT 1) AS n, generate_series(1, :count) AS number""",
    """INSERT INTO cases (id, kind, subject_type, subject_id, owner, closed_at, closed_by)
       SELECT gen_random_uuid(), 'refused', 'filling', number::text, 'somebody',
              CASE WHEN number % 10 > 0 THEN outbox_now() END, CASE WHEN number % 10 > 0 THEN 'somebody' END
         FROM generate_series(1, :count) AS number""",
    """INSERT INTO form526_document_submissions (id, submission_id, kind, doc_type, name, lighthouse_request_id,
                                                 lighthouse_status, uploaded_at, poll_due_at)
       SELECT gen_random_uuid(), d.submission_id, d.kind, d.doc_type, d.name, 1000000 + number, 'pending',
              outbox_now(), outbox_now() + interval '1 hour'
         FROM (SELECT * FROM form526_document_submissions LIMIT 1) AS d, generate_series(1, :count) AS number""",
)
FILLED = frozenset(
    {
        "outbox_messages",
        "outbox_attempts",
        "travel_claims",
        "notifications",
        "cases",
        "form526_document_submissions",
        "intents_to_file",
        "accounts",
    }
)


@dataclass(frozen=True)
class Spent:
    """The cost of one step: `frames` are the BEGINs and COMMITs among the round trips."""

    round_trips: int
    frames: int
    wal_bytes: int

    @property
    def statements(self) -> int:
        return self.round_trips - self.frames


class Meter:
    """Reader of pg_stat_statements, which counts every round trip of every connection."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        self.spent: dict[str, Spent] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.cursor.execute("SELECT pg_stat_statements_reset()")
        yield
        self.cursor.execute(SPENT, (db.engine.url.database,))
        rows = self.cursor.fetchall()
        frames = sum(calls for query, calls, _ in rows if query.startswith(FRAMES))
        self.spent[name] = Spent(sum(row[1] for row in rows), frames, int(sum(row[2] for row in rows)))


@contextmanager
def metering(admin_url: str) -> Iterator[Meter]:
    with closing(psycopg2.connect(admin_url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            yield Meter(cursor)


class Plans:
    """The plan of each statement that the product runs, explained right before it runs."""

    def __init__(self) -> None:
        self.indexes: dict[str, set[str]] = {}
        self.read_whole: set[tuple[str, str]] = set()

    def explain(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        if executemany or not statement.removeprefix(MARK).lstrip().startswith(EXPLAINED):
            return
        self.note(statement, cursor, f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        if statement.startswith(MARK):
            # As Postgres plans it once it has seen it often: for any values.
            self.note(statement, cursor, f"EXPLAIN (FORMAT JSON, GENERIC_PLAN) {parts_of(statement)[0]}", None)

    def note(self, statement: str, cursor: Any, explained: str, parameters: Any) -> None:
        with cursor.connection.cursor() as explainer:
            explainer.execute(explained, parameters)
            ((plans,),) = explainer.fetchall()
        for node in nodes(plans[0]["Plan"]):
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in FILLED:
                self.read_whole.add((node["Relation Name"], statement))
            if "Index Name" in node:
                self.indexes.setdefault(statement, set()).add(node["Index Name"])

    def of(self, statement: TextClause) -> set[str]:
        """The indexes that a statement used; it must have run."""
        return self.indexes[str(statement.compile(dialect=PGDialect_psycopg2()))]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@contextmanager
def explaining() -> Iterator[Plans]:
    plans = Plans()
    event.listen(db.engine, "before_cursor_execute", plans.explain)
    try:
        yield plans
    finally:
        event.remove(db.engine, "before_cursor_execute", plans.explain)


def fill(product: Product, count: int) -> None:
    """Add so many rows to every table that grows, beside the rows that are there already."""
    worker = product.app.extensions["process"].worker_id
    with transaction() as session:
        for statement in FILLING:
            session.execute(text(statement), {"count": count, "worker": worker})
    week = {"due_from": "1 day", "due_within": "6 days"}
    plant_here(count // 4, **week)
    with transaction() as session:
        session.execute(text("ANALYZE"))
