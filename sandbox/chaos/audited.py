"""What our own audit and trace complain of after a chaos run, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def complaints(report: Mapping[str, Any]) -> Iterator[str]:
    """Broken rules, faults of the ledger, findings, and illegal steps of a history."""
    for kind in ("broken", "faults", "findings"):
        yield from (f"audit, {kind}: {each}" for each in report[kind])
    for step in report["trace"]["illegal"]:
        yield f"trace: {step['subject_type']} {step['subject_id']} {step['why']} ({step['at']})"
