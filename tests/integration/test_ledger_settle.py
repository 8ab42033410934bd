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
from jobs.engine.runner import WriteGuard
from outbox import breakers
from tests.integration.steps import LATER_THAN_EVER, SUBMIT, RequestedAppointment, call, file_claim, lose, take
from tests.product import Product

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
OPEN = "SELECT opened_at IS NULL FROM outbox_breakers WHERE upstream = 'btsss'"


def answered_late_during_a_resend(product: Product) -> tuple[RequestedAppointment, Any]:
    """The first submit was lost, believed absent, and is being sent again when its acceptance arrives after all."""
    requested = file_claim(product)
    first = take(product, requested)
    answer = call(product, first)
    lose(product, first)
    product.rows("UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL RETURNING 1")
    second = take(product, requested)
    assert second.purpose == "write"
    runner.finish(SUBMIT, first, answer)
    return requested, second


@pytest.mark.parametrize("ending", OUTCOMES)
@pytest.mark.parametrize("spent", [False, True])
def test_a_late_acceptance_beats_whatever_the_resend_met(product: Product, ending: str, spent: bool) -> None:
    requested, second = answered_late_during_a_resend(product)
    if spent:
        product.move_clock(LATER_THAN_EVER)
    runner.finish(SUBMIT, second, OUTCOMES[ending])
    product.work()
    (filed,) = product.filed()
    assert (requested.state["state"], requested.state["claim_number_last_four"]) == ("submitted", filed["number"][-4:])
    assert product.cases() == []
    assert product.value("SELECT count(*) FROM notifications") == 1


def test_an_answer_found_in_the_book_says_nothing_about_the_upstream(product: Product) -> None:
    requested = file_claim(product)
    first = take(product, requested)
    answer = call(product, first)
    lose(product, first)
    runner.finish(SUBMIT, first, answer)
    product.rows("""UPDATE outbox_breakers SET opened_at = outbox_now(), open_until = outbox_now() - interval '1 s'
                   WHERE upstream = 'btsss' RETURNING 1""")
    product.work(lambda: requested.state["state"] == "submitted")
    assert product.value(OPEN) is False
    assert (
        product.value("SELECT answered FROM outbox_attempts WHERE upstream = 'btsss' ORDER BY id DESC LIMIT 1") is False
    )


def test_a_late_acceptance_does_not_hide_an_outage_from_the_breaker(product: Product) -> None:
    requested = file_claim(product)
    first = take(product, requested)
    answer = call(product, first)
    lose(product, first)
    looking = take(product, requested)
    runner.finish(SUBMIT, first, answer)
    runner.finish(SUBMIT, looking, OUTCOMES["unavailable"])
    assert requested.state["state"] == "submitted"
    assert product.value(OPEN) is False


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
def test_each_outcome_tells_the_breaker_what_it_means(product: Product, ending: str, is_open: bool) -> None:
    requested = file_claim(product)
    runner.finish(SUBMIT, take(product, requested), OUTCOMES[ending])
    assert product.value(OPEN) is is_open


@pytest.mark.parametrize(("ending", "is_open"), [("unanswered", False), ("unreadable", True), ("one's token", True)])
def test_three_people_whom_it_kept_waiting_open_the_breaker_and_three_bad_records_do_not(
    product: Product, ending: str, is_open: bool
) -> None:
    for day in ("2031-05-04", "2031-05-05", "2031-05-06"):
        runner.finish(SUBMIT, take(product, file_claim(product, date=day)), OUTCOMES[ending])
    assert product.value(OPEN) is is_open


def let_a_probe_go(product: Product) -> None:
    product.rows("""UPDATE outbox_breakers SET open_until = outbox_now() - interval '1 s',
                   opened_at = outbox_now() - interval '9 s' WHERE upstream = 'btsss' RETURNING 1""")


def test_what_we_did_not_even_send_is_no_answer_of_upstreams(product: Product) -> None:
    runner.finish(SUBMIT, take(product, file_claim(product)), OUTCOMES["unavailable"])
    let_a_probe_go(product)
    probe = take(product, file_claim(product, date="2031-05-05"))
    unsent = Outcome("refused", error=Rejected("btsss", code="NO_TEMPLATE", received=False))
    runner.finish(SUBMIT, probe, unsent)
    assert product.value(OPEN) is False
    assert product.value("SELECT answered FROM outbox_attempts ORDER BY id DESC LIMIT 1") is False


