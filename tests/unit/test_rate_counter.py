"""The thread that tells Redis of hits outlives whatever its client meets."""

from __future__ import annotations

from flaskapp.config_readers import Rate
from flaskapp.web.rate_counter import Counts


class Broken:
    """A client that fails in a way nobody foresaw, as one does whose connection is closed under it."""

    def eval(self, *values: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'readline'")


def test_a_fault_nobody_foresaw_is_a_redis_that_is_away() -> None:
    counts = Counts(Broken(), "", start=lambda tell: None)  # type: ignore[arg-type]
    counts.add("somebody", Rate(3, 60))
    assert counts.tell() is False
