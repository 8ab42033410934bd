"""BTSSS and VANotify in memory. Neither has an idempotency key, and a write whose reply was lost may still take effect.

They end each call as the script says, take the time that the script says, and check that nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from flaskapp.upstreams.btsss import FiledClaim, SubmittedClaim
from flaskapp.upstreams.errors import Duplicate, Rejected, Throttled, Unanswered, Unauthorized, Unavailable
from flaskapp.upstreams.va_notify import Delivery, Sent
from tests.simulator.hub import Hub, PromiseBroken, Task

BEGAN = datetime(2031, 3, 4, 12, tzinfo=UTC)
STATION = "500"
# How long after it was sent a write may take effect; the product waits longer before it trusts that none did.
WITHIN_SECONDS = {
    "btsss": 45.0,
    "va_notify": 22.0,
    "lighthouse_claims": 30.0,
    "form526": 30.0,
    "lighthouse_documents": 25.0,
}
NOTHING_DONE = {
    "refused": lambda name: Rejected(name),
    "unavailable": lambda name: Unavailable(name, unreachable=True),
    "throttled": lambda name: Throttled(name, retry_after=40.0),
    "unauthorized": lambda name: Unauthorized(name),
}


@dataclass(frozen=True)
class Fate:
    """How a call ends, after how many seconds, and when after it was sent a write takes effect, if it does."""

    kind: str
    seconds: float
    effect: float | None = None


@dataclass(eq=False)
class Write:
    """One request that reached the upstream. `closed`: it can no longer take effect, and the caller knows that."""

    key: str
    at: float
    effect_at: float | None
    took_effect: bool = False
    closed: bool = False
    denied: int = 0


@dataclass
class Upstream:
    """What all have in common. `check` is called when a job reaches it, `fate` ends the call, and `draws` decides on
    everything else."""

    hub: Hub
    fate: Callable[[str], Fate]
    check: Callable[[Task], None]
    draws: Random
    writes: list[Write] = field(default_factory=list)
    holds: dict[str, Any] = field(default_factory=dict)

    name = "upstream"

    def reach(self, what: str) -> None:
        task = self.hub.current()
        assert task is not None
        self.hub.boundary("before", f"{self.name} {what}")
        if any(connection.in_transaction for connection in task.connections):
            raise PromiseBroken(f"a transaction was open while it talked to {self.name}")
        self.check(task)

    def take_effect(self, write: Write) -> None:
        raise NotImplementedError

    def let_time_pass(self) -> None:
        """Writes that are due take effect, in that order."""
        due = [each for each in self.writes if each.effect_at is not None and each.effect_at <= self.hub.now]
        for write in sorted(due, key=lambda each: each.effect_at or 0.0):
            write.effect_at = None
            if not self.is_held(write.key):
                self.take_effect(write)
                write.took_effect = True

    def may_take_effect(self, write: Write) -> bool:
        in_time = self.hub.now - write.at < WITHIN_SECONDS[self.name]
        return in_time and not write.closed and not write.took_effect and not self.is_held(write.key)

    def is_held(self, key: str) -> bool:
        return key in self.holds

    def receive(self, key: str, fate: Fate) -> Write:
        """Take in a write; raises PromiseBroken when it must not have been sent."""
        self.let_time_pass()
        for earlier in self.writes:
            if earlier.key == key and not earlier.closed:
                self.object_to_another(earlier)
        effect_at = None if fate.effect is None else self.hub.now + fate.effect
        write = Write(key, self.hub.now, effect_at, closed=fate.kind in NOTHING_DONE)
        self.writes.append(write)
        return write

    def object_to_another(self, earlier: Write) -> None:
        if earlier.took_effect:
            raise PromiseBroken(f"{self.name}: sent again although it was taken")
        if self.may_take_effect(earlier):
            raise PromiseBroken(f"{self.name}: sent again while an earlier one may still take effect")
        if earlier.denied < 2:
            raise PromiseBroken(f"{self.name}: sent again before two look-ups said that the earlier one is not there")

    def write(self, key: str, before_write: Callable[[], None]) -> Write:
        """The whole of a write but its good answer. Raises what the script says."""
        self.reach("write")
        before_write()
        fate = self.fate("write")
        write = self.receive(key, fate)
        self.hub.steps.append(f"{self.hub.now:.3f} {self.name} has {key}: {fate.kind}")
        self.wait(fate)
        if fate.kind == "lost":
            raise Unanswered(self.name)
        return write

    def read(self) -> Fate:
        self.reach("look-up")
        fate = self.fate("look-up")
        self.wait(fate)
        if fate.kind == "lost":
            raise Unanswered(self.name)
        return fate

    def wait(self, fate: Fate) -> None:
        """Wait until the answer, or until the call's limit."""
        self.hub.sleep(fate.seconds)
        self.let_time_pass()
        self.hub.boundary("after", f"{self.name} {fate.kind}")
        if fate.kind in NOTHING_DONE:
            raise NOTHING_DONE[fate.kind](self.name)

    def answer(self, kind: str, upstream_id: str) -> None:
        """A good answer is on its way to the job, which must not drop it."""
        task = self.hub.current()
        assert task is not None
        task.answers.append((kind, upstream_id))

    def deny(self, key: str) -> None:
        for write in self.writes:
            if write.key == key and not self.may_take_effect(write):
                write.denied += 1


