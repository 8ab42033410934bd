"""Grant and settle, and what happens to an answer that lost its fence."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from outbox import attempts, grants, rescue
from outbox.values import Ending, Grant
from tests.ledger import ACCEPTED, CALLS, CHORES, OUTAGE, SILENCE, WORKER, Ledger
from tests.product import eventually


def late(ledger: Ledger, grant: Grant, ending: Ending = ACCEPTED) -> bool:
    with ledger.engine.begin() as db:
        return attempts.record_late(db, grant, ending)


def lose_fence(ledger: Ledger, grant: Grant) -> None:
    """The lease ends and rescue makes the message due again, while its worker is still alive."""
    ledger.pass_time(61)
    assert rescue.rescue_lost(ledger.engine) == 1


def test_a_grant_commits_a_try_before_anything_is_called(ledger: Ledger) -> None:
    grant = ledger.start(worker="w7", lease=45.0)
    row = ledger.row(grant.message_id)
    assert (row["state"], row["worker_id"], row["fence"]) == ("running", "w7", grant.fence)
    (attempt,) = ledger.attempts(grant.message_id)
    assert (attempt["id"], attempt["status"], attempt["purpose"]) == (grant.attempt_id, "try", "write")
    assert (grant.lease_expires_at - grant.started_at).total_seconds() == 45


def test_a_pointer_of_an_earlier_publication_is_stale(ledger: Ledger) -> None:
    message_id = ledger.add()
    ((_, old),) = ledger.publish()
    ledger.relay.undo(old, [message_id])
    ((_, new),) = ledger.publish()
    assert ledger.grant(message_id, old) is None
    assert ledger.state(message_id) == "published"
    assert ledger.attempts(message_id) == []
    assert ledger.grant(message_id, new) is not None


def test_a_doubled_pointer_is_granted_once(ledger: Ledger) -> None:
    grant = ledger.start()
    assert ledger.grant(grant.message_id, grant.fence) is None
    assert len(ledger.attempts(grant.message_id)) == 1
    assert ledger.state(grant.message_id) == "running"


def test_of_many_workers_with_one_pointer_one_is_granted(ledger: Ledger) -> None:
    message_id = ledger.add()
    ((_, fence),) = ledger.publish()
    start = threading.Barrier(4)
    granted: list[Grant | None] = []

    def work() -> None:
        start.wait()
        granted.append(ledger.grant(message_id, fence))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [grant is not None for grant in granted].count(True) == 1
    assert len(ledger.attempts(message_id)) == 1


def test_a_pointer_that_returns_after_the_settle_finds_nothing(ledger: Ledger) -> None:
    done = ledger.start()
    ledger.end(done)
    assert ledger.grant(done.message_id, done.fence) is None
    retried = ledger.start()
    ledger.again(retried)
    assert ledger.grant(retried.message_id, retried.fence) is None
    assert [row["status"] for row in ledger.attempts(retried.message_id)] == ["error"]


def test_a_pointer_at_an_open_breaker_goes_back_to_wait_in_postgres(ledger: Ledger) -> None:
    message_id = ledger.add()
    ((_, fence),) = ledger.publish()
    ledger.run("UPDATE outbox_breakers SET opened_at = now(), open_until = now() + interval '1 hour'")
    assert ledger.grant(message_id, fence) is None
    assert ledger.state(message_id) == "ready"
    assert ledger.attempts(message_id) == []


def test_a_reading_job_is_no_write_and_an_open_question_makes_a_look_up(ledger: Ledger) -> None:
    assert ledger.start(writes=False).purpose == "read"
    unanswered = ledger.start()
    ledger.again(unanswered, SILENCE, unresolved_why="unanswered")
    assert ledger.start(unanswered.message_id).purpose == "look_up"


def test_a_settle_without_the_fence_changes_nothing(ledger: Ledger) -> None:
    grant = ledger.start()
    lose_fence(ledger, grant)
    assert not ledger.end(grant)
    assert ledger.state(grant.message_id) == "ready"
    again = ledger.start(grant.message_id)
    assert not ledger.end(grant)
    assert ledger.end(again)


def test_pointers_that_are_granted_together_are_each_compared_with_their_own_fence(ledger: Ledger) -> None:
    """A doubled one, one that is looked up and its pointer from before, and one that only reads."""
    stale = ledger.start()
    ledger.again(stale, SILENCE, unresolved_why="unanswered")
    doubled, chore = ledger.add(), ledger.add(queue=CHORES)
    fences = {message_id: fence for queue in (CALLS, CHORES) for message_id, fence in ledger.publish(queue)}
    now = (stale.message_id, fences[stale.message_id])
    pointers = [(doubled, fences[doubled]), now, (doubled, fences[doubled]), (stale.message_id, stale.fence)]
    pointers.append((chore, fences[chore]))
    asked = [grants.Asked(*pointer, 60.0, pointer[0] != chore) for pointer in pointers]
    found = grants.grant_all(ledger.engine, asked, worker_id=WORKER)
    assert [each and (each.message_id, each.fence, each.purpose) for each in found] == [
        (*pointers[0], "write"),
        (*now, "look_up"),
        None,
        None,
        (*pointers[4], "read"),
    ]
    assert {row["state"] for row in ledger.messages()} == {"running"}


def end_at_once(ledger: Ledger, grant: Grant) -> bool | None:
    """Whether its breaker is troubled; None when the fence was gone."""
    with ledger.engine.begin() as db:
        return attempts.complete_held(db, [(grant, ACCEPTED)]).get(grant.attempt_id)


def test_a_settle_in_one_statement_ends_the_attempt_and_deletes_the_message(ledger: Ledger) -> None:
    grant = ledger.start()
    assert end_at_once(ledger, grant) is False
    assert ledger.messages() == []
    assert [(row["status"], row["answered"]) for row in ledger.attempts(grant.message_id)] == [("success", True)]
    assert end_at_once(ledger, grant) is None


def test_a_settle_in_one_statement_writes_nothing_once_the_fence_is_gone(ledger: Ledger) -> None:
    grant = ledger.start()
    lose_fence(ledger, grant)
    assert end_at_once(ledger, grant) is None
    assert ledger.state(grant.message_id) == "ready"
    ((message_id, fence),) = ledger.publish()
    assert end_at_once(ledger, grant) is None
    again = ledger.grant(message_id, fence)
    assert again is not None
    assert end_at_once(ledger, grant) is None
    assert [row["status"] for row in ledger.attempts(grant.message_id)] == ["unknown", "try"]
    assert end_at_once(ledger, again) is not None


def test_a_settle_in_one_statement_waits_for_whoever_has_the_message_locked(ledger: Ledger) -> None:
    grant = ledger.start()
    ended: list[bool | None] = []
    settling = threading.Thread(target=lambda: ended.append(end_at_once(ledger, grant)))
    with ledger.engine.begin() as db:
        db.execute(text("UPDATE outbox_messages SET state = 'ready', worker_id = NULL, lease_expires_at = NULL"))
        settling.start()
        eventually(lambda: ledger.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    settling.join()
    assert ended == [None]
    assert ledger.attempts(grant.message_id)[0]["status"] == "try"


@pytest.mark.parametrize("trouble", ["opened_at = outbox_now(), open_until = outbox_now()", "unanswered = '{7}'"])
def test_a_settle_in_one_statement_says_whether_the_breaker_has_something_to_learn(
    ledger: Ledger, trouble: str
) -> None:
    grant = ledger.start()
    ledger.run(f"UPDATE outbox_breakers SET {trouble}")
    assert end_at_once(ledger, grant) is True


def test_a_settle_that_fails_halfway_leaves_everything_as_it_was(ledger: Ledger) -> None:
    grant = ledger.start()
    with ledger.engine.connect() as db:
        assert attempts.lock_message(db, grant)
        attempts.complete(db, grant, ACCEPTED)
        db.rollback()
    assert ledger.state(grant.message_id) == "running"
    assert ledger.attempts(grant.message_id)[0]["status"] == "try"
    assert ledger.end(grant)


def test_a_question_stays_open_until_a_settle_closes_it(ledger: Ledger) -> None:
    first = ledger.start()
    ledger.again(first, SILENCE, unresolved_why="unanswered")
    opened = ledger.row(first.message_id)
    second = ledger.start(first.message_id)
    ledger.pass_time(5)
    ledger.again(second, OUTAGE, look_ups=1, unresolved_why="duplicate")
    still = ledger.row(first.message_id)
    assert still["unresolved_since"] == opened["unresolved_since"]
    assert (still["unresolved_why"], still["look_up_count"]) == ("unanswered", 1)
    third = ledger.start(first.message_id)
    ledger.again(third, OUTAGE, resolved=True)
    closed = ledger.row(first.message_id)
    assert (closed["unresolved_since"], closed["unresolved_why"], closed["look_up_count"]) == (None, None, 0)
    assert ledger.start(first.message_id).purpose == "write"


def test_a_late_answer_is_written_to_its_own_attempt(ledger: Ledger) -> None:
    grant = ledger.start()
    lose_fence(ledger, grant)
    assert late(ledger, grant, Ending("success", answered=True, upstream_ids={"digest": "d"}))
    (attempt,) = ledger.attempts(grant.message_id)
    assert (attempt["status"], attempt["late"], attempt["upstream_ids"]) == ("success", True, {"digest": "d"})
    assert ledger.state(grant.message_id) == "ready"
    (entry,) = [row for row in ledger.history() if row["what"] == "attempt.answered_late"]
    assert (entry["moved_from"], entry["moved_to"]) == ("unknown", "success")


def test_a_late_answer_wakes_the_look_up_that_waits_for_it(ledger: Ledger) -> None:
    grant = ledger.start()
    lose_fence(ledger, grant)
    look_up = ledger.start(grant.message_id)
    ledger.again(look_up, OUTAGE, delay=600.0)
    assert ledger.state(grant.message_id) == "later"
    assert late(ledger, grant)
    assert ledger.state(grant.message_id) == "ready"


def test_a_late_answer_never_overwrites_a_success(ledger: Ledger) -> None:
    grant = ledger.start()
    lose_fence(ledger, grant)
    assert late(ledger, grant, Ending("success", upstream_ids={"digest": "first"}))
    assert not late(ledger, grant, Ending("error"))
    assert ledger.attempts(grant.message_id)[0]["upstream_ids"] == {"digest": "first"}


def test_an_answer_is_kept_even_when_its_message_is_gone(ledger: Ledger) -> None:
    grant = ledger.start()
    lose_fence(ledger, grant)
    ledger.end(ledger.start(grant.message_id))
    assert late(ledger, grant)
    assert [row["status"] for row in ledger.attempts(grant.message_id)] == ["success", "success"]


@pytest.fixture
def noted(ledger: Ledger) -> Iterator[str]:
    """A column that triggers fill with the setting under which each grant, claim and heartbeat commits."""
    ledger.run("CREATE TABLE noted (setting text)")
    ledger.run("""CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  INSERT INTO noted VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$""")
    ledger.run("CREATE TRIGGER note AFTER INSERT ON outbox_attempts FOR EACH ROW EXECUTE FUNCTION note()")
    yield "noted.setting"
    ledger.run("DROP FUNCTION note CASCADE; DROP TABLE noted")


@pytest.mark.parametrize(("writes", "setting"), [(True, "on"), (False, "off")])
def test_only_grants_of_writing_jobs_wait_for_the_disk(ledger: Ledger, noted: str, writes: bool, setting: str) -> None:
    ledger.start(writes=writes)
    assert ledger.rows(f"SELECT {noted} FROM noted") == [{"setting": setting}]


NOTE_AT_THE_END = """
    CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON {} DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION note()
"""


def test_neither_claims_nor_heartbeats_wait_for_the_disk(ledger: Ledger, noted: str) -> None:
    """Lost, a claim is made again under another fence, and a heartbeat follows."""
    for table in ("outbox_messages", "outbox_processes"):
        ledger.run(NOTE_AT_THE_END.format(table))
    ledger.add()
    assert len(ledger.publish()) == 1
    rescue.beat(ledger.engine, "w7", "worker")
    rescue.beat(ledger.engine, "w7", "worker")
    assert ledger.rows(f"SELECT {noted} FROM noted") == [{"setting": "off"}] * 2


def test_the_status_says_whether_a_settle_was_committed(ledger: Ledger) -> None:
    grant = ledger.start()
    with ledger.engine.connect() as db:
        assert attempts.status_of(db, grant.attempt_id) == "try"
    ledger.end(grant)
    with ledger.engine.connect() as db:
        assert attempts.status_of(db, grant.attempt_id) == "success"
        assert db.execute(text("SELECT count(*) FROM outbox_messages")).scalar_one() == 0
