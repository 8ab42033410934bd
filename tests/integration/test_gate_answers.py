"""What an upstream's real answers do to its gate: how long it asks to be left alone, and what proves it alive."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from flaskapp import clock
from tests.house import House
from tests.integration.itf_steps import pass_time
from tests.integration.steps import file_claim, publish, reconfigure

CAP_SECONDS = 900.0
SUBMIT = "submitclaim"


def run_one(house: House) -> None:
    """One round of the relay, and whatever it let through."""
    publish(house)
    house.run_queued()


def fail(house: House, kind: str, **fault: Any) -> float:
    """BTSSS fails the next submission; for how many seconds it is then left alone."""
    reconfigure(house, gate_close_seconds=15.0, gate_cap_seconds=CAP_SECONDS)
    house.control.set("btsss", kind, operation=SUBMIT, times=1, **fault)
    file_claim(house)
    run_one(house)
    return seconds_closed(house)


def seconds_closed(house: House) -> float:
    query = "SELECT extract(epoch FROM closed_until - outbox_now()) FROM outbox_gates WHERE upstream = 'btsss'"
    return float(house.value(query))


def is_open(house: House) -> bool:
    return bool(house.value("SELECT closed_at IS NULL FROM outbox_gates WHERE upstream = 'btsss'"))


def http_date(**ahead: float) -> str:
    return format_datetime((clock.now() + timedelta(**ahead)).replace(microsecond=0), usegmt=True)


@pytest.mark.parametrize(
    ("asked", "seconds"),
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
        "a moment",
        "for ever",
        "a date",
        "a day",
        "a date in two days",
        "a date that is past",
        "nonsense",
    ],
)
def test_asked_to_come_back_later_we_do_but_never_later_than_in_fifteen_minutes(
    house: House, asked: Any, seconds: float
) -> None:
    assert seconds - 3 < fail(house, "throttle", retry_after=asked()) <= seconds


@pytest.mark.parametrize(("habit", "ends"), [("refused", "failed"), ("duplicate", "duplicate")])
def test_a_canary_that_is_refused_or_there_already_proves_the_upstream_alive(
    house: House, habit: str, ends: str
) -> None:
    fail(house, "throttle")
    assert not is_open(house)
    house.control.play("btsss", habit)
    pass_time(house, seconds=20)
    run_one(house)
    assert is_open(house)
    house.work()
    assert house.value("SELECT state FROM travel_claims") == ends
    assert house.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0


def test_silence_that_says_when_to_come_back_closes_the_gate_until_then(house: House) -> None:
    """A 503 to a write may have happened, and one of them says little; its Retry-After counts once the gate closes."""
    reconfigure(house, gate_close_seconds=15.0, gate_cap_seconds=CAP_SECONDS)
    house.control.set("btsss", "status", status=503, retry_after="120", operation=SUBMIT)
    for day in ("2031-03-01", "2031-03-02", "2031-03-03"):
        file_claim(house, date=day)
    run_one(house)
    assert 115 < seconds_closed(house) <= 120
