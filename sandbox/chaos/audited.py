"""What our own audit and trace complain of after a chaos run, without what only the steps of our clock can explain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sandbox.chaos.storm import Fault
from sandbox.chaos.strikes import AHEAD_SECONDS, BEHIND_SECONDS

CLOCK = "clock"
# The trace goes by times. What followed something on a clock that was put back meanwhile seems to come before it.
SEEMS_EARLIER = "began before attempt"


def complaints(report: Mapping[str, Any], faults: Sequence[Fault]) -> Iterator[str]:
    """One line each: broken rules, faults of the ledger, findings, and illegal steps of a history."""
    for kind in ("broken", "faults", "findings"):
        yield from (f"audit, {kind}: {each}" for each in report[kind])
    for step in report["trace"]["illegal"]:
        if not (SEEMS_EARLIER in step["why"] and clock_stepped(step["at"], faults)):
            yield f"trace: {step['subject_type']} {step['subject_id']} {step['why']} ({step['at']})"


def clock_stepped(at: str, faults: Sequence[Fault]) -> bool:
    """Whether our clock was put back at this moment of it, or so lately that what it told before still lies ahead."""
    moment = datetime.fromisoformat(at).timestamp()
    steps = (fault for fault in faults if fault.target == CLOCK)
    return any(fault.began + BEHIND_SECONDS <= moment <= fault.ended + AHEAD_SECONDS for fault in steps)
