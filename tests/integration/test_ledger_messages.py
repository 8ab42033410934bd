"""Rows of the ledger: messages added in the caller's transaction, and rows that cannot contradict themselves."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from outbox.write import WAKE_CHANNEL, add, write_history
from tests.ledger import ACCEPTED, CALLS, JOB, Ledger
from tests.product import eventually

OPTIONS: dict[str, Any] = {
    "job": JOB,
    "queue": CALLS.name,
    "upstream": CALLS.upstream,
    "subject_type": "toy",
    "subject_id": "one",
    "deadline_seconds": 60.0,
    "give_up_seconds": 600.0,
}


def test_a_message_is_rolled_back_with_the_transaction_it_was_added_in(ledger: Ledger) -> None:
    with ledger.engine.connect() as db:
        add(db, **OPTIONS)
        db.rollback()
    assert ledger.messages() == []


def test_history_is_rolled_back_with_what_it_records(ledger: Ledger) -> None:
    with ledger.engine.connect() as db:
        write_history(db, "toy", "one", "toy.moved")
        db.rollback()
    assert ledger.history() == []


def test_nobody_sees_a_message_before_its_transaction_commits(ledger: Ledger) -> None:
    with ledger.engine.connect() as db:
        message_id = add(db, **OPTIONS)
        assert ledger.publish() == []
        db.commit()
    assert [pointer[0] for pointer in ledger.publish()] == [message_id]


def test_a_new_message_is_ready_and_a_delayed_one_waits_until_it_is_due(ledger: Ledger) -> None:
    now, later = ledger.add(), ledger.add(delay=30.0)
    assert (ledger.state(now), ledger.state(later)) == ("ready", "later")
    row = ledger.row(later)
    assert (row["due_at"] - row["created_at"]).total_seconds() == 30
    assert (row["deadline_at"] - row["created_at"]).total_seconds() == 3600
    assert (row["give_up_at"] - row["created_at"]).total_seconds() == 86_400


def test_arguments_are_kept_as_they_were_given(ledger: Ledger) -> None:
    with ledger.engine.begin() as db:
        message_id = add(db, **OPTIONS, args=("a", 2))
    assert ledger.row(message_id)["args"] == ["a", 2]


def test_relays_are_woken_by_the_commit_and_not_before(ledger: Ledger) -> None:
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as listening:
        listening.execute(text(f"LISTEN {WAKE_CHANNEL}"))
        connection = listening.connection.driver_connection
        assert connection is not None
        with ledger.engine.connect() as db:
            add(db, **OPTIONS)
            connection.poll()
            assert connection.notifies == []
            db.commit()
        eventually(lambda: connection.poll() or connection.notifies)


def test_delayed_work_wakes_no_relay(ledger: Ledger) -> None:
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as listening:
        listening.execute(text(f"LISTEN {WAKE_CHANNEL}"))
        connection = listening.connection.driver_connection
        assert connection is not None
        ledger.add(delay=5.0)
        ledger.run("NOTIFY after_the_other")
        connection.poll()
        assert connection.notifies == []


def test_a_finished_message_leaves_its_attempt_and_no_row(ledger: Ledger) -> None:
    grant = ledger.start()
    assert ledger.end(grant, ACCEPTED)
    assert ledger.messages() == []
    (attempt,) = ledger.attempts(grant.message_id)
    assert (attempt["status"], attempt["subject_id"]) == ("success", "one")


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("ck_outbox_messages_running_has_lease", "UPDATE outbox_messages SET state = 'running', fence = 1"),
        ("ck_outbox_messages_running_has_lease", "UPDATE outbox_messages SET worker_id = 'w'"),
        ("ck_outbox_messages_fenced", "UPDATE outbox_messages SET state = 'published'"),
        ("ck_outbox_messages_parked_has_reason", "UPDATE outbox_messages SET state = 'parked', fence = 1"),
        ("ck_outbox_messages_parked_has_reason", "UPDATE outbox_messages SET parked_reason = 'why'"),
        ("ck_outbox_messages_unresolved_has_why", "UPDATE outbox_messages SET unresolved_since = now()"),
        ("ck_outbox_messages_state", "UPDATE outbox_messages SET state = 'lost'"),
        ("ck_outbox_messages_args_array", "UPDATE outbox_messages SET args = '{}'"),
        ("deadline_at", "UPDATE outbox_messages SET deadline_at = NULL"),
    ],
)
def test_postgres_refuses_a_message_that_contradicts_itself(ledger: Ledger, constraint: str, change: str) -> None:
    ledger.add()
    with pytest.raises(IntegrityError, match=constraint):
        ledger.run(change)


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("ck_outbox_attempts_finished", "UPDATE outbox_attempts SET status = 'success'"),
        ("ck_outbox_attempts_finished", "UPDATE outbox_attempts SET finished_at = now()"),
        ("ck_outbox_attempts_status", "UPDATE outbox_attempts SET status = 'maybe', finished_at = now()"),
        (
            "uq_outbox_attempts_message_id_fence",
            """INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, purpose, worker_id)
               SELECT message_id, fence, subject_type, subject_id, job, 'write', 'another' FROM outbox_attempts""",
        ),
    ],
)
def test_postgres_refuses_an_attempt_that_contradicts_itself(ledger: Ledger, constraint: str, change: str) -> None:
    ledger.start()
    with pytest.raises(IntegrityError, match=constraint):
        ledger.run(change)
