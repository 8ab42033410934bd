"""Outstanding work by the thousand or the million, put there at once."""

from __future__ import annotations

from outbox import WAKE_CHANNEL
from tests.benchmarks.ground import Quiet, Site, frozen
from tests.benchmarks.noop import BENCH, WORK
from tests.benchmarks.people import until

# The time is read once: as a column default, outbox_now() would run three times for each of a million rows.
ENQUEUE = """
    INSERT INTO outbox_messages
        (job, queue, upstream, subject_type, subject_id, state,
         due_at, deadline_at, budget_from, created_at, give_up_at)
    SELECT '{job}', '{queue}', '{upstream}', 'bench', gen_random_uuid()::text, 'ready', at,
           at + interval '1 day' + number * interval '1 millisecond', at, at, at + interval '9 days'
      FROM (SELECT outbox_now() AS at OFFSET 0) AS clock, generate_series(1, {count}) AS number
"""
READY = "SELECT count(*) FROM outbox_messages WHERE state = 'ready' AND queue = %s"
# Copies of the newest claim, each for a day of its own, with its history and its message.
COPY_CLAIMS = """
    WITH one AS (SELECT * FROM travel_claims ORDER BY requested_at DESC LIMIT 1),
         work AS (SELECT m.* FROM outbox_messages m JOIN one ON m.subject_id = one.id::text),
         last AS (SELECT max(appointment_date) AS day FROM travel_claims),
         made AS (
            INSERT INTO travel_claims
            SELECT copied.*
              FROM one, last, generate_series(1, {count}) AS number,
                   LATERAL jsonb_populate_record(NULL::travel_claims, to_jsonb(one) || jsonb_build_object(
                        'id', gen_random_uuid(), 'appointment_date', last.day + number,
                        'requested_at', outbox_now())) AS copied
            RETURNING id),
         told AS (
            INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor, detail)
            SELECT h.subject_type, made.id::text, h.what, h.moved_from, h.moved_to, h.actor, h.detail
              FROM made, one, outbox_history h
             WHERE h.subject_type = 'travel_claim' AND h.subject_id = one.id::text)
    INSERT INTO outbox_messages OVERRIDING SYSTEM VALUE
    SELECT copied.*
      FROM work, (SELECT id, row_number() OVER () AS number FROM made) AS made,
           LATERAL jsonb_populate_record(NULL::outbox_messages, to_jsonb(work) || jsonb_build_object(
                'id', nextval(pg_get_serial_sequence('outbox_messages', 'id')), 'subject_id', made.id,
                'state', 'ready', 'fence', NULL, 'published_at', NULL,
                'deadline_at', work.deadline_at + made.number * interval '1 millisecond')) AS copied
"""


def enqueue(site: Site, count: int) -> None:
    site.patiently(ENQUEUE.format(job=WORK.path, queue=BENCH.name, upstream=BENCH.upstream, count=count))
    site.execute(f"NOTIFY {WAKE_CHANNEL}")


def copy_claims(site: Site, count: int) -> None:
    """So many more claims like the last one, which was posted while no worker ran."""
    site.patiently(COPY_CLAIMS.format(count=count))
    site.execute(f"NOTIFY {WAKE_CHANNEL}")


def in_redis(site: Site, relay: Quiet, workers: list[Quiet], count: int) -> None:
    """So many pointers more in Redis, moved by the relay while the workers stand still."""
    with frozen(*workers):
        enqueue(site, count)
        until(lambda: site.value(READY, BENCH.name) == 0, 9)