@pytest.mark.parametrize("ending", ["refused", "duplicate", "unreadable"])
def test_a_probe_that_is_refused_closes_the_breaker(product: Product, ending: str) -> None:
    runner.finish(SUBMIT, take(product, file_claim(product)), OUTCOMES["unavailable"])
    assert product.value(OPEN) is False
    let_a_probe_go(product)
    probe = take(product, file_claim(product, date="2031-05-06"))
    runner.finish(SUBMIT, probe, OUTCOMES[ending])
    assert product.value(OPEN) is True


def test_a_settle_that_lost_a_deadlock_is_made_again(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    answer = call(product, held)
    fail_times(monkeypatch, 2)
    runner.finish(SUBMIT, held, answer)
    assert requested.state["state"] == "submitted"
    assert product.value("SELECT count(*) FROM notifications") == 1


def test_a_settle_whose_commit_landed_unheard_is_not_made_twice(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    answer = call(product, held)
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
    assert requested.state["state"] == "submitted"
    rows = product.rows("SELECT status, late FROM outbox_attempts WHERE upstream = 'btsss'")
    assert [tuple(row) for row in rows] == [("success", False)]
    assert product.value("SELECT count(*) FROM outbox_history WHERE what = 'travel_claim.moved'") == 1


def fail_times(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next settles fail in their last statement, as a deadlock's victim does."""
    tell, left = settle.report_to_breaker, [True] * times

    def fail_first(*args: Any) -> None:
        if left:
            left.pop()
            raise OperationalError("UPDATE", {}, DeadlockDetected(), connection_invalidated=True)
        tell(*args)

    monkeypatch.setattr(settle, "report_to_breaker", fail_first)


def test_an_answer_that_cannot_be_settled_is_kept_on_its_attempt(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    answer = call(product, held)

    def broken(*args: Any) -> None:
        raise ValueError("a fault of our own")

    with monkeypatch.context() as broken_once:
        broken_once.setattr(settle, "report_to_breaker", broken)
        runner.finish(SUBMIT, held, answer)
    message = requested.message
    assert (message["state"], message["unresolved_why"]) == ("later", "unanswered")
    product.rows("UPDATE outbox_messages SET state = 'ready' RETURNING 1")
    product.work()
    (filed,) = product.filed()
    assert requested.state["claim_number_last_four"] == filed["number"][-4:]
    assert len(product.submits()) == 1


def test_nothing_of_postgres_is_held_during_the_call(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the upstream thinks, this process has no transaction open and no connection out of its pool."""
    seen: list[int] = []
    btsss = product.app.extensions["upstreams"].btsss
    submit = btsss.submit_claim

    def watched(*args: Any) -> Any:
        seen.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
        return submit(*args)

    monkeypatch.setattr(btsss, "submit_claim", watched)
    requested = file_claim(product)
    product.work()
    assert requested.state["state"] == "submitted"
    assert seen == [0]


def test_budgets_run_in_breaker_closed_time(product: Product) -> None:
    """Twenty-six hours of outage leave the claim's twenty-five hours of trying untouched."""
    requested = file_claim(product)
    held = take(product, requested)
    runner.finish(SUBMIT, held, OUTCOMES["unavailable"])
    product.move_clock(LATER_THAN_EVER / 4)
    with db.engine.begin() as connection:
        assert breakers.closed_seconds(connection, "btsss", held.budget_from) < 60
    runner.finish(SUBMIT, take(product, requested), OUTCOMES["unavailable"])
    assert requested.state["state"] == "pending"
    rows = product.rows("SELECT charged FROM outbox_attempts")
    assert [row[0] for row in rows] == [False, False]


@pytest.mark.parametrize(("left", "stopping"), [(2.9, False), (60.0, True)])
def test_a_write_that_may_outlast_its_lease_or_its_process_is_handed_back_unsent(
    product: Product, left: float, stopping: bool
) -> None:
    """A submit may take three seconds here. What is handed back costs no attempt and opens no question."""
    requested = file_claim(product)
    held = take(product, requested)
    process, config = product.app.extensions["process"], product.app.extensions["config"]
    if stopping:
        process.stopping.set()
    write_guard = WriteGuard(process, time.monotonic() + left, SUBMIT.call_seconds(config))
    runner.finish(SUBMIT, held, runner.attempt(SUBMIT, held, config, write_guard))
    assert product.submits() == []
    message = requested.message
    assert (message["state"], message["unresolved_since"], message["charged_attempts"]) == ("ready", None, 0)
    process.stopping.clear()
    product.work()
    assert requested.state["state"] == "submitted"
