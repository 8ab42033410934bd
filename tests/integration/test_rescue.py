"""What a dead or silent worker held comes back, and a write nobody saw end becomes a question."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from outbox import rescue
from outbox.values import Grant
from tests.ledger import SILENCE, WORKER, Ledger
from tests.product import eventually

# After a restart of Postgres nobody is taken for silent yet, so these tests need a server that has run a while.
OLD_ENOUGH = "SELECT clock_timestamp() - pg_postmaster_start_time() > interval '11 s' AS old"


@pytest.fixture
def settled(ledger: Ledger) -> Ledger:
    eventually(lambda: ledger.rows(OLD_ENOUGH)[0]["old"])
    return ledger


def beat(ledger: Ledger, worker: str = WORKER) -> None:
    rescue.beat(ledger.engine, worker, "worker")


def rescue_lost(ledger: Ledger) -> int:
    return rescue.rescue_lost(ledger.engine)


def start_look_up(ledger: Ledger) -> Grant:
    first = ledger.start()
    ledger.again(first, SILENCE, unresolved_why="unanswered", not_found=1)
    return ledger.start(first.message_id)


def test_a_worker_that_beats_keeps_what_it_holds(settled: Ledger) -> None:
    grant = settled.start(lease=600.0)
    beat(settled)
    for _ in range(3):
        settled.pass_time(9)
        assert rescue_lost(settled) == 0
        beat(settled)
    assert settled.end(grant)


def test_what_a_silent_worker_holds_becomes_a_question_and_due(settled: Ledger) -> None:
    beat(settled)
    grant = settled.start(lease=600.0)
    settled.pass_time(11)
    assert rescue_lost(settled) == 1
    row = settled.row(grant.message_id)
    assert (row["state"], row["worker_id"], row["lease_expires_at"]) == ("ready", None, None)
    assert (row["unresolved_since"], row["unresolved_why"]) == (grant.started_at, "unanswered")
    (attempt,) = settled.attempts(grant.message_id)
    assert (attempt["status"], attempt["error_class"], attempt["charged"]) == ("unknown", "WorkerLost", False)
    assert row["charged_attempts"] == 0


def test_a_worker_that_never_beat_is_silent(settled: Ledger) -> None:
    settled.start(lease=600.0)
    assert rescue_lost(settled) == 1


def test_only_the_silent_workers_work_is_taken(settled: Ledger) -> None:
    dead = settled.start(worker="dead", lease=600.0)
    alive = settled.start(worker="alive", lease=600.0)
    beat(settled, "alive")
    assert rescue_lost(settled) == 1
    assert (settled.state(dead.message_id), settled.state(alive.message_id)) == ("ready", "running")


def test_a_lease_that_ended_is_taken_from_a_living_worker_too(ledger: Ledger) -> None:
    grant = ledger.start(lease=60.0)
    beat(ledger)
    ledger.pass_time(59)
    beat(ledger)
    assert rescue_lost(ledger) == 0
    ledger.pass_time(2)
    beat(ledger)
    assert rescue_lost(ledger) == 1
    assert ledger.attempts(grant.message_id)[0]["status"] == "unknown"


def test_a_lost_look_up_changes_nothing_about_its_question(ledger: Ledger) -> None:
    grant = start_look_up(ledger)
    before = ledger.row(grant.message_id)
    ledger.pass_time(61)
    assert rescue_lost(ledger) == 1
    after = ledger.row(grant.message_id)
    for name in ("unresolved_since", "unresolved_why", "not_found_count", "look_up_count"):
        assert after[name] == before[name]
    assert [row["status"] for row in ledger.attempts(grant.message_id)] == ["unknown", "error"]


def test_a_lost_read_opens_no_question(ledger: Ledger) -> None:
    grant = ledger.start(writes=False)
    ledger.pass_time(61)
    assert rescue_lost(ledger) == 1
    assert ledger.row(grant.message_id)["unresolved_since"] is None
    assert ledger.attempts(grant.message_id)[0]["status"] == "error"


def test_a_write_that_is_lost_again_starts_the_count_of_not_found_anew(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.run("UPDATE outbox_messages SET not_found_count = 1")
    ledger.pass_time(61)
    rescue_lost(ledger)
    assert ledger.row(grant.message_id)["not_found_count"] == 0


def test_the_first_of_several_unknowns_keeps_its_time(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.run("UPDATE outbox_messages SET unresolved_since = '2020-01-01', unresolved_why = 'duplicate'")
    ledger.pass_time(61)
    rescue_lost(ledger)
    row = ledger.row(grant.message_id)
    assert (row["unresolved_since"].year, row["unresolved_why"]) == (2020, "duplicate")


def test_two_rescues_share_the_work_without_waiting(ledger: Ledger) -> None:
    grants = [ledger.start() for _ in range(4)]
    ledger.pass_time(61)
    with ledger.engine.connect() as other:
        locked = text("SELECT id FROM outbox_messages ORDER BY id LIMIT 2 FOR UPDATE")
        taken = {row.id for row in other.execute(locked)}
        assert rescue_lost(ledger) == 2
        assert {grant.message_id for grant in grants if ledger.state(grant.message_id) == "running"} == taken
    assert rescue_lost(ledger) == 2


STOP = """
    CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'killed here'; END $$;
    CREATE TRIGGER stop BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION stop()
