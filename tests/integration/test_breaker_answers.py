"""An upstream's real answers and its breaker: how long it stays open, and what proves the upstream alive."""

from __future__ import annotations

import time
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from flaskapp import clock
from jobs.engine import runner
from jobs.travel_claims import SUBMIT as FILE
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import pass_time
from tests.integration.steps import call, file_claim, publish, reconfigure, take
from tests.product import Product

CAP_SECONDS = 900.0
SUBMIT = "submitclaim"


def run_one(product: Product) -> None:
    """One round of the relay, and whatever it let through."""
    publish(product)
    product.run_queued()


def fail(product: Product, kind: str, **fault: Any) -> float:
    """BTSSS fails the next submission; returns for how many seconds the breaker is then open."""
    reconfigure(product, breaker_open_seconds=15.0, breaker_cap_seconds=CAP_SECONDS)
    product.control.set("btsss", kind, operation=SUBMIT, times=1, **fault)
    file_claim(product)
    run_one(product)
    return seconds_open(product)


def seconds_open(product: Product) -> float:
    query = "SELECT extract(epoch FROM open_until - outbox_now()) FROM outbox_breakers WHERE upstream = 'btsss'"
    return float(product.value(query))


def is_closed(product: Product) -> bool:
    return bool(product.value("SELECT opened_at IS NULL FROM outbox_breakers WHERE upstream = 'btsss'"))


def http_date(**ahead: float) -> str:
    return format_datetime((clock.now() + timedelta(**ahead)).replace(microsecond=0), usegmt=True)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (lambda: "77", 77),
        (lambda: "0", 15),
        (lambda: "-60", 15),
        (lambda: http_date(seconds=4), 15),
        (lambda: "9" * 20, CAP_SECONDS),
        (lambda: http_date(minutes=5), 300),
        (lambda: "86400", CAP_SECONDS),
        (lambda: http_date(days=2), CAP_SECONDS),
        (lambda: http_date(minutes=-5), 15),
        (lambda: "in a while", 15),
    ],
    ids=[
        "seconds",
        "none",
        "negative",
        "four seconds",
        "far too long",
        "a date",
        "a day",
        "a date in two days",
        "a date in the past",
        "nonsense",
    ],
)
def test_retry_after_is_obeyed_but_never_for_more_than_fifteen_minutes(
    product: Product, retry_after: Any, seconds: float
) -> None:
    began = time.monotonic()
    left = fail(product, "throttle", retry_after=retry_after())
    # A date has no fractions of a second.
    assert seconds - 1 - (time.monotonic() - began) <= left <= seconds


@pytest.mark.parametrize(("habit", "ends"), [("refused", "failed"), ("duplicate", "duplicate")])
def test_a_probe_that_is_refused_or_a_duplicate_proves_the_upstream_alive(
    product: Product, habit: str, ends: str
) -> None:
    fail(product, "throttle")
    assert not is_closed(product)
    product.control.play("btsss", habit)
    pass_time(product, seconds=20)
    run_one(product)
    assert is_closed(product)
    product.work()
    assert product.value("SELECT state FROM travel_claims") == ends
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0


def test_unanswered_writes_with_a_retry_after_open_the_breaker_until_then(product: Product) -> None:
    """A write answered with 503 may have happened, and one says little; its header counts when the breaker opens."""
    reconfigure(product, breaker_open_seconds=15.0, breaker_cap_seconds=CAP_SECONDS)
    product.control.set("btsss", "status", status=503, retry_after="120", operation=SUBMIT)
    for veteran in DEFAULT_CAST[:3]:
        file_claim(product, veteran)
    began = time.monotonic()
    run_one(product)
    left = seconds_open(product)
    assert 120 - (time.monotonic() - began) <= left <= 120


STRANGERS = [
    (404, '{"message":"no Route matched with those values"}'),
    (404, "{}"),
    (405, '{"result":"error","message":"Method not allowed"}'),
    (400, "<html>Bad request</html>"),
]


@pytest.mark.parametrize(("status", "body"), STRANGERS)
def test_claims_answered_by_a_stranger_open_the_breaker_once_three_people_met_it_and_are_filed_later(
    product: Product, status: int, body: str
) -> None:
    reconfigure(product, breaker_open_seconds=15.0, breaker_cap_seconds=CAP_SECONDS)
    product.control.set("btsss", "answer", status=status, body=body, operation=SUBMIT)
    claims = [file_claim(product), file_claim(product, date="2031-06-01"), file_claim(product, date="2031-06-02")]
    for _ in range(3):
        run_one(product)
        assert is_closed(product)
        pass_time(product, hours=1)
    # A lone one comes back less and less often, as long as nothing shows an outage.
    assert product.value("SELECT min(charged_attempts) FROM outbox_messages") == 2
    claims += [file_claim(product, veteran) for veteran in DEFAULT_CAST[1:3]]
    run_one(product)
    assert not is_closed(product)
    product.control.clear("btsss")
    pass_time(product, hours=1)
    product.work()
    assert {claim.state["state"] for claim in claims} == {"submitted"}
    assert (len(product.filed()), product.cases()) == (5, [])


def test_a_claim_answered_by_a_stranger_while_others_are_filed_opens_no_breaker(product: Product) -> None:
    poisoned, other = file_claim(product), file_claim(product, date="2031-06-01")
    first, second = take(product, poisoned), take(product, other)
    runner.finish(FILE, second, call(product, second, FILE))
    product.control.set("btsss", "answer", status=404, body="{}", operation=SUBMIT, times=1)
    runner.finish(FILE, first, call(product, first, FILE))
    assert is_closed(product)
    assert (poisoned.message["state"], product.cases()) == ("later", [])
    product.work()
    assert (len(product.filed()), product.cases()) == (2, [])
