"""What a settle makes of an outcome: late answers count, no answer is lost, the breaker learns what it means."""

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
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.steps import LATER_THAN_EVER, SUBMIT, RequestedClaim, call, file_claim, lose, take
from tests.product import Product

OUTCOMES = {
    "refused": Outcome("refused", error=Rejected("btsss")),
    "unavailable": Outcome("later", error=Unavailable("btsss", unreachable=True)),
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
CLOSED = "SELECT opened_at IS NULL FROM outbox_breakers WHERE upstream = 'btsss'"


def answered_late_during_a_resend(product: Product) -> tuple[RequestedClaim, Any]:
    """The first submit was lost and confirmed absent, and is sent again when its acceptance arrives after all."""
    claim = file_claim(product)
    first = take(product, claim)
    answer = call(product, first)
    lose(product, first)
    product.rows("UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL RETURNING 1")
    second = take(product, claim)
    assert second.purpose == "write"
    runner.finish(SUBMIT, first, answer)
    return claim, second


@pytest.mark.parametrize("ending", OUTCOMES)
@pytest.mark.parametrize("spent", [False, True])
def test_a_late_acceptance_wins_over_any_outcome_of_the_resend(product: Product, ending: str, spent: bool) -> None:
    claim, second = answered_late_during_a_resend(product)
    if spent:
        product.move_clock(LATER_THAN_EVER)
    runner.finish(SUBMIT, second, OUTCOMES[ending])
    product.work()
    (filed,) = product.filed()
    assert (claim.state["state"], claim.state["claim_number_last_four"]) == ("submitted", filed["number"][-4:])
    assert product.cases() == []
    assert product.value("SELECT count(*) FROM notifications") == 1


def test_an_answer_read_from_the_ledger_says_nothing_about_the_upstream(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    answer = call(product, first)
    lose(product, first)
    runner.finish(SUBMIT, first, answer)
    product.rows("""UPDATE outbox_breakers SET opened_at = outbox_now(), open_until = outbox_now() - interval '1 s'
                   WHERE upstream = 'btsss' RETURNING 1""")
    product.work(lambda: claim.state["state"] == "submitted")
    assert product.value(CLOSED) is False
    assert (
        product.value("SELECT answered FROM outbox_attempts WHERE upstream = 'btsss' ORDER BY id DESC LIMIT 1") is False
    )


def test_a_late_acceptance_does_not_hide_an_outage_from_the_breaker(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    answer = call(product, first)
    lose(product, first)
    look_up = take(product, claim)
    runner.finish(SUBMIT, first, answer)
    runner.finish(SUBMIT, look_up, OUTCOMES["unavailable"])
    assert claim.state["state"] == "submitted"
    assert product.value(CLOSED) is False


@pytest.mark.parametrize(
    ("ending", "is_closed"),
    [
        ("refused", True),
        ("duplicate", True),
        ("unavailable", False),
        ("throttled", False),
        ("our token", True),
        ("unanswered", True),
        ("timed out", True),
        ("unreadable", True),
        ("one's token", True),
        ("broken", True),
    ],
)
def test_each_outcome_reports_its_meaning_to_the_breaker(product: Product, ending: str, is_closed: bool) -> None:
    claim = file_claim(product)
    runner.finish(SUBMIT, take(product, claim), OUTCOMES[ending])
    assert product.value(CLOSED) is is_closed


@pytest.mark.parametrize(("ending", "is_closed"), [("unanswered", False), ("unreadable", True), ("one's token", True)])
def test_three_peoples_unanswered_claims_open_the_breaker_and_three_bad_records_do_not(
    product: Product, ending: str, is_closed: bool
) -> None:
    for day in ("2031-05-04", "2031-05-05", "2031-05-06"):
        runner.finish(SUBMIT, take(product, file_claim(product, date=day)), OUTCOMES[ending])
    assert product.value(CLOSED) is True
    for veteran in DEFAULT_CAST[1:3]:
        runner.finish(SUBMIT, take(product, file_claim(product, veteran)), OUTCOMES[ending])
    assert product.value(CLOSED) is is_closed


def test_our_token_is_refused_once_two_people_met_it(product: Product) -> None:
    for day in ("2031-05-04", "2031-05-05"):
        runner.finish(SUBMIT, take(product, file_claim(product, date=day)), OUTCOMES["our token"])
    assert product.value(CLOSED) is True
    runner.finish(SUBMIT, take(product, file_claim(product, DEFAULT_CAST[1])), OUTCOMES["our token"])
    assert product.value("SELECT reason FROM outbox_breakers WHERE upstream = 'btsss'") == "unauthorized"


def make_a_probe_due(product: Product) -> None:
    product.rows("""UPDATE outbox_breakers SET open_until = outbox_now() - interval '1 s',
                   opened_at = outbox_now() - interval '9 s' WHERE upstream = 'btsss' RETURNING 1""")


def test_a_call_that_was_never_sent_is_no_answer_of_the_upstream(product: Product) -> None:
    runner.finish(SUBMIT, take(product, file_claim(product)), OUTCOMES["unavailable"])
    make_a_probe_due(product)
    probe = take(product, file_claim(product, date="2031-05-05"))
    unsent = Outcome("refused", error=Rejected("btsss", code="NO_TEMPLATE", from_upstream=False))
    runner.finish(SUBMIT, probe, unsent)
    assert product.value(CLOSED) is False
    assert product.value("SELECT answered FROM outbox_attempts ORDER BY id DESC LIMIT 1") is False


@pytest.mark.parametrize("ending", ["refused", "duplicate", "unreadable"])
def test_a_probe_that_is_refused_closes_the_breaker(product: Product, ending: str) -> None:
    runner.finish(SUBMIT, take(product, file_claim(product)), OUTCOMES["unavailable"])
    assert product.value(CLOSED) is False
    make_a_probe_due(product)
    probe = take(product, file_claim(product, date="2031-05-06"))
    runner.finish(SUBMIT, probe, OUTCOMES[ending])
    assert product.value(CLOSED) is True


def test_a_settle_that_lost_a_deadlock_is_repeated(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    answer = call(product, granted)
    fail_times(monkeypatch, 2)
    runner.finish(SUBMIT, granted, answer)
    assert claim.state["state"] == "submitted"
    assert product.value("SELECT count(*) FROM notifications") == 1


def test_a_settle_whose_commit_was_not_confirmed_is_not_repeated(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    answer = call(product, granted)
    commit = db.session.commit
    lost: list[bool] = []

    def commit_and_lose_the_answer() -> None:
        commit()
        if not lost:
            lost.append(True)
            raise OperationalError("COMMIT", {}, DeadlockDetected(), connection_invalidated=True)

    monkeypatch.setattr(db.session, "commit", commit_and_lose_the_answer)
    runner.finish(SUBMIT, granted, answer)
    assert lost
    assert claim.state["state"] == "submitted"
    rows = product.rows("SELECT status, late FROM outbox_attempts WHERE upstream = 'btsss'")
    assert [tuple(row) for row in rows] == [("success", False)]
    assert product.value("SELECT count(*) FROM outbox_history WHERE what = 'travel_claim.moved'") == 1


def fail_times(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next settles fail in their last statement, like the victim of a deadlock."""
    report, left = settle.report_to_breaker, [True] * times

    def fail_first(*args: Any, **options: Any) -> None:
        if left:
            left.pop()
            raise OperationalError("UPDATE", {}, DeadlockDetected(), connection_invalidated=True)
        report(*args, **options)

    monkeypatch.setattr(settle, "report_to_breaker", fail_first)


def test_an_answer_that_cannot_be_settled_is_kept_on_its_attempt(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    answer = call(product, granted)

    def broken(*args: Any, **options: Any) -> None:
        raise ValueError("a fault of our own")

    with monkeypatch.context() as broken_once:
        broken_once.setattr(settle, "report_to_breaker", broken)
        runner.finish(SUBMIT, granted, answer)
    message = claim.message
    assert (message["state"], message["unresolved_why"]) == ("later", "unanswered")
    product.rows("UPDATE outbox_messages SET state = 'ready' RETURNING 1")
    product.work()
    (filed,) = product.filed()
    assert claim.state["claim_number_last_four"] == filed["number"][-4:]
    assert len(product.submits()) == 1


def test_no_database_connection_is_held_during_the_call(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the upstream works, this process has no transaction open and no connection out of its pool."""
    seen: list[int] = []
    btsss = product.app.extensions["upstreams"].btsss
    submit = btsss.submit_claim

    def watched(*args: Any) -> Any:
        seen.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
        return submit(*args)

    monkeypatch.setattr(btsss, "submit_claim", watched)
    claim = file_claim(product)
    product.work()
    assert claim.state["state"] == "submitted"
    assert seen == [0]


def test_budgets_run_only_while_the_breaker_is_closed(product: Product) -> None:
    """Twenty-six hours of outage use up none of the claim's twenty-five hours."""
    claim = file_claim(product)
    granted = take(product, claim)
    runner.finish(SUBMIT, granted, OUTCOMES["unavailable"])
    product.move_clock(LATER_THAN_EVER / 4)
    with db.engine.begin() as connection:
        assert breakers.closed_seconds(connection, "btsss", granted.budget_from) < 60
    runner.finish(SUBMIT, take(product, claim), OUTCOMES["unavailable"])
    assert claim.state["state"] == "pending"
    rows = product.rows("SELECT charged FROM outbox_attempts")
    assert [row[0] for row in rows] == [False, False]


@pytest.mark.parametrize(("left", "stopping"), [(2.9, False), (60.0, True)])
def test_a_write_that_may_outlast_its_lease_or_process_is_handed_back_unsent(
    product: Product, left: float, stopping: bool
) -> None:
    """A submit may take three seconds here. Handing back charges no attempt and opens no question."""
    claim = file_claim(product)
    granted = take(product, claim)
    process, config = product.app.extensions["process"], product.app.extensions["config"]
    if stopping:
        process.stopping.set()
    write_guard = WriteGuard(process, time.monotonic() + left, SUBMIT.call_seconds(config))
    runner.finish(SUBMIT, granted, runner.attempt(SUBMIT, granted, config, write_guard))
    assert product.submits() == []
    message = claim.message
    assert (message["state"], message["unresolved_since"], message["charged_attempts"]) == ("ready", None, 0)
    process.stopping.clear()
    product.work()
    assert claim.state["state"] == "submitted"
