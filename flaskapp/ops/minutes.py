"""Counters of what each flow did, written every minute: the console shows days and weeks from them and scans nothing.

A minute is counted from the ledger's history, by its index, once it is over; the last three are counted again, because
a transaction may commit a little after the time that it writes. Hours are the sums of their minutes. Minutes are kept
for a day, hours for eight days.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Float, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.current import flows
from flaskapp.db import DbSession, db
from flaskapp.flows import Flows, Subject
from outbox import Timestamp, sql

# After a time without a scheduler, so much of it is counted later.
MOST_BEHIND = "interval '1 day'"
OLD = "began_at < outbox_now() - CASE width WHEN 'minute' THEN interval '25 hours' ELSE interval '8 days' END"

# What ends well ends in another final state than this.
FAILED = "failed"
SINCE = text(f"""
    SELECT date_trunc('minute', GREATEST(outbox_now() - {MOST_BEHIND},
               (SELECT max(began_at) FROM work_counts WHERE width = 'minute') - interval '3 minutes')) AS since,
           date_trunc('minute', outbox_now()) AS until
""")
MOVED = f"""
    WITH moved AS MATERIALIZED (
        SELECT date_trunc('minute', h.at) AS began_at, h.at, h.subject_type, h.subject_id, h.moved_from, h.moved_to
          {sql.history_between(":since", ":until")} AND h.moved_to IS NOT NULL
           AND (h.subject_type, h.subject_id) NOT IN ({{left_out}})
    )"""
BEGUN_AND_FAILED = """
    SELECT began_at, subject_type, CASE WHEN moved_from IS NULL THEN 'accepted' ELSE 'failed' END AS event,
           count(*) AS count, 0::float AS seconds
      FROM moved WHERE subject_type = ANY(:submissions) AND (moved_from IS NULL OR moved_to = 'failed')
     GROUP BY 1, 2, 3"""
# Seconds are the time from request to end, of all of them together.
FILED = """
    SELECT m.began_at, m.subject_type, 'filed', count(*), sum(extract(epoch FROM m.at - s.{began}))::float
      FROM moved m JOIN {table} s ON s.id = CAST(m.subject_id AS uuid)
     WHERE m.subject_type = '{name}' AND m.moved_to = ANY(ARRAY[{ends}]) AND m.moved_from <> ALL(ARRAY[{finals}])
     GROUP BY 1, 2"""
TOLD = """
    SELECT m.began_at, n.subject_type,
           CASE WHEN m.moved_to IN ('delivered', 'undeliverable') THEN m.moved_to ELSE 'told' END, count(*), 0::float
      FROM moved m JOIN notifications n ON n.id = CAST(m.subject_id AS uuid)
     WHERE m.subject_type = 'notification' AND m.moved_to IN ('sent', 'delivered', 'undeliverable')
     GROUP BY 1, 2, 3"""
# One row for each subject even where nothing waits: it also says until when everything was counted. Seconds are the age
# of the oldest.
WAITING = f"""
    SELECT CAST(:until AS timestamptz), each, 'waiting', count(m.id),
           COALESCE(extract(epoch FROM outbox_now() - min(m.created_at)), 0)::float
      FROM unnest(CAST(:submissions AS text[])) AS each
      LEFT JOIN (SELECT m.* {sql.messages()} AND m.state <> 'parked' AND m.job <> ALL(:unpromised)
                    AND (m.subject_type, m.subject_id) NOT IN ({{left_out}})) m
             ON m.subject_type = each
     GROUP BY each"""
KEEP = """
    INSERT INTO work_counts (began_at, subject_type, event, count, seconds, width)
    SELECT counted.*, '{width}' FROM ({counted}) AS counted
    ON CONFLICT (width, began_at, subject_type, event)
    DO UPDATE SET count = EXCLUDED.count, seconds = EXCLUDED.seconds"""
HOURS = text(
    KEEP.format(
        width="hour",
        counted="""
            SELECT date_trunc('hour', began_at), subject_type, event,
                   CASE event WHEN 'waiting' THEN max(count) ELSE sum(count) END,
                   CASE event WHEN 'waiting' THEN max(seconds) ELSE sum(seconds) END
              FROM work_counts WHERE width = 'minute' AND began_at >= date_trunc('hour', CAST(:since AS timestamptz))
             GROUP BY 1, 2, 3""",
    )
)


class WorkCount(db.Model):  # type: ignore[name-defined]
    """How often something happened to the submissions of one type in one minute or hour, and how long it took."""

    __tablename__ = "work_counts"
    __table_args__ = (CheckConstraint("width IN ('minute', 'hour')", name="width"),)

    width: Mapped[str] = mapped_column(Text, primary_key=True)
    began_at: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    subject_type: Mapped[str] = mapped_column(Text, primary_key=True)
    event: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float)


def filed_of(name: str, subject: Subject) -> str:
    """The statement that counts those of a subject which reached an end that is no failure."""
    states = subject.states
    assert states is not None
    finals = sorted(states.machine.final)
    ends = [state for state in finals if state != FAILED]
    return FILED.format(name=name, table=states.table, began=states.began, ends=quoted(ends), finals=quoted(finals))


def quoted(words: list[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def count_of(registered: Flows) -> str:
    """The statement that counts and keeps the minutes between `:since` and `:until`."""
    filed = [filed_of(name, subject) for name, subject in registered.submissions.items()]
    parts = [BEGUN_AND_FAILED, *filed, TOLD, WAITING.format(left_out=registered.synthetic)]
    counted = f"{MOVED.format(left_out=registered.synthetic)} {' UNION ALL '.join(parts)}"
    return KEEP.format(width="minute", counted=counted)


def count_minutes(session: DbSession) -> None:
    """Count what is not counted yet. Twice at once does it once."""
    registered = flows()
    between = session.execute(SINCE).one()
    values = {
        "since": between.since,
        "until": between.until,
        "submissions": list(registered.submissions),
        "unpromised": list(registered.unpromised_jobs),
    }
    session.execute(text(count_of(registered)), values)
    session.execute(HOURS, {"since": between.since})
