"""Counters of all processes together, kept in Postgres: they only grow, and no restart sets them back.

Some are counted from the ledger itself, each row once: moves of subjects with the time since their first record, ends
of attempts, and trips of circuit breakers. Others say what no row says, such as calls; each process adds its own now
and then (`add`).

A row of the ledger is not visible in the order of its number: an earlier number may commit later. So a round notes the
last number that was drawn, and counts up to it only when every transaction that was open then has ended. Until that
the counts are behind, and complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, TextClause, text

from outbox.write import Database

# Upper ends of the classes of a duration, in seconds; the last class has none.
EDGES = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
BOUNDS = (*(f"{edge:g}" for edge in EDGES), "+Inf")
# After a long time in which nobody counted, so much at a time.
ROWS_AT_ONCE = 50_000

# First the numbers; then this transaction takes its own id, and whoever drew one of them has an earlier id. (The
# latest id of a snapshot would not do: transactions that are still open may have later ones.)
DRAWN = text("""
    SELECT source, last FROM outbox_counted JOIN (VALUES
               ('history', pg_sequence_last_value(pg_get_serial_sequence('outbox_history', 'id'))),
               ('attempts', pg_sequence_last_value(pg_get_serial_sequence('outbox_attempts', 'id'))),
               ('trips', pg_sequence_last_value(pg_get_serial_sequence('outbox_breaker_trips', 'id')))
           ) AS drawn (source, last) USING (source) WHERE last > upto
""")
OWN_ID = text("SELECT pg_current_xact_id()::text")
# Whoever counts already goes on alone.
LOCK = text("SELECT source FROM outbox_counted FOR UPDATE SKIP LOCKED")
SETTLED = """
    SELECT source, upto, LEAST(upto + :most, CASE
               WHEN CAST(:xid AS xid8) <= pg_snapshot_xmin(pg_current_snapshot()) THEN GREATEST(:last, next_upto)
               WHEN next_xid <= pg_snapshot_xmin(pg_current_snapshot()) THEN next_upto ELSE upto END) AS settled
      FROM outbox_counted WHERE source = :source
"""
# What was noted and not yet reached stays noted: under load there is always an open transaction younger than the note.
ADVANCE = text("""
    UPDATE outbox_counted
       SET upto = :settled,
           next_xid = CASE WHEN :settled >= next_upto THEN CAST(:xid AS xid8) ELSE next_xid END,
           next_upto = CASE WHEN :settled >= next_upto THEN GREATEST(:settled, :last) ELSE next_upto END
     WHERE source = :source
    RETURNING set_config('synchronous_commit', 'off', true)
""")
ADDED = """
    INSERT INTO outbox_counts (name, labels, value) {new} ORDER BY 1, 2
    ON CONFLICT (name, labels) DO UPDATE SET value = outbox_counts.value + EXCLUDED.value
"""
# Durations as classes and a sum, from rows of labels and seconds.
CLASSES = """
    SELECT '{name}', labels || jsonb_build_object('le', (CAST(:bounds AS text[]))[
               1 + width_bucket(seconds - 0.000001, CAST(:edges AS float8[]))]), count(*) FROM {rows} GROUP BY 1, 2
    UNION ALL SELECT '{name}_sum', labels, sum(GREATEST(0, seconds)) FROM {rows} GROUP BY 1, 2