@dataclass
class BTSSS(Upstream):
    numbers: Any = field(default_factory=lambda: count(202_600_000_000_001))

    name = "btsss"

    def submit_claim(self, icn: str, day: date, facility: str, before_write: Callable[[], None]) -> SubmittedClaim:
        write = self.write(icn, before_write)
        if not write.took_effect:
            write.closed = True
            raise Duplicate(self.name)
        number: str = self.holds[icn].claim_number
        self.answer("claim", number)
        return SubmittedClaim(number)

    def claims_on(self, icn: str, day: date, facility: str) -> list[FiledClaim]:
        if self.read().kind == "elsewhere":
            return [FiledClaim("TC000000000000000", "ClaimSubmitted", "another", BEGAN - timedelta(days=1), None)]
        if icn in self.holds:
            return [self.holds[icn]]
        self.deny(icn)
        return []

    def take_effect(self, write: Write) -> None:
        self.file(write.key)

    def file(self, icn: str) -> None:
        """Put a claim on file, by us or at the kiosk."""
        now = BEGAN + timedelta(seconds=self.hub.now)
        self.holds[icn] = FiledClaim(f"TC{next(self.numbers)}", "ClaimSubmitted", STATION, now, None)


@dataclass
class VANotify(Upstream):
    """`holds` has the personalisation of each text by its reference."""

    sent: dict[str, dict[str, str]] = field(default_factory=dict)

    name = "va_notify"

    def send_email(self, **parts: Any) -> Sent:
        return self.send_sms(**parts)

    def send_sms(
        self, *, reference: str, personalisation: dict[str, str], before_write: Callable[[], None], **_: Any
    ) -> Sent:
        self.sent[reference] = dict(personalisation)
        write = self.write(reference, before_write)
        if not write.took_effect:
            raise PromiseBroken("va_notify: one notification was sent twice")
        return Sent(f"id-of-{reference}")

    def find_by_reference(self, reference: str) -> list[Delivery]:
        self.read()
        if reference in self.holds:
            return [Delivery(f"id-of-{reference}", reference, "sending", None, None)]
        self.deny(reference)
        return []

    def get(self, notification_id: str, reference: str) -> Delivery | None:
        self.read()
        reference = notification_id.removeprefix("id-of-")
        return Delivery(notification_id, reference, "delivered", None, BEGAN + timedelta(seconds=self.hub.now))

    def take_effect(self, write: Write) -> None:
        self.holds[write.key] = self.sent[write.key]
