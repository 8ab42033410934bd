"""The thread that reports hits to Redis survives every fault of its client."""

from __future__ import annotations

from flaskapp.config_readers import Rate
from flaskapp.web.rate_counter import Counts


class Broken:
    """A client that fails in an unforeseen way, as one does whose connection is closed under it."""

    def eval(self, *values: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'readline'")


def test_an_unforeseen_fault_counts_as_redis_being_away() -> None:
    counts = Counts(Broken(), "", start=lambda tell: None)  # type: ignore[arg-type]
    counts.add("somebody", Rate(3, 60))
    assert counts.tell() is False
