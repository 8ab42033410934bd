"""Eras: by what a ledger notices that its database was set back, and what it then leaves alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy import text

from outbox import eras, grants, restores
from outbox.write import RESTORED, add, write_history
from tests.ledger import CALLS, JOB, Ledger

LIMITS = {"deadline_seconds": 60.0, "give_up_seconds": 60.0}


def set_back(ledger: Ledger, seconds: float) -> None:
    """The database is as it was then, and Redis is as it is."""
    eras.look(ledger.engine, ledger.redis)
    ledger.run("UPDATE outbox_era SET beat_at = beat_at - make_interval(secs => :by)", by=seconds)


def record(ledger: Ledger, **times: timedelta) -> int:
    """Record a restore to an hour ago; returns its id."""
    with ledger.engine.begin() as db:
        now = db.execute(text("SELECT outbox_now()")).scalar_one()
        since, until = now - timedelta(hours=1), now + times.get("look_first_for", timedelta(days=30))
        return restores.begin(
            db, restored_to=since, lost_at=now, look_first_until=until, actor="shell:somebody", reason="for a test"
        )


def mark(ledger: Ledger, batch: int = 5000) -> int:
    with ledger.engine.begin() as db:
        restore = restores.unfinished(db)
        assert restore is not None
        return restores.mark(db, restore, "shell:somebody", batch)


def test_a_database_that_was_set_back_by_more_than_seconds_moves_nothing_until_a_new_era(ledger: Ledger) -> None:
    message_id = ledger.add(give_up=-1.0)
    ((_, fence),) = ledger.publish()
    set_back(ledger, eras.LOST_SECONDS + 10)
    relay = ledger.another_relay()
    relay.run_once()
    assert relay.doubt is not None and "Redis knows of" in relay.doubt
    assert ledger.grant(message_id, fence) is None, "a pointer from before finds nothing either"
    relay.run_once()
    with ledger.engine.begin() as db:
        assert grants.seize_overdue(db, fence=1, worker_id="sweep") is None
        assert (eras.doubt(db), ledger.state(message_id)) == (relay.doubt, "ready")
        eras.renew(db)
    assert eras.look(ledger.engine, ledger.redis) is None
    assert ledger.start(message_id).message_id == message_id


def test_a_failover_that_lost_seconds_goes_on_by_itself(ledger: Ledger) -> None:
    set_back(ledger, eras.LOST_SECONDS - 10)
    assert eras.look(ledger.engine, ledger.redis) is None


def test_a_flushed_redis_raises_no_doubt(ledger: Ledger) -> None:
    set_back(ledger, 3600)
    ledger.redis.flushall()
    assert eras.look(ledger.engine, ledger.redis) is None


def test_nothing_beats_before_redis_was_asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat would hide from the next relay that the database was set back."""
    set_back(ledger, 3600)

    def away(*_: object) -> None:
        raise RedisAway

    with monkeypatch.context() as patch:
        patch.setattr(Redis, "get", away)
        assert eras.look(ledger.engine, ledger.redis) is None
    assert eras.look(ledger.engine, ledger.redis) is not None


def test_a_beat_of_another_relay_between_the_two_looks_is_no_restore(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an hour without a relay, two begin: one beats after the other read Postgres, and before it asks Redis."""
    set_back(ledger, 3600)
    ledger.redis.flushall()
    asked: list[str] = []

    def asked_a_little_later(redis: Redis, key: str) -> object:
        asked.append(key)
        if len(asked) == 1:
            assert eras.look(ledger.engine, ledger.redis) is None
        return really(redis, key)

    really = Redis.get
    monkeypatch.setattr(Redis, "get", asked_a_little_later)
    assert eras.look(ledger.engine, ledger.redis) is None
    with ledger.engine.begin() as db:
        assert eras.doubt(db) is None
    assert len(asked) == 2, "both compared"


def test_tables_made_anew_raise_the_doubt_without_redis(ledger: Ledger) -> None:
    eras.look(ledger.engine, ledger.redis)
    ledger.run("UPDATE outbox_era SET messages_oid = 1")
    message_id = ledger.add()
    ((_, fence),) = ledger.publish()
    assert ledger.grant(message_id, fence) is None
    ledger.redis.flushall()
    assert eras.look(ledger.engine, ledger.redis) == eras.DUMPED


def test_marking_opens_the_question_on_everything_and_goes_on_where_it_was_cut_short(ledger: Ledger) -> None:
    running = ledger.start()
    parked = ledger.start()
    ledger.park(parked)
    ledger.add(delay=60.0)
    restore_id = record(ledger)
    assert (mark(ledger, batch=2), mark(ledger, batch=2), mark(ledger, batch=2)) == (2, 1, 0)
    rows = ledger.rows("SELECT state, unresolved_why FROM outbox_messages ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [(state, RESTORED) for state in ("ready", "parked", "later")]
    assert [row["status"] for row in ledger.attempts(running.message_id)] == ["unknown"]
    noted = ledger.rows("SELECT detail, actor FROM outbox_history WHERE what = 'message.in_doubt'")
    assert [(row["detail"], row["actor"]) for row in noted] == [({"restore": restore_id}, "shell:somebody")] * 3


def test_what_upstream_called_a_duplicate_before_stays_one(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.again(grant, unresolved_why="duplicate")
    record(ledger)
    mark(ledger)
    assert ledger.row(grant.message_id)["unresolved_why"] == "duplicate"


@pytest.mark.parametrize("days", [30, -1])
def test_what_is_added_in_the_time_after_a_restore_is_looked_up_where_it_may_have_been_done(
    ledger: Ledger, days: int
) -> None:
    with ledger.engine.begin() as db:
        write_history(db, "toy", "old", "toy.requested")
    record(ledger, look_first_for=timedelta(days=days))

    def why(subject: str, **options: object) -> str | None:
        with ledger.engine.begin() as db:
            if subject == "follows":
                restores.pass_on(db)
            toy = {"subject_type": "toy", "subject_id": subject}
            found = add(db, job=JOB, queue=CALLS.name, **toy, **LIMITS, **options)  # type: ignore[arg-type]
        return ledger.row(found)["unresolved_why"]  # type: ignore[no-any-return, arg-type]

    expected = RESTORED if days > 0 else None
    assert why("of an old one", about=("toy", "old")) == why("filed again", look_first=True) == expected
    assert why("follows") == expected
    assert (why("of a new one", about=("toy", "new")), why("new")) == (None, None)
