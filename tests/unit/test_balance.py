"""Who takes a client among worker processes, and who lets one go."""

from __future__ import annotations

import pytest

from flaskapp.web import balance
from flaskapp.web.balance import HEARD_SECONDS, YIELD_SECONDS, Balance, Board

GUNICORN, ANOTHER = 100, 200


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(balance, "time", stopped)
    return stopped


def two(clock: Clock, owner: int = GUNICORN) -> tuple[Balance, Balance]:
    board = Board()
    return Balance(GUNICORN, 1, board), Balance(owner, 2, board)


def test_who_has_more_clients_leaves_a_new_one_to_the_other_for_a_moment(clock: Clock) -> None:
    ours, other = two(clock)
    other.tell(3)
    assert not ours.lets_go_first(3)
    assert ours.lets_go_first(4)
    assert ours.yields_for == pytest.approx(YIELD_SECONDS)
    clock.now += YIELD_SECONDS
    assert ours.yields_for <= 0 and not ours.lets_go_first(4)
    clock.now += YIELD_SECONDS
    assert ours.lets_go_first(4)


@pytest.mark.parametrize("gone", ["alone", "stopped", "frozen", "of another gunicorn"])
def test_nobody_waits_for_a_process_that_takes_no_clients(clock: Clock, gone: str) -> None:
    ours, other = two(clock, ANOTHER if gone == "of another gunicorn" else GUNICORN)
    if gone != "alone":
        other.tell(0)
    if gone == "stopped":
        other.leave()
    if gone == "frozen":
        clock.now += HEARD_SECONDS
    ours.tell(9)
    assert not ours.lets_go_first(9) and not ours.sheds()


def test_who_has_two_clients_more_lets_one_after_another_go(clock: Clock) -> None:
    ours, other = two(clock)
    other.tell(3)
    ours.tell(4)
    assert not ours.sheds()
    clock.now += balance.LOOK_SECONDS
    ours.tell(5)
    assert ours.sheds() and not ours.sheds()
    clock.now += YIELD_SECONDS
    assert ours.sheds()
