"""What a settle makes of an outcome: siblings first, the gate told only what was heard, the answer never dropped."""

from __future__ import annotations

import time
from typing import Any

import pytest
from psycopg2.errors import DeadlockDetected
from sqlalchemy.exc import OperationalError

from flaskapp.db import db
from flaskapp.upstreams.errors import Duplicate, Rejected, Throttled, Unanswered, Unauthorized, Unavailable
from jobs.engine import runner, settle
from jobs.engine.outcome import Outcome
from jobs.engine.runner import Pen
from outbox import gates
from tests.house import House
from tests.integration.steps import LATER_THAN_EVER, SUBMIT, Asked, call, file_claim, lose, take

OUTCOMES = {
    "refused": Outcome("refused", error=Rejected("btsss")),
    "unavailable": Outcome("later", error=Unavailable("btsss")),
    "throttled": Outcome("later", error=Throttled("btsss", retry_after=1.0)),
    "unanswered": Outcome("unknown", error=Unanswered("btsss")),
    "timed out": Outcome("later", error=Unavailable("btsss", timed_out=True)),
    "unreadable": Outcome("later", error=Unavailable("btsss", http_status=200)),
    "one's token": Outcome("later", error=Unauthorized("btsss", http_status=401, code="BTSSS_TOKEN")),
    "our token": Outcome("later", error=Unauthorized("btsss", http_status=401)),
    "duplicate": Outcome("duplicate", error=Duplicate("btsss")),
    "handed back": Outcome("handed_back"),
    "broken": Outcome("broken", error=ValueError()),
}
OPEN = "SELECT closed_at IS NULL FROM outbox_gates WHERE upstream = 'btsss'"


def answered_late_during_a_resend(house: House) -> tuple[Asked, Any]:
    """The first submit was lost, believed absent, and is being sent again when its acceptance arrives after all."""
    asked = file_claim(house)
    first = take(house, asked)
    answer = call(house, first)
    lose(house, first)
    house.rows("UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL RETURNING 1")
    second = take(house, asked)
    assert second.purpose == "write"
    runner.finish(SUBMIT, first, answer)
    return asked, second


@pytest.mark.parametrize("ending", OUTCOMES)
@pytest.mark.parametrize("spent", [False, True])
def test_a_late_acceptance_beats_whatever_the_resend_met(house: House, ending: str, spent: bool) -> None:
    asked, second = answered_late_during_a_resend(house)
    if spent:
        house.move_clock(LATER_THAN_EVER)
    runner.finish(SUBMIT, second, OUTCOMES[ending])
    house.work()
    (filed,) = house.filed()
    assert (asked.state["state"], asked.state["claim_number_last_four"]) == ("submitted", filed["number"][-4:])
    assert house.cases() == []
    assert house.value("SELECT count(*) FROM notifications") == 1


def test_an_answer_found_in_the_book_says_nothing_about_the_upstream(house: House) -> None:
    asked = file_claim(house)
    first = take(house, asked)
    answer = call(house, first)
    lose(house, first)
    runner.finish(SUBMIT, first, answer)
    house.rows("""UPDATE outbox_gates SET closed_at = outbox_now(), closed_until = outbox_now() - interval '1 s'
                   WHERE upstream = 'btsss' RETURNING 1""")
    house.work(lambda: asked.state["state"] == "submitted")
    assert house.value(OPEN) is False
    assert (
        house.value("SELECT answered FROM outbox_attempts WHERE upstream = 'btsss' ORDER BY id DESC LIMIT 1") is False
    )


def test_a_late_acceptance_does_not_hide_an_outage_from_the_gate(house: House) -> None:
    asked = file_claim(house)
    first = take(house, asked)
    answer = call(house, first)
    lose(house, first)
    looking = take(house, asked)
    runner.finish(SUBMIT, first, answer)
    runner.finish(SUBMIT, looking, OUTCOMES["unavailable"])
    assert asked.state["state"] == "submitted"
    assert house.value(OPEN) is False


@pytest.mark.parametrize(
    ("ending", "is_open"),
    [
        ("refused", True),
        ("duplicate", True),
        ("unavailable", False),
        ("throttled", False),
        ("our token", False),
        ("unanswered", True),
        ("timed out", False),
        ("unreadable", True),
        ("one's token", True),
        ("broken", True),
    ],
)
def test_each_outcome_tells_the_gate_what_it_means(house: House, ending: str, is_open: bool) -> None:
    asked = file_claim(house)
    runner.finish(SUBMIT, take(house, asked), OUTCOMES[ending])
    assert house.value(OPEN) is is_open


@pytest.mark.parametrize(("ending", "is_open"), [("unanswered", False), ("unreadable", True), ("one's token", True)])
def test_three_people_whom_it_kept_waiting_close_the_gate_and_three_bad_records_do_not(
    house: House, ending: str, is_open: bool
) -> None:
    for day in ("2031-05-04", "2031-05-05", "2031-05-06"):
        runner.finish(SUBMIT, take(house, file_claim(house, date=day)), OUTCOMES[ending])
    assert house.value(OPEN) is is_open


def let_a_canary_go(house: House) -> None:
    house.rows("""UPDATE outbox_gates SET closed_until = outbox_now() - interval '1 s',
                   closed_at = outbox_now() - interval '9 s' WHERE upstream = 'btsss' RETURNING 1""")


