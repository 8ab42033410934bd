"""The product's clients, built as a process builds them, against the fakes: short limits, and no Redis behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from redis import Redis

from flaskapp import upstreams as product_upstreams
from flaskapp.config import Config, from_env
from flaskapp.upstreams.errors import Throttled, Unanswered, Unavailable, UpstreamError
from sandbox.faults import Control
from sandbox.upstreams.serve import Upstreams
from tests.contract.receiver import eventually
from tests.unit.upstream_settings import ENVIRON

TODAY = date.today()
# A busy machine may pause for a second: a limit is short only where a test waits for it to strike.
PATIENT_SECONDS = 30.0
LIMIT_SECONDS = 0.8
TOO_LONG = 2.0
# By then a call was ended by its limit, whatever else the machine does: a dripping answer lasts longer.
CUT_SECONDS = 5.0
LIMITED = (
    "VEIS_TOTAL_SECONDS",
    "BTSSS_TOTAL_SECONDS",
    "VANOTIFY_TOTAL_SECONDS",
    "CHECK_IN_TOTAL_SECONDS",
    "ACCOUNTS_TOTAL_SECONDS",
    "SIS_TOTAL_SECONDS",
    "LIGHTHOUSE_TOTAL_SECONDS",
    "TRAVEL_PAY_TOTAL_SECONDS",
    "STS_TOTAL_SECONDS",
    "VA_PROFILE_TOTAL_SECONDS",
    "FORM526_TOTAL_SECONDS",
    "DOCUMENT_UPLOAD_SECONDS",
    "DOCUMENT_STATUS_SECONDS",
)


def config_for(upstreams: Upstreams, seconds: float = PATIENT_SECONDS, **changes: str) -> Config:
    limits = dict.fromkeys(LIMITED, str(seconds))
    return from_env({**ENVIRON, **upstreams.fakes.settings.environment(upstreams), **limits, **changes})


def clients_for(upstreams: Upstreams, seconds: float = PATIENT_SECONDS, **changes: str) -> product_upstreams.Upstreams:
    """Each call may take so many `seconds`."""
    return product_upstreams.build(config_for(upstreams, seconds, **changes), Redis(port=1))


def write_nothing_first() -> None:
    """A `before_write` that never objects."""


@dataclass(frozen=True)
class Strike:
    """One fault, what a write and a read make of it, and whether the upstream did the work all the same."""

    kind: str
    write: type[UpstreamError]
    read: type[UpstreamError] = Unavailable
    worked: bool = False
    retry_after: float | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def limit_seconds(self) -> float:
        """How long a call may take: long, unless the test has to wait for the limit."""
        return LIMIT_SECONDS if "seconds" in self.fields else PATIENT_SECONDS

    def __str__(self) -> str:
        return "-".join([self.kind, *(f"{name}={value}" for name, value in self.fields.items())])


STRIKES = [
    Strike("refuse", Unavailable),
    Strike("down", Unanswered),
    Strike("slow", Unanswered, worked=True, fields={"seconds": TOO_LONG}),
    Strike("late", Unanswered, worked=True, fields={"seconds": TOO_LONG}),
    Strike("drip", Unanswered, worked=True, fields={"seconds": 0.06}),
    Strike("drop", Unanswered, worked=True),
    Strike("half", Unanswered, worked=True),
    Strike("status", Unanswered, fields={"status": 500}),
    Strike("status", Unanswered, worked=True, fields={"status": 503, "works": True}),
    Strike("status", Unanswered, retry_after=9.0, fields={"status": 503, "retry_after": "9"}),
    Strike("html", Unanswered, fields={"status": 502}),
    Strike("html", Unanswered, worked=True, fields={"status": 200, "works": True}),
    Strike("html", Unavailable, fields={"status": 404}),
    Strike("throttle", Throttled, Throttled),
    Strike("throttle", Throttled, Throttled, retry_after=7.0, fields={"retry_after": "7"}),
]

# Strikes without a wait, for tests of calls where another test has shown that limits hold.
QUICK_STRIKES = [strike for strike in STRIKES if "seconds" not in strike.fields]


def settled(control: Control, upstream: str, operation: str) -> None:
    """Wait until the fake has finished every such request; otherwise its late work would disturb the next test."""
    eventually(lambda: all(entry["answered_at"] for entry in control.received(upstream, operation)))
