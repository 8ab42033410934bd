"""The product's clients, built as a process builds them, against the fakes: short limits, and no Redis behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from redis import Redis

from flaskapp import upstreams as product
from flaskapp.config import Config, from_env
from flaskapp.upstreams.errors import Throttled, Unanswered, Unavailable, UpstreamError
from sandbox.faults import Control
from sandbox.upstreams.serve import Upstreams
from tests.contract.receiver import eventually
from tests.unit.upstream_settings import ENVIRON

TODAY = date.today()
# Above what a fake takes on a busy machine, below what the slow faults wait.
LIMIT_SECONDS = 0.8
TOO_LONG = 1.2
# By then a call was left at its limit, whatever else the machine does: a dripping answer lasts longer.
CUT_SECONDS = 5.0
LIMITED = (
    "VEIS",
    "BTSSS",
    "VANOTIFY",
    "CHECK_IN",
    "ACCOUNTS",
    "SIS",
    "LIGHTHOUSE",
    "TRAVEL_PAY",
    "STS",
    "VA_PROFILE",
)
LIMITS = {f"{name}_TOTAL_SECONDS": str(LIMIT_SECONDS) for name in LIMITED}


def config_for(upstreams: Upstreams, **changes: str) -> Config:
    return from_env({**ENVIRON, **upstreams.fakes.settings.environment(upstreams), **LIMITS, **changes})


def clients_for(upstreams: Upstreams, **changes: str) -> product.Upstreams:
    return product.build(config_for(upstreams, **changes), Redis(port=1))


def write_nothing_first() -> None:
    """A `before_write` with no objection."""


@dataclass(frozen=True)
class Strike:
    """One fault, what a write and a read make of it, and whether the upstream did the work all the same."""

    kind: str
    write: type[UpstreamError]
    read: type[UpstreamError] = Unavailable
    worked: bool = False
    retry_after: float | None = None
    fields: dict[str, Any] = field(default_factory=dict)

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

# Those that cost no waiting, where another test has shown already that limits hold.
QUICK_STRIKES = [strike for strike in STRIKES if "seconds" not in strike.fields]


def settled(control: Control, upstream: str, operation: str) -> None:
    """Wait until the fake has done with every such request, or its late work would strike the next test."""
    eventually(lambda: all(entry["answered_at"] for entry in control.received(upstream, operation)))
