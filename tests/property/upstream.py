"""An upstream in memory that answers only when the test says so, and watches that nothing is sent twice.

It behaves like BTSSS: no idempotency key, one claim per person and day, and a write whose reply was lost may still
take effect for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from typing import Any

from flaskapp import clock
from flaskapp.upstreams.btsss import FiledClaim, SubmittedClaim
from flaskapp.upstreams.errors import Duplicate, Rejected, Throttled, Unanswered, Unavailable
from flaskapp.upstreams.va_notify import Sent

STATION = "500"
# How long after it was written a request may still take effect; the product waits longer than this before it
# believes that one did not.
TAKES_EFFECT_WITHIN_SECONDS = 200.0
WAIT_SECONDS = 30.0


class Killed(BaseException):
    """The process that made this call is no more."""


class Call:
    """One pointer that a worker took. Its thread stands still at each beat until it is told how to go on."""

    def __init__(self, pointer: tuple[int, int], began_at: float) -> None:
        self.pointer = pointer
        self.began_at = began_at
        self.waiting: str | None = None
        self.write: Write | None = None
        self.over = False
        self.dead = False
        self._order: Callable[[], Any] | None = None
        self._changed = threading.Condition()

    def pause(self, beat: str) -> Any:
        """In the job's thread: wait here, then do as told."""
        with self._changed:
            self.waiting = beat
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._order is not None, WAIT_SECONDS)
            order, self._order, self.waiting = self._order, None, None
        assert order is not None
        return order()

    def end(self) -> None:
        with self._changed:
            self.over, self.waiting = True, None
            self._changed.notify_all()

    def proceed(self, order: Callable[[], Any]) -> None:
        """In the test: let it go on, to its next beat or its end."""
        with self._changed:
            self._order = order
            self._changed.notify_all()
        self.stand_still()

    def stand_still(self) -> None:
        with self._changed:
            stands = self._changed.wait_for(lambda: self._order is None and (self.over or self.waiting), WAIT_SECONDS)
        assert stands, "the job neither called the upstream nor ended"


@dataclass
class Write:
    """One submit that reached the upstream. `closed`: it can no longer take effect, and said so."""

    icn: str
    at: float
    took_effect: bool = False
    closed: bool = False
    denied: int = 0


class ScriptedBTSSS:
    def __init__(self, now: Callable[[], float], current: threading.local) -> None:
        self.now = now
        self.current = current
        self.calm = False
        self.claims: dict[str, FiledClaim] = {}
        self.writes: list[Write] = []
        self.violations: list[str] = []
        self.numbers = count(202_600_000_000_001)

    # -- as the product's client ---------------------------------------------------------------------

    def submit_claim(self, icn: str, day: date, facility: str, before_write: Callable[[], None]) -> SubmittedClaim:
        call: Call | None = getattr(self.current, "call", None)
        if call is not None and not self.calm:
            call.pause("before the write")
        before_write()
        write = self.receive(icn)
        if call is None or self.calm:
            return self.answer(write)
        call.write = write
        answer: SubmittedClaim = call.pause("the write")
        return answer

    def claims_on(self, icn: str, day: date, facility: str) -> list[FiledClaim]:
        call: Call | None = getattr(self.current, "call", None)
        if call is None or self.calm:
            return self.look(icn)
        found: list[FiledClaim] = call.pause("the look-up of " + icn)
        return found

    # -- what it does --------------------------------------------------------------------------------

    def receive(self, icn: str) -> Write:
        """Take in a submit, and note when it must never have been sent."""
        for earlier in self.writes:
            if earlier.icn != icn or earlier.closed:
                continue
            if earlier.took_effect:
                self.violations.append("sent again although it was filed")
            elif self.may_take_effect(earlier):
                self.violations.append("sent again while an earlier one may still take effect")
            elif earlier.denied < 2:
                self.violations.append("sent again before two look-ups said that the earlier one is not there")
        write = Write(icn, self.now())
        self.writes.append(write)
        return write

    def may_take_effect(self, write: Write) -> bool:
        in_time = self.now() - write.at < TAKES_EFFECT_WITHIN_SECONDS
        return in_time and not write.closed and not write.took_effect and write.icn not in self.claims

    def take_effect(self, write: Write) -> None:
        self.file(write.icn)
        write.took_effect = True

    def file(self, icn: str) -> None:
        number = f"TC{next(self.numbers)}"
        self.claims[icn] = FiledClaim(number, "ClaimSubmitted", STATION, clock.now(), None)

    def answer(self, write: Write) -> SubmittedClaim:
        if write.icn not in self.claims:
            self.take_effect(write)
        if not write.took_effect:
            write.closed = True
            raise Duplicate("btsss")
        return SubmittedClaim(self.claims[write.icn].claim_number)

    def fail(self, write: Write, kind: str) -> SubmittedClaim:
        """Every other way for a submit to end. One that took effect can only lose its reply."""
        if kind.endswith("lost") or write.took_effect:
            raise Unanswered("btsss")
        write.closed = True
        if kind == "refused":
            raise Rejected("btsss")
        raise Unavailable("btsss") if kind == "unavailable" else Throttled("btsss", retry_after=40.0)

    def look(self, icn: str) -> list[FiledClaim]:
        if icn in self.claims:
            return [self.claims[icn]]
        for write in self.writes:
            if write.icn == icn and not self.may_take_effect(write):
                write.denied += 1
        return []

    def fail_to_look(self, kind: str) -> list[FiledClaim]:
        if kind == "elsewhere":
            stranger = clock.now() - timedelta(days=1)
            return [FiledClaim("TC000000000000000", "ClaimSubmitted", "another", stranger, None)]
        raise Unavailable("btsss") if kind == "unavailable" else Unanswered("btsss")


class ScriptedVANotify:
    """Takes every text; `texts` are the claim numbers' last four, in the order they were told."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def send_sms(self, *, reference: str, personalisation: dict[str, str], before_write: Any, **_: Any) -> Sent:
        before_write()
        assert reference not in self.texts, "one notice was sent twice"
        self.texts[reference] = personalisation["claim_number"]
        return Sent(reference)
