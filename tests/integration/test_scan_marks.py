"""Scan marks: while an open transaction keeps dead rows, the relay searches from marks, which hide nothing for long."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from outbox import scan_marks
from outbox.scan_marks import MOST_TRUSTED_SECONDS, SLOW_SECONDS, ScanMarks
from tests.ledger import CALLS, Ledger
from tests.product import eventually


class Looks:
    """Searches from the beginning or from the marks, on a clock that only they move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.low = ScanMarks()
        monkeypatch.setattr(scan_marks, "time", SimpleNamespace(monotonic=lambda: self.now))

    def look(self, seconds: float) -> bool:
        """One search that takes so many seconds; returns whether it was made from the marks."""
        with self.low.look():
            self.now += seconds
        return self.low.trusted


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def slow_down(ledger: Ledger, seconds: float) -> None:
    """Pretend that the last searches were slow enough for the marks to be trusted for so long."""
    ledger.relay.low.until = time.monotonic() + seconds


def test_marks_are_trusted_after_three_slow_searches_and_not_after_a_short_load(looks: Looks) -> None:
    slow, fast = 2 * SLOW_SECONDS, SLOW_SECONDS / 2
    assert [looks.look(seconds) for seconds in (slow, slow, fast, slow, slow, slow)] == [False] * 6
    assert looks.look(fast)


@pytest.mark.parametrize(("look_seconds", "trusted_seconds"), [(0.005, 1.0), (0.1, 20.0), (30.0, MOST_TRUSTED_SECONDS)])
def test_marks_are_trusted_for_much_longer_than_a_search_takes(
    looks: Looks, look_seconds: float, trusted_seconds: float
) -> None:
    for _ in range(3):
        looks.look(look_seconds)
    looks.now += trusted_seconds * 0.99
    assert looks.look(0.0)
    looks.now += trusted_seconds * 0.02
    assert not looks.look(look_seconds)


def test_an_earlier_deadline_below_the_mark_is_found_when_the_marks_expire(ledger: Ledger) -> None:
    ledger.add(deadline=3600)
    ledger.relay.run_once()
    slow_down(ledger, 0.3)
    below, above = ledger.add(deadline=60), ledger.add(deadline=7200)
    ledger.relay.run_once()
    assert (ledger.state(below), ledger.state(above)) == ("ready", "published")

    def found() -> bool:
        ledger.relay.run_once()
        return ledger.state(below) == "published"

    eventually(found)


def test_late_work_is_claimed_beside_work_in_time_also_from_the_marks(ledger: Ledger) -> None:
    ledger.add(deadline=3600)
    ledger.add(deadline=0)
    ledger.relay.run_once()
    slow_down(ledger, 30)
    late, in_time = ledger.add(deadline=0), ledger.add(deadline=3601)
    ledger.relay.run_once()
    assert (ledger.state(late), ledger.state(in_time)) == ("published", "published")


def test_published_work_is_counted_in_full_also_from_the_marks(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_marks, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(scan_marks, "TRUST", 1_000_000)
    for _ in range(CALLS.concurrency + 5):
        ledger.add()
    for _ in range(4):
        ledger.relay.run_once()
    assert ledger.relay.low.trusted
    assert ledger.relay.low.mark(CALLS.name, "out") is not None
    assert sorted(ledger.states().values()) == ["published"] * CALLS.concurrency + ["ready"] * 5
