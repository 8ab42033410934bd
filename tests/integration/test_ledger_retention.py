"""Retention: history and attempts are kept for their months and then deleted, except those of outstanding work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from outbox import retention
from outbox.audit import MESSAGE_RULES, Known, find_faults
from outbox.write import write_history
from sandbox.servers import EmbeddedValkey
from tests.ledger import CALLS, JOB, Ledger, opened

MONTH = 31 * 86_400.0


@pytest.fixture
def ledger(database_url: str, redis_server: EmbeddedValkey) -> Iterator[Ledger]:
    """A database of its own: these tests create and drop partitions."""
    with opened(database_url, redis_server.url) as built:
        yield built


def partitions(ledger: Ledger) -> set[str]:
    found = ledger.rows(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits JOIN pg_class c ON c.oid = inhparent"
        " WHERE c.relname = 'outbox_history'"
    )
    return {row["name"] for row in found}


def this_month(ledger: Ledger, offset: int = 0) -> str:
    today = ledger.rows("SELECT (outbox_now() AT TIME ZONE 'UTC')::date AS day")[0]["day"]
    return f"outbox_history_{retention.add_months(today, offset):%Y%m}"


def record(ledger: Ledger, subject: str) -> None:
    with ledger.engine.begin() as db:
        write_history(db, "toy", subject, "toy.moved")


@pytest.mark.parametrize(
    ("month", "count", "expected"),
    [
        (date(2031, 1, 31), 1, date(2031, 2, 1)),
        (date(2031, 12, 5), 1, date(2032, 1, 1)),
        (date(2031, 3, 5), -3, date(2030, 12, 1)),
        (date(2031, 3, 5), -24, date(2029, 3, 1)),
    ],
)
def test_months_are_counted_by_the_calendar(month: date, count: int, expected: date) -> None:
    assert retention.add_months(month, count) == expected


def test_partitions_exist_for_the_next_three_months(ledger: Ledger) -> None:
    assert {this_month(ledger, offset) for offset in range(4)} <= partitions(ledger)
    ledger.pass_time(2 * MONTH)
    retention.keep(ledger.engine, 24)
    assert {this_month(ledger, offset) for offset in range(4)} <= partitions(ledger)


def test_history_is_written_to_the_partition_of_its_month(ledger: Ledger) -> None:
    record(ledger, "now")
    (row,) = ledger.rows("SELECT tableoid::regclass::text AS part FROM outbox_history")
    assert row["part"] == this_month(ledger)


def test_history_is_written_even_without_a_partition_for_its_month(ledger: Ledger) -> None:
    ledger.pass_time(12 * MONTH)
    record(ledger, "a year without housekeeping")
    retention.keep(ledger.engine, 24)
    record(ledger, "afterwards")
    assert len(ledger.rows("SELECT id FROM outbox_history")) == 2
    assert this_month(ledger) not in partitions(ledger), "its rows are in the catch-all already"
    assert this_month(ledger, 1) in partitions(ledger)


def test_expired_history_goes_with_its_partition_and_the_rest_stays(ledger: Ledger) -> None:
    record(ledger, "old")
    first = this_month(ledger)
    ledger.pass_time(2 * MONTH)
    record(ledger, "younger")
    retention.keep(ledger.engine, 2)
    assert [row["subject_id"] for row in ledger.rows("SELECT subject_id FROM outbox_history ORDER BY id")] == [
        "old",
        "younger",
    ]
    ledger.pass_time(MONTH)
    retention.keep(ledger.engine, 2)
    assert [row["subject_id"] for row in ledger.rows("SELECT subject_id FROM outbox_history")] == ["younger"]
    assert first not in partitions(ledger)
    assert "outbox_history_rest" in partitions(ledger)


def test_expired_attempts_go_unless_their_message_is_outstanding(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    done = [ledger.start() for _ in range(5)]
    for grant in done:
        ledger.end(grant)
    outstanding = ledger.start()
    ledger.park(outstanding)
    ledger.pass_time(4 * MONTH)
    recent = ledger.start()
    ledger.end(recent)
    retention.keep(ledger.engine, 2)
    left = {row["message_id"] for row in ledger.rows("SELECT message_id FROM outbox_attempts")}
    assert left == {outstanding.message_id, recent.message_id}


def test_expired_trips_go_unless_they_still_last(ledger: Ledger) -> None:
    ledger.run("""INSERT INTO outbox_breaker_trips (upstream, reason, closed_at)
                  VALUES ('clerk', 'ended', outbox_now()), ('clerk', 'lasting', NULL)""")
    ledger.pass_time(4 * MONTH)
    retention.keep(ledger.engine, 2)
    assert [row["reason"] for row in ledger.rows("SELECT reason FROM outbox_breaker_trips")] == ["lasting"]


# -- the audit's own rules ---------------------------------------------------------------------------

BREAKAGES = {
    "try_without_running_message": "DELETE FROM outbox_messages",
    "running_without_try": "DELETE FROM outbox_attempts",
    "lease_long_over": "UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '2 minutes'",
    "due_but_not_promoted": """UPDATE outbox_messages SET state = 'later', worker_id = NULL, lease_expires_at = NULL,
                               due_at = outbox_now() - interval '2 minutes'; DELETE FROM outbox_attempts""",
    "ready_behind_closed_breaker": """UPDATE outbox_messages SET state = 'ready', worker_id = NULL,
                               lease_expires_at = NULL, due_at = outbox_now() - interval '1 hour';
                               DELETE FROM outbox_attempts""",
    "question_without_attempt": """UPDATE outbox_messages SET state = 'ready', worker_id = NULL, due_at = outbox_now(),
                               lease_expires_at = NULL, unresolved_since = outbox_now(), unresolved_why = 'unanswered';
                               DELETE FROM outbox_attempts""",
    "question_lost": """UPDATE outbox_messages SET state = 'ready', worker_id = NULL, lease_expires_at = NULL;
                        UPDATE outbox_attempts SET status = 'unknown', finished_at = outbox_now()""",
    "waits_for_ever": "UPDATE outbox_messages SET give_up_at = '3000-01-01'",
    "unserved": "UPDATE outbox_messages SET upstream = NULL",
}
KNOWN = Known({JOB: CALLS})


def test_every_rule_has_a_breakage_here() -> None:
    assert BREAKAGES.keys() == {rule.name for rule in MESSAGE_RULES}


def test_a_long_wait_in_a_queue_breaks_no_rule(ledger: Ledger) -> None:
    ledger.add()
    ledger.publish()
    ledger.pass_time(86_400)
    with ledger.engine.begin() as db:
        assert find_faults(db, known=KNOWN) == []


@pytest.mark.parametrize("rule", BREAKAGES)
def test_the_audit_names_the_broken_rule_and_the_message(ledger: Ledger, rule: str) -> None:
    grant = ledger.start(ledger.add(queue=CALLS))
    with ledger.engine.begin() as db:
        assert find_faults(db, known=KNOWN) == []
    ledger.run("UPDATE outbox_attempts SET started_at = started_at - interval '2 minutes'")
    ledger.run(BREAKAGES[rule])
    with ledger.engine.begin() as db:
        assert [(fault.rule, fault.message_id) for fault in find_faults(db, known=KNOWN)] == [(rule, grant.message_id)]
