"""Named behaviours of the outside world, as data, for demonstrations, tests and the switch page.

A scenario replaces what was set at an upstream before: its faults, and how it treats people without a habit of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.upstreams.cast import DEFAULT_CAST, DOCUMENT_CAST, ITF_CAST, TRAVEL_PAY_CAST, Veteran


@dataclass(frozen=True)
class Scenario:
    """Faults to set, in the form the admin API takes, and a habit. `only` names the one upstream that can play it."""

    text: str
    faults: tuple[Mapping[str, Any], ...] = ()
    habit: str = "ok"
    only: str | None = None

    def fits(self, upstream: str) -> bool:
        return self.only in (None, upstream)


SCENARIOS: dict[str, Scenario] = {
    "ok": Scenario("everything works"),
    "duplicate": Scenario("a claim was filed at the kiosk before anybody asks", habit="filed", only="btsss"),
    "refused": Scenario("every claim is refused", habit="refused", only="btsss"),
    "blocked": Scenario("every text ends in permanent-failure", habit="blocked", only="va_notify"),
    "refusing": Scenario("nobody listens: connections are refused", ({"kind": "refuse"},)),
    "down": Scenario("connections are reset before anything is read", ({"kind": "down"},)),
    "slow": Scenario("every answer takes 15 seconds", ({"kind": "slow", "seconds": 15},)),
    "failing": Scenario("every call answers 503", ({"kind": "status", "status": 503},)),
    "empty": Scenario("every call answers 502 without a body", ({"kind": "empty", "status": 502},)),
    "throttled": Scenario("every call answers 429: wait 5 seconds", ({"kind": "throttle", "retry_after": "5"},)),
    "reply lost": Scenario("the next call is done, its reply is lost", ({"kind": "drop", "times": 1},)),
    "flaky": Scenario(
        "one call in ten loses its reply, one in ten answers 502",
        ({"kind": "drop", "chance": 0.1}, {"kind": "html", "chance": 0.1}),
    ),
}


def with_habit(habit: str, facility_type: str = "vista") -> Veteran:
    """The cast member who is always treated this way, e.g. `ok`, `filed` (a duplicate), `refused`; else KeyError."""
    for veteran in DEFAULT_CAST:
        if (veteran.habit, veteran.facility_type) == (habit, facility_type):
            return veteran
    raise KeyError(f"nobody in the cast is {habit} at a {facility_type} facility")


def with_itf(habit: str) -> Veteran:
    """The cast member whom Lighthouse always treats this way: `active`, `expired`, `used`, `unknown`; else KeyError."""
    for veteran in ITF_CAST:
        if veteran.itf == habit:
            return veteran
    raise KeyError(f"nobody in the cast has the habit {habit} at Lighthouse")


def with_documents(plan: str) -> Veteran:
    """The cast member whose files always go this way at Benefits Documents, e.g. `fails_at_bgs`; else KeyError."""
    for veteran in DOCUMENT_CAST:
        if veteran.documents == plan and veteran.participant_id:
            return veteran
    raise KeyError(f"nobody in the cast has files that go by {plan}")


def with_file_number_only() -> Veteran:
    """The cast member for whom the account service knows a file number and no participant id."""
    return next(veteran for veteran in DOCUMENT_CAST if veteran.file_number and not veteran.participant_id)


def without_benefit_ids() -> Veteran:
    """The cast member for whom the account service knows neither id."""
    return next(veteran for veteran in DOCUMENT_CAST if not veteran.file_number and not veteran.participant_id)


def without_icn() -> Veteran:
    """The cast member whose account leads to no ICN."""
    return next(veteran for veteran in ITF_CAST if not veteran.identified)


def with_travel_pay(habit: str) -> Veteran:
    """The cast member with this past at Travel Pay: `contacts_differ`, `statuses`, `many`; else KeyError."""
    for veteran in TRAVEL_PAY_CAST:
        if veteran.travel_pay == habit:
            return veteran
    raise KeyError(f"nobody in the cast has the habit {habit} at Travel Pay")


def without_email() -> Veteran:
    """The cast member of whom nobody knows an e-mail address."""
    return next(veteran for veteran in TRAVEL_PAY_CAST if veteran.email is None)
