"""Rescue: what a dead or silent worker held is due again, and a write without an answer becomes an open question."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from outbox import rescue
from outbox.values import Grant
from tests.ledger import SILENCE, WORKER, Ledger
from tests.product import eventually

# After a restart of Postgres no worker counts as silent at first, so these tests need a server that has run a while.
OLD_ENOUGH = "SELECT clock_timestamp() - pg_postmaster_start_time() > interval '11 s' AS old"


@pytest.fixture
def long_running(ledger: Ledger) -> Ledger:
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


def test_a_worker_that_beats_keeps_what_it_holds(long_running: Ledger) -> None:
    grant = long_running.start(lease=600.0)
    beat(long_running)
    for _ in range(3):
        long_running.pass_time(9)
        assert rescue_lost(long_running) == 0
        beat(long_running)
    assert long_running.end(grant)


def test_work_of_a_silent_worker_is_due_again_with_an_open_question(long_running: Ledger) -> None:
    beat(long_running)
    grant = long_running.start(lease=600.0)
    long_running.pass_time(11)
    assert rescue_lost(long_running) == 1
    row = long_running.row(grant.message_id)
    assert (row["state"], row["worker_id"], row["lease_expires_at"]) == ("ready", None, None)
    assert (row["unresolved_since"], row["unresolved_why"]) == (grant.started_at, "unanswered")
    (attempt,) = long_running.attempts(grant.message_id)
    assert (attempt["status"], attempt["error_class"], attempt["charged"]) == ("unknown", "WorkerLost", False)
    assert row["charged_attempts"] == 0


def test_a_worker_that_never_beat_is_silent(long_running: Ledger) -> None:
    long_running.start(lease=600.0)
    assert rescue_lost(long_running) == 1


def test_only_the_work_of_silent_workers_is_taken(long_running: Ledger) -> None:
    dead = long_running.start(worker="dead", lease=600.0)
    alive = long_running.start(worker="alive", lease=600.0)
    beat(long_running, "alive")
    assert rescue_lost(long_running) == 1
    assert (long_running.state(dead.message_id), long_running.state(alive.message_id)) == ("ready", "running")


def test_an_expired_lease_is_taken_from_a_living_worker_too(ledger: Ledger) -> None:
    grant = ledger.start(lease=60.0)
    beat(ledger)
    for seconds in (9,) * 6:
        ledger.pass_time(seconds)
        beat(ledger)
    assert rescue_lost(ledger) == 0
    ledger.pass_time(7)
    beat(ledger)
    assert rescue_lost(ledger) == 1
    assert ledger.attempts(grant.message_id)[0]["status"] == "unknown"


def test_after_an_outage_of_postgres_the_living_get_time_to_record_their_answers(ledger: Ledger) -> None:
    """Nobody could beat, and leases ran out meanwhile: whoever beats first must not take what the others hold."""
    grant = ledger.start(lease=60.0)
    beat(ledger)
    beat(ledger, "another")
    ledger.pass_time(300)
    beat(ledger, "another")
    assert rescue_lost(ledger) == 0
    assert ledger.end(grant)


def test_what_the_dead_held_is_taken_soon_after_an_outage(ledger: Ledger) -> None:
    ledger.start(lease=60.0)
    beat(ledger, "another")
    ledger.pass_time(300)
    beat(ledger, "another")
    ledger.pass_time(9)
    beat(ledger, "another")
    ledger.pass_time(2)
    assert rescue_lost(ledger) == 1


def test_one_process_that_was_frozen_delays_no_rescue(ledger: Ledger) -> None:
    ledger.start(worker="dead", lease=20.0)
    for worker in ("frozen", "another"):
        beat(ledger, worker)
    for _ in range(3):
        ledger.pass_time(9)
        beat(ledger, "another")
    beat(ledger, "frozen")
    assert rescue_lost(ledger) == 1


def test_an_answer_in_hand_keeps_its_lease(ledger: Ledger) -> None:
    grant = ledger.start(lease=10.0)
    ledger.pass_time(9)
    rescue.keep(ledger.engine, WORKER, [grant])
    ledger.pass_time(9)
    beat(ledger)
    assert rescue_lost(ledger) == 0
    assert ledger.end(grant)


def test_a_process_beats_although_rows_may_not_be_inserted(ledger: Ledger) -> None:
    """As on a managed plan that is full: without its beat, all that it holds would be taken from it."""
    beat(ledger)
    ledger.pass_time(9)
    with ledger.engine.begin() as db:
        db.execute(text("SET LOCAL ROLE surefile"))
        db.execute(text("REVOKE INSERT ON outbox_processes FROM surefile"))
    try:
        beat(ledger)
    finally:
        ledger.run("GRANT INSERT ON outbox_processes TO surefile")
    (age,) = [row["age"] for row in ledger.rows("SELECT outbox_now() - beat_at AS age FROM outbox_processes")]
    assert age.total_seconds() < 5


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


def test_a_write_that_is_lost_again_resets_the_count_of_not_found(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.run("UPDATE outbox_messages SET not_found_count = 1")
    ledger.pass_time(61)
    rescue_lost(ledger)
    assert ledger.row(grant.message_id)["not_found_count"] == 0


def test_the_first_of_several_unknown_outcomes_keeps_its_time(ledger: Ledger) -> None:
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
def test_a_rescue_interrupted_at_either_table_changes_neither(ledger: Ledger, table: str) -> None:
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


def test_a_stopping_worker_hands_its_own_work_back_uncharged_and_due_at_once(ledger: Ledger) -> None:
    mine, done = ledger.start(), ledger.start()
    others = ledger.start(worker="another")
    ledger.end(done)
    assert rescue.hand_back(ledger.engine, WORKER, [mine, done]) == 1
    row = ledger.row(mine.message_id)
    assert (row["state"], row["unresolved_why"], row["charged_attempts"]) == ("ready", "unanswered", 0)
    (attempt,) = ledger.attempts(mine.message_id)
    assert (attempt["status"], attempt["error_class"], attempt["charged"]) == ("unknown", "HandedBack", False)
    assert ledger.state(others.message_id) == "running"


def test_handing_back_changes_nothing_that_another_worker_was_granted_since(ledger: Ledger) -> None:
    mine = ledger.start()
    ledger.pass_time(61)
    rescue_lost(ledger)
    theirs = ledger.start(mine.message_id, worker="another")
    assert rescue.hand_back(ledger.engine, WORKER, [mine]) == 0
    assert ledger.end(theirs)


def test_handing_back_nothing_does_nothing(ledger: Ledger) -> None:
    assert rescue.hand_back(ledger.engine, WORKER, []) == 0


def test_a_process_that_leaves_deletes_its_row(ledger: Ledger) -> None:
    beat(ledger, "a")
    beat(ledger, "b")
    rescue.end_process(ledger.engine, "a")
    assert [row["id"] for row in ledger.rows("SELECT id FROM outbox_processes")] == ["b"]


def test_rows_of_processes_long_dead_are_deleted(ledger: Ledger) -> None:
    beat(ledger, "dead")
    ledger.pass_time(3601)
    beat(ledger, "alive")
    assert rescue.forget_silent(ledger.engine) == 1
    assert [row["id"] for row in ledger.rows("SELECT id FROM outbox_processes")] == ["alive"]
