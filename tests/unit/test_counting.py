"""The thread that tells Redis of hits: one at a time, and never none for good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flaskapp.counting import Counts
from flaskapp.setting_readers import Rate


class Broken:
    """A client that fails in a way nobody foresaw, as one does whose connection is closed under it."""

    def eval(self, *values: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'readline'")


def test_after_a_fault_nobody_foresaw_the_next_hit_is_told_again() -> None:
    begun: list[Callable[[], None]] = []
    counts = Counts(Broken(), "", start=begun.append)  # type: ignore[arg-type]
    counts.add("somebody", Rate(3, 60))
    with pytest.raises(AttributeError):
        begun[0]()
    counts.add("somebody", Rate(3, 60))
    assert len(begun) == 2