"""
# `first` is when the subject's first record was made.
MOVES = f"""
    WITH news AS MATERIALIZED (
        SELECT subject_type, subject_id, moved_from, moved_to, at FROM outbox_history
         WHERE id > :upto AND id <= :settled AND moved_to IS NOT NULL AND what <> 'attempt.answered_late'{{but}}
    ), timed AS MATERIALIZED (
        SELECT jsonb_build_object('subject', subject_type, 'state', moved_to) AS labels,
               extract(epoch FROM news.at - first.at)::float8 AS seconds
          FROM news, LATERAL (SELECT h.at FROM outbox_history h
                               WHERE h.subject_type = news.subject_type AND h.subject_id = news.subject_id
                               ORDER BY h.id LIMIT 1) AS first
         WHERE moved_from IS NOT NULL
    ){{more}}
    {
    ADDED.format(
        new=f'''
        SELECT 'moves' AS name,
               jsonb_build_object('subject', subject_type, 'from', COALESCE(moved_from, ''), 'state', moved_to)
                   AS labels, count(*) AS value FROM news GROUP BY 1, 2
        UNION ALL {CLASSES.format(name="moved_seconds", rows="timed")}{{classes}}'''
    )
}
"""
ENDS = text(
    ADDED.format(
        new="""
        SELECT 'attempts', jsonb_build_object('upstream', COALESCE(upstream, ''), 'job', job, 'purpose', purpose,
                                              'outcome', status), count(*)
          FROM outbox_attempts WHERE end_number > :upto AND end_number <= :settled GROUP BY 1, 2"""
    )
)
TRIPS = text(
    ADDED.format(
        new="""
        SELECT 'trips', jsonb_build_object('upstream', upstream), count(*)
          FROM outbox_breaker_trips WHERE id > :upto AND id <= :settled GROUP BY 1, 2"""
    )
)
ADD = text(
    ADDED.format(
        new="""
        SELECT name, labels::jsonb, value
          FROM unnest(CAST(:names AS text[]), CAST(:labels AS text[]), CAST(:values AS float8[]))
               AS own (name, labels, value)"""
    )
)
READ = text("SELECT name, labels, value FROM outbox_counts ORDER BY name, labels")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Durations:
    """Durations that the application measures between moves: `name`, and the SQL of `labels` (jsonb) and `seconds`.

    The SQL reads `news`, the moves that are counted just now: `subject_type`, `subject_id`, `moved_from`, `moved_to`
    and `at`.
    """

    name: str
    query: str


def moves(durations: Sequence[Durations], left_out: str = "") -> TextClause:
    """The statement that counts moves, with these durations. `left_out` is the SQL of types and ids of subjects that do
    not count."""
    but = f" AND (subject_type, subject_id) NOT IN ({left_out})" if left_out else ""
    more = "".join(f", {each.name} AS MATERIALIZED ({each.query})" for each in durations)
    classes = "".join(f" UNION ALL {CLASSES.format(name=each.name, rows=each.name)}" for each in durations)
    return text(MOVES.format(more=more, classes=classes, but=but))


def count_ledger(
    engine: Engine, durations: Sequence[Durations] = (), most: int = ROWS_AT_ONCE, left_out: str = ""
) -> None:
    """Count what the ledger recorded since the last round, so many numbers at `most`; but no moves of subjects that are
    `left_out`. Commits by itself; does nothing where another process is at it."""
    statements = {"history": moves(durations, left_out), "attempts": ENDS, "trips": TRIPS}
    with engine.begin() as db:
        drawn = db.execute(DRAWN).all()
        if not drawn:
            return
        xid = db.execute(OWN_ID).scalar_one()
        held = set(db.execute(LOCK).scalars())
        for row in drawn:
            if row.source in held:
                count_source(db, statements[row.source], row, xid, most)


def count_source(db: Database, statement: TextClause, drawn: Row[Any], xid: str, most: int) -> None:
    values = {"source": drawn.source, "last": drawn.last, "xid": xid, "most": most}
    found = db.execute(text(SETTLED), values).one()
    if found.settled > found.upto:
        classes = {"bounds": list(BOUNDS), "edges": list(EDGES)} if drawn.source == "history" else {}
        db.execute(statement, {"upto": found.upto, "settled": found.settled, **classes})
    db.execute(ADVANCE, {**values, "settled": found.settled})


def add(engine: Engine, counted: Mapping[tuple[str, Labels], float]) -> None:
    """Add what one process has counted by itself, by name and labels. Commits by itself, and need not wait for the
    disk."""
    if not counted:
        return
    values = {
        "names": [name for name, _ in counted],
        "labels": [json.dumps(dict(labels)) for _, labels in counted],
        "values": list(counted.values()),
    }
    with engine.begin() as db:
        db.execute(text("SET LOCAL synchronous_commit = off"))
        db.execute(ADD, values)


def read(db: Database) -> dict[str, dict[Labels, float]]:
    """Every counter, by its name and its labels in the order of their names. Reads in the caller's transaction."""
    found: dict[str, dict[Labels, float]] = {}
    for row in db.execute(READ, {}).all():
        found.setdefault(row.name, {})[tuple(sorted(row.labels.items()))] = row.value
    return found


def bound_of(seconds: float) -> str:
    """The upper end of the class that a duration belongs to."""
    return next((bound for edge, bound in zip(EDGES, BOUNDS, strict=False) if seconds <= edge), BOUNDS[-1])
