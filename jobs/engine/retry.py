"""Retry schedules as data. A budget runs only while the breaker is closed, so an outage of the upstream spends none."""

from __future__ import annotations

import random
from dataclasses import dataclass

HOUR = 3600.0


@dataclass(frozen=True)
class Schedule:
    """`delays` in seconds after each charged attempt, the last one repeated, until the breaker was closed for
    `budget_seconds`. A `Retry-After` is obeyed for `obeyed_seconds` at most; for none where an upstream's breaker obeys
    it for everybody."""

    delays: tuple[float, ...]
    budget_seconds: float
    obeyed_seconds: float = 0.0

    def delay(self, charged_attempts: int) -> float:
        return self.delays[min(charged_attempts, len(self.delays) - 1)]

    def wait(self, charged_attempts: int, scale: float, asked_for: float | None) -> float:
        """Seconds until the next try: the delay, about, or what was asked for where that is longer and obeyed."""
        own = jittered(self.delay(charged_attempts), scale)
        return max(own, min(asked_for or 0.0, self.obeyed_seconds))


# Sidekiq's backoff, with which check-in has always retried its texts: 14 delays, about 25 hours in all.
TRAVEL_CLAIM = Schedule(delays=tuple(float(n**4 + 15) for n in range(14)), budget_seconds=25 * HOUR)
# The same backoff with 16 delays, as ITF creation has always had it: 49.6 hours, about two days.
ITF_DELAYS = tuple(float(n**4 + 15) for n in range(16))
ITF_CREATE = Schedule(delays=ITF_DELAYS, budget_seconds=sum(ITF_DELAYS))
IDENTIFY = Schedule(delays=ITF_DELAYS, budget_seconds=sum(ITF_DELAYS))
ITF_REFRESH = Schedule(delays=(60.0, 300.0, 900.0, 3600.0), budget_seconds=6 * HOUR)
# Soon again, for the person who is still on the page; a day of tries at most.
FIRST_LOOK = Schedule(delays=(1.0, 5.0, 30.0, 120.0, 600.0, 3600.0), budget_seconds=6 * HOUR)
# The submission and its uploads have always been retried like an ITF: 16 times.
FORM526_SUBMIT = Schedule(delays=ITF_DELAYS, budget_seconds=sum(ITF_DELAYS))
DOCUMENT_UPLOAD = Schedule(delays=ITF_DELAYS, budget_seconds=sum(ITF_DELAYS))
# Each of the four steps of a signed-in claim is retried like a claim from check-in.
TRAVEL_PAY_STEP = TRAVEL_CLAIM
# Seven tries within the hour of a cycle; the next cycle polls anyway.
DOCUMENT_POLL = Schedule(delays=(15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0), budget_seconds=HOUR)
NOTIFICATION = Schedule(delays=tuple(float(n**4 + 15) for n in range(14)), budget_seconds=25 * HOUR)
# After nobody answered at a receiver of webhooks: seconds at first, two hours in the end, for three days.
# Each is its own breaker, so what one asks for is obeyed here, up to a quarter of a day: a dozen tries are left.
WEBHOOK = Schedule(
    delays=tuple(min(7_200.0, 5.0 * 6**n) for n in range(6)), budget_seconds=3 * 24 * HOUR, obeyed_seconds=6 * HOUR
)
ALERT = Schedule(delays=(10.0, 30.0, 60.0, 300.0, 900.0), budget_seconds=7 * 24 * HOUR)

# A look-up follows soon after a lost reply, and again when the upstream must have finished with the call.
LOOK_UP_DELAYS = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
SECOND_LOOK_SECONDS = 15.0


def look_up_delay(look_ups: int) -> float:
    return LOOK_UP_DELAYS[min(look_ups, len(LOOK_UP_DELAYS) - 1)]


def jittered(seconds: float, scale: float = 1.0) -> float:
    """The delay, changed at random by up to a tenth, so that what failed together does not come back together."""
    return seconds * scale * random.uniform(0.9, 1.1)