"""


@pytest.mark.parametrize("table", ["outbox_attempts", "outbox_messages"])
def test_a_rescue_killed_at_either_table_has_changed_neither(ledger: Ledger, table: str) -> None:
    grant = ledger.start()
    ledger.pass_time(61)
    ledger.run(STOP.format(table=table))
    try:
        with pytest.raises(Exception, match="killed here"):
            rescue_lost(ledger)
        assert ledger.state(grant.message_id) == "running"
        assert ledger.attempts(grant.message_id)[0]["status"] == "try"
    finally:
        ledger.run("DROP FUNCTION stop CASCADE")
    assert rescue_lost(ledger) == 1


def test_a_rescued_message_has_no_live_attempt_left(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.pass_time(61)
    rescue_lost(ledger)
    assert ledger.rows("SELECT id FROM outbox_attempts WHERE status = 'try'") == []
    assert not ledger.end(grant)
    assert ledger.grant(grant.message_id, grant.fence) is None


def test_a_stopping_worker_hands_back_its_own_uncharged_and_due_at_once(ledger: Ledger) -> None:
    mine, done = ledger.start(), ledger.start()
    others = ledger.start(worker="another")
    ledger.end(done)
    assert rescue.hand_back(ledger.engine, WORKER, [mine, done]) == 1
    row = ledger.row(mine.message_id)
    assert (row["state"], row["unresolved_why"], row["charged_attempts"]) == ("ready", "unanswered", 0)
    (attempt,) = ledger.attempts(mine.message_id)
    assert (attempt["status"], attempt["error_class"], attempt["charged"]) == ("unknown", "HandedBack", False)
    assert ledger.state(others.message_id) == "running"


def test_handing_back_touches_nothing_that_another_worker_was_granted_since(ledger: Ledger) -> None:
    mine = ledger.start()
    ledger.pass_time(61)
    rescue_lost(ledger)
    theirs = ledger.start(mine.message_id, worker="another")
    assert rescue.hand_back(ledger.engine, WORKER, [mine]) == 0
    assert ledger.end(theirs)


def test_handing_back_nothing_asks_nobody(ledger: Ledger) -> None:
    assert rescue.hand_back(ledger.engine, WORKER, []) == 0


def test_a_process_that_leaves_takes_its_row_along(ledger: Ledger) -> None:
    beat(ledger, "a")
    beat(ledger, "b")
    rescue.leave(ledger.engine, "a")
    assert [row["id"] for row in ledger.rows("SELECT id FROM outbox_processes")] == ["b"]


def test_rows_of_processes_long_dead_are_forgotten(ledger: Ledger) -> None:
    beat(ledger, "dead")
    ledger.pass_time(3601)
    beat(ledger, "alive")
    assert rescue.forget_silent(ledger.engine) == 1
    assert [row["id"] for row in ledger.rows("SELECT id FROM outbox_processes")] == ["alive"]
