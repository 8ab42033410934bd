"""What an audit costs: every minute's must not grow with history, and the day's reads all of it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from flaskapp.audit import RECENT_DAYS, audit
from flaskapp.current import moment_now
from flaskapp.db import db, transaction
from flaskapp.trace import trace
from tests.benchmarks.figures import figure, timed, title
from tests.house import House

RECENT = 10_000
ALL = 1_000_000
STEP = 100_000

# Filed and told, a thousand a day back from now on: what is encrypted is of no interest to an audit.
TOLD = (
    """INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state, filed, notice,
                                   cycle, requested_at, finished_at)
       SELECT md5(n::text)::uuid, n::text, '500', date '2031-03-04', 'x', 'submitted', 'x', 'created', 1, at, at
         FROM (SELECT n, outbox_now() - n * interval '25 seconds' AS at FROM generate_series(:first, :last) n) made""",
    """INSERT INTO notifications (id, subject_type, subject_id, kind, cycle, channel, facility, recipient,
                                  personalisation, state, created_at, sent_at, finished_at)
       SELECT md5('n' || n)::uuid, 'travel_claim', md5(n::text)::uuid::text, 'created', 1, 'sms', 'cie', 'x', 'x',
              'delivered', at, at, at
         FROM (SELECT n, outbox_now() - n * interval '25 seconds' AS at FROM generate_series(:first, :last) n) made""",
    """INSERT INTO outbox_history (at, subject_type, subject_id, what, moved_from, moved_to, actor)
       SELECT at, 'travel_claim', md5(n::text)::uuid::text, 'moved', moved_from, moved_to, 'worker'
         FROM (SELECT n, outbox_now() - n * interval '25 seconds' AS at FROM generate_series(:first, :last) n) made,
              (VALUES (1, NULL, 'pending'), (2, 'pending', 'submitted')) move (place, moved_from, moved_to)
        ORDER BY n, place""",
    """INSERT INTO outbox_history (at, subject_type, subject_id, what, moved_from, moved_to, actor)
       SELECT at, 'notification', md5('n' || n)::uuid::text, 'moved', moved_from, moved_to, 'VANotify'
         FROM (SELECT n, outbox_now() - n * interval '25 seconds' AS at FROM generate_series(:first, :last) n) made,
              (VALUES (1, 'pending', 'sent'), (2, 'sent', 'delivered')) move (place, moved_from, moved_to)
        ORDER BY n, place""",
    """INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, status,
                                    started_at, finished_at, answered, worker_id)
       SELECT n, n, 'travel_claim', md5(n::text)::uuid::text, 'jobs.travel_claims.submit_claim', 'btsss', 'write',
              'success', at, at, true, 'w'
         FROM (SELECT n, outbox_now() - n * interval '25 seconds' AS at FROM generate_series(:first, :last) n) made""",
)


def tell(first: int, last: int) -> None:
    with db.engine.begin() as connection:
        for statement in TOLD:
            connection.execute(text(statement), {"first": first, "last": last})


def analyze() -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def minutes_audit() -> None:
    with transaction() as session:
        assert audit(session, moment_now(session) - timedelta(days=RECENT_DAYS)).clean


def days_audit() -> None:
    with transaction() as session:
        assert audit(session).clean


def trace_of_all() -> None:
    with transaction() as session:
        assert trace(session).illegal == []


def test_the_minutes_audit_does_not_grow_with_history(house: House) -> None:
    title(f"Audit: {RECENT:,} claims of the last {RECENT_DAYS} days, then {ALL:,} of which as many are as young")
    tell(1, RECENT)
    analyze()
    young = min(timed(minutes_audit) for _ in range(3))
    for first in range(RECENT + 1, ALL, STEP):
        tell(first, min(ALL, first + STEP - 1))
        print(".", end="", flush=True)
    analyze()
    old = min(timed(minutes_audit) for _ in range(3))
    full, traced = timed(days_audit), timed(trace_of_all)
    figure("every minute: with all that history / without it", f"{old / young:.2f} : 1   ({old:.2f} s / {young:.2f} s)")
    figure("once a day, everything / every minute", f"{full / old:.0f} : 1   ({full:.1f} s)")
    figure("flask audit --trace, every history", f"{traced:.1f} s")
    assert old < 2 * young