def test_what_we_did_not_even_send_is_no_answer_of_upstreams(house: House) -> None:
    runner.finish(SUBMIT, take(house, file_claim(house)), OUTCOMES["unavailable"])
    let_a_canary_go(house)
    canary = take(house, file_claim(house, date="2031-05-05"))
    unsent = Outcome("refused", error=Rejected("btsss", code="NO_TEMPLATE", heard=False))
    runner.finish(SUBMIT, canary, unsent)
    assert house.value(OPEN) is False
    assert house.value("SELECT answered FROM outbox_attempts ORDER BY id DESC LIMIT 1") is False


@pytest.mark.parametrize("ending", ["refused", "duplicate", "unreadable"])
def test_a_canary_that_is_refused_opens_the_gate(house: House, ending: str) -> None:
    runner.finish(SUBMIT, take(house, file_claim(house)), OUTCOMES["unavailable"])
    assert house.value(OPEN) is False
    let_a_canary_go(house)
    canary = take(house, file_claim(house, date="2031-05-06"))
    runner.finish(SUBMIT, canary, OUTCOMES[ending])
    assert house.value(OPEN) is True


def test_a_settle_that_lost_a_deadlock_is_made_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    answer = call(house, held)
    fail_times(monkeypatch, 2)
    runner.finish(SUBMIT, held, answer)
    assert asked.state["state"] == "submitted"
    assert house.value("SELECT count(*) FROM notifications") == 1


def test_a_settle_whose_commit_landed_unheard_is_not_made_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    answer = call(house, held)
    commit = db.session.commit
    lost: list[bool] = []

    def commit_and_lose_the_answer() -> None:
        commit()
        if not lost:
            lost.append(True)
            raise OperationalError("COMMIT", {}, DeadlockDetected(), connection_invalidated=True)

    monkeypatch.setattr(db.session, "commit", commit_and_lose_the_answer)
    runner.finish(SUBMIT, held, answer)
    assert lost
    assert asked.state["state"] == "submitted"
    rows = house.rows("SELECT status, late FROM outbox_attempts WHERE upstream = 'btsss'")
    assert [tuple(row) for row in rows] == [("success", False)]
    assert house.value("SELECT count(*) FROM outbox_history WHERE what = 'travel_claim.moved'") == 1


def fail_times(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next settles fail in their last statement, as a deadlock's victim does."""
    tell, left = settle.tell_gate, [True] * times

    def fail_first(*args: Any) -> None:
        if left:
            left.pop()
            raise OperationalError("UPDATE", {}, DeadlockDetected(), connection_invalidated=True)
        tell(*args)

    monkeypatch.setattr(settle, "tell_gate", fail_first)


def test_an_answer_that_cannot_be_settled_is_kept_on_its_attempt(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    answer = call(house, held)

    def broken(*args: Any) -> None:
        raise ValueError("a fault of our own")

    with monkeypatch.context() as broken_once:
        broken_once.setattr(settle, "tell_gate", broken)
        runner.finish(SUBMIT, held, answer)
    message = asked.message
    assert (message["state"], message["unresolved_why"]) == ("later", "unanswered")
    house.rows("UPDATE outbox_messages SET state = 'ready' RETURNING 1")
    house.work()
    (filed,) = house.filed()
    assert asked.state["claim_number_last_four"] == filed["number"][-4:]
    assert len(house.submits()) == 1


def test_nothing_of_postgres_is_held_during_the_call(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the upstream thinks, this process has no transaction open and no connection out of its pool."""
    seen: list[int] = []
    btsss = house.app.extensions["upstreams"].btsss
    submit = btsss.submit_claim

    def watched(*args: Any) -> Any:
        seen.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
        return submit(*args)

    monkeypatch.setattr(btsss, "submit_claim", watched)
    asked = file_claim(house)
    house.work()
    assert asked.state["state"] == "submitted"
    assert seen == [0]


def test_budgets_run_in_gate_open_time(house: House) -> None:
    """Twenty-six hours of outage leave the claim's twenty-five hours of trying untouched."""
    asked = file_claim(house)
    held = take(house, asked)
    runner.finish(SUBMIT, held, OUTCOMES["unavailable"])
    house.move_clock(LATER_THAN_EVER / 4)
    with db.engine.begin() as connection:
        assert gates.open_seconds(connection, "btsss", held.budget_from) < 60
    runner.finish(SUBMIT, take(house, asked), OUTCOMES["unavailable"])
    assert asked.state["state"] == "pending"
    rows = house.rows("SELECT charged FROM outbox_attempts")
    assert [row[0] for row in rows] == [False, False]


@pytest.mark.parametrize(("left", "stopping"), [(2.9, False), (60.0, True)])
def test_a_write_that_may_outlast_its_lease_or_its_process_is_handed_back_unsent(
    house: House, left: float, stopping: bool
) -> None:
    """A submit may take three seconds here. What is handed back costs no attempt and opens no question."""
    asked = file_claim(house)
    held = take(house, asked)
    process, config = house.app.extensions["process"], house.app.extensions["config"]
    if stopping:
        process.stopping.set()
    pen = Pen(process, time.monotonic() + left, SUBMIT.call_seconds(config))
    runner.finish(SUBMIT, held, runner.attempt(SUBMIT, held, config, pen))
    assert house.submits() == []
    message = asked.message
    assert (message["state"], message["unresolved_since"], message["charged_attempts"]) == ("ready", None, 0)
    process.stopping.clear()
    house.work()
    assert asked.state["state"] == "submitted"
