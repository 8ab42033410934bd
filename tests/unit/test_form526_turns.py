"""Turns at the readers of uploaded files: one at a time on a machine, and no account keeps the others out."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from flaskapp.form526.attachments import turns
from flaskapp.form526.attachments.turns import FULL, OTHERS_OPEN, SHARE_USED, Busy, Turns

PLACES = 7


@contextmanager
def refused(words: tuple[str, str], *, is_own: bool) -> Iterator[list[int]]:
    """Refused in these words; the list gets the seconds to wait."""
    seconds: list[int] = []
    with pytest.raises(Busy) as busy:
        yield seconds
    assert (str(busy.value), busy.value.is_own) == (" ".join(words), is_own)
    seconds.append(busy.value.seconds)


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def read(taken: Turns, account: str, clock: Clock, seconds: float) -> None:
    with taken.place(account), taken.reading(account):
        clock.seconds += seconds


def test_one_account_has_two_places_and_leaves_the_others_free() -> None:
    taken = Turns(PLACES)
    with ExitStack() as held:
        held.enter_context(taken.place("ada"))
        held.enter_context(taken.place("ada"))
        with refused(OTHERS_OPEN, is_own=True), taken.place("ada"):
            pass
        for each in range(PLACES - 2):
            held.enter_context(taken.place(f"other {each}"))
        with refused(FULL, is_own=False), taken.place("one more"):
            pass
    with taken.place("one more"), taken.place("ada"):
        pass


def test_a_place_is_given_back_after_a_failure() -> None:
    taken = Turns(PLACES)
    for _ in range(PLACES + 1):
        with pytest.raises(ValueError, match="unreadable"), taken.place("ada"), taken.reading("ada"):
            raise ValueError("unreadable")


def test_an_account_that_has_read_for_its_share_of_a_minute_waits_for_the_rest_of_it() -> None:
    taken = Turns(PLACES, clock := Clock())
    for _ in range(3):
        read(taken, "ada", clock, 6.0)
    with refused(SHARE_USED, is_own=True) as seconds, taken.place("ada"):
        pass
    # The first of the three ended twelve seconds ago, and without it the others are within the share.
    assert seconds == [48]
    read(taken, "ben", clock, 6.0)
    clock.seconds += 43.0
    read(taken, "ada", clock, 1.0)


def test_only_one_file_is_read_at_a_time_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)
    with turns.KEY.open("rb") as of_another_process:
        fcntl.flock(of_another_process, fcntl.LOCK_EX)
        with refused(FULL, is_own=False), Turns(PLACES).reading("ada"):
            pass
    with Turns(PLACES).reading("ada"):
        pass


def test_whoever_has_read_most_looks_for_a_turn_least_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the others come first, whichever web process has them."""
    taken, looks = Turns(PLACES, clock := Clock()), []
    read(taken, "ada", clock, 8.0)
    read(taken, "ada", clock, 80.0)
    monkeypatch.setattr(turns, "wait_for", lambda _, look_seconds: looks.append(look_seconds))
    for account in ("ada", "ben"):
        with taken.reading(account):
            pass
    assert looks == [turns.RAREST_SECONDS, turns.LOOK_SECONDS]
