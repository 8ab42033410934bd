"""The cost of an audit: the one every minute must not grow with history, and the one every day reads all of it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from flaskapp.audit.report import RECENT_DAYS, audit
from flaskapp.audit.trace import trace
from flaskapp.current import database_now
from flaskapp.db import db, transaction
from flaskapp.notifications.service import NOTIFICATIONS, SEND
from tests.benchmarks.figures import figure, timed, title
from tests.product import Product

RECENT = 10_000
ALL = 1_000_000
STEP = 100_000

# Filed one after another, backwards from now. Nearly all were notified. One notification in two hundred did not arrive,
# which is a case, closed where it is old; of the young ones, one in a hundred is still outstanding. The audit reads
# nothing that is encrypted.
MADE = f"""
    SELECT n, at, md5(n::text)::uuid AS claim, md5('n' || n)::uuid AS notification, md5('c' || n)::uuid AS opened,
           CASE WHEN n % 200 = 0 THEN 'undeliverable' WHEN n % 100 = 1 AND n <= {RECENT} THEN 'pending'
                ELSE 'delivered' END AS state,
           CASE WHEN n > {RECENT} THEN at END AS closed_at
      FROM (SELECT n, outbox_now() - n * interval '25 seconds' AS at FROM generate_series(:first, :last) n) numbered
"""
PAST = (
    f"""INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state, filed,
                                   notification, cycle, requested_at, finished_at)
       SELECT claim, n::text, '500', date '2031-03-04', 'x', 'submitted', 'x', 'created', 1, at, at
         FROM ({MADE}) made""",
    f"""INSERT INTO notifications (id, subject_type, subject_id, kind, cycle, channel, sender, recipient,
                                  personalisation, state, created_at, sent_at, finished_at)
       SELECT notification, 'travel_claim', claim::text, 'created', 1, 'sms', 'cie', 'x', 'x', state, at, finished,
              finished
         FROM (SELECT *, CASE WHEN state <> 'pending' THEN at END AS finished FROM ({MADE}) every) made""",
    f"""INSERT INTO outbox_history (at, subject_type, subject_id, what, moved_from, moved_to, actor)
       SELECT at, 'travel_claim', claim::text, 'moved', moved_from, moved_to, 'worker'
         FROM ({MADE}) made,
              (VALUES (1, NULL, 'pending'), (2, 'pending', 'submitted')) move (place, moved_from, moved_to)
        ORDER BY n, place""",
    f"""INSERT INTO outbox_history (at, subject_type, subject_id, what, moved_from, moved_to, actor)
       SELECT at, 'notification', notification::text, 'moved', moved_from, COALESCE(moved_to, state), 'VANotify'
         FROM ({MADE}) made, (VALUES (1, 'pending', 'sent'), (2, 'sent', NULL)) move (place, moved_from, moved_to)
        WHERE state <> 'pending' ORDER BY n, place""",
    f"""INSERT INTO cases (id, kind, subject_type, subject_id, owner, opened_at, closed_at, closed_by)
       SELECT opened, 'notification_undeliverable', 'notification', notification::text, 'Ada', at, closed_at,
              CASE WHEN closed_at IS NOT NULL THEN 'Ada' END
         FROM ({MADE}) made WHERE state = 'undeliverable'""",
    f"""INSERT INTO outbox_history (at, subject_type, subject_id, what, actor, detail)
       SELECT at, 'notification', notification::text, what, 'Ada', jsonb_build_object('case', opened::text)
         FROM ({MADE}) made, (VALUES (1, 'case.opened'), (2, 'case.closed')) event (place, what)
        WHERE state = 'undeliverable' AND (place = 1 OR closed_at IS NOT NULL) ORDER BY n, place""",
    f"""INSERT INTO outbox_messages (job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at,
                                    give_up_at)
       SELECT '{SEND.path}', '[]', '{NOTIFICATIONS.name}', '{NOTIFICATIONS.upstream}', 'notification',
              notification::text, 'later', outbox_now() + interval '1 hour',
              at + interval '4 days', at + interval '5 days'
         FROM ({MADE}) made WHERE state = 'pending'""",
    f"""INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, status,
                                    started_at, finished_at, answered, worker_id)
       SELECT n, n, 'travel_claim', claim::text, 'jobs.travel_claims.file_check_in_claim', 'btsss', 'write', 'success',
              at, at, true, 'w' FROM ({MADE}) made""",
)


def write_past(first: int, last: int) -> None:
    with db.engine.begin() as connection:
        for statement in PAST:
            connection.execute(text(statement), {"first": first, "last": last})


def analyze() -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def minutes_audit() -> None:
    with transaction() as session:
        assert audit(session, database_now(session) - timedelta(days=RECENT_DAYS)).clean


def days_audit() -> None:
    with transaction() as session:
        assert audit(session).clean


def trace_of_all() -> None:
    with transaction() as session:
        assert trace(session).illegal == []


def test_the_minutes_audit_does_not_grow_with_history(product: Product) -> None:
    title(f"Audit: {RECENT:,} claims of the last {RECENT_DAYS} days, then {ALL:,} of which as many are as young")
    write_past(1, RECENT)
    analyze()
    young = min(timed(minutes_audit) for _ in range(3))
    for first in range(RECENT + 1, ALL, STEP):
        write_past(first, min(ALL, first + STEP - 1))
        print(".", end="", flush=True)
    analyze()
    old = min(timed(minutes_audit) for _ in range(3))
    full, traced = timed(days_audit), timed(trace_of_all)
    figure("every minute: with all that history / without it", f"{old / young:.2f} : 1   ({old:.2f} s / {young:.2f} s)")
    figure("once a day, everything / every minute", f"{full / old:.0f} : 1   ({full:.1f} s)")
    figure("flask audit --trace, every history", f"{traced:.1f} s")
    # As many look-ups, each in an index a hundred times as large, which no cache holds: two to three times as long.
    assert old < 4 * young
