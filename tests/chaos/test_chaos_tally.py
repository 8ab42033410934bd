"""The end of a chaos run: a line that counts everything, and an exit code that says whether the run was good enough."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sandbox import promises
from sandbox.chaos.audited import complaints
from sandbox.chaos.command import tell
from sandbox.chaos.evidence import Evidence
from sandbox.chaos.journeys import FORM, TRAVEL_CLAIM, Promise
from sandbox.chaos.judge import Verdicts
from sandbox.chaos.storm import Fault
from sandbox.chaos.tally import Bars, Tally
from tests.product import ADA

PROMISES = [Promise(flow, str(number), ADA, "something", 0.0) for number, flow in enumerate((TRAVEL_CLAIM, FORM) * 5)]
FAULTS = [Fault("web killed", "web", 1.0), Fault("Redis flushed", "redis", 3.0), Fault("web killed", "web", 8.5)]
NEVER_AGAIN = Fault("web killed", "web", math.inf)
REACHED = Bars(submissions=10, faults=3, kinds=2, recovery_p50=3.1, held_share=0.1)
TALLY = Tally(PROMISES, FAULTS, Verdicts(), 0, [], {TRAVEL_CLAIM: 1})
NOTHING = Evidence([], [], [], [], [], [], [], [], [], [], [])


def test_the_last_line_counts_everything():
    assert TALLY.line() == (
        "chaos: 10 submissions, 3 faults of 2 kinds, recovery p50 3.0 s max 8.5 s,"
        " lost 0, duplicate 0, untold 0, unaccounted 0"
    )
    wrong = Verdicts(lost=["a"], duplicate=["b"] * 2, untold=["c"] * 3)
    assert replace(TALLY, verdicts=wrong, unaccounted=4).line().endswith("lost 1, duplicate 2, untold 3, unaccounted 4")


@pytest.mark.parametrize(
    "missed",
    [{"submissions": 11}, {"faults": 4}, {"kinds": 3}, {"recovery_p50": 3.0}, {"held_share": 0.09}],
    ids=str,
)
def test_a_run_passes_only_if_it_reached_every_bar(missed):
    assert list(TALLY.shortfalls(REACHED)) == []
    assert len(list(TALLY.shortfalls(replace(REACHED, **missed)))) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdicts": Verdicts(lost=["x"])},
        {"verdicts": Verdicts(duplicate=["x"])},
        {"verdicts": Verdicts(untold=["x"])},
        {"unaccounted": 1},
        {"surprises": ["the relay ended by itself"]},
        {"faults": [*FAULTS[:2], NEVER_AGAIN]},
    ],
    ids=str,
)
def test_a_run_passes_only_if_nothing_was_wrong(wrong):
    assert len(list(replace(TALLY, **wrong).shortfalls(REACHED))) == 1


def end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **report: Any) -> tuple[str, int, str]:
    """The end of a run that reached its bars: its last line, its exit code, and what it prints before."""
    monkeypatch.setattr(promises, "audit", lambda fleet: ({**REPORT, "unaccounted": 0, **report}, 0))
    fleet: Any = SimpleNamespace(ended=[], folder=tmp_path)
    crowd: Any = SimpleNamespace(odd=[], troubles=Counter())
    storm: Any = SimpleNamespace(faults=FAULTS)
    said = io.StringIO()
    bars = Bars(submissions=0, faults=3, kinds=2)
    line, code = tell(fleet, crowd, storm, NOTHING, bars, Console(file=said, width=200))
    return line, code, said.getvalue()


def test_only_a_run_that_passes_exits_with_0(monkeypatch, tmp_path):
    line, code, said = end(monkeypatch, tmp_path)
    assert (code, "not reached" in said) == (0, False)
    assert line.startswith("chaos: 0 submissions, 3 faults of 2 kinds")
    line, code, said = end(monkeypatch, tmp_path, unaccounted=2)
    assert (code, "not reached: 2 unaccounted" in said) == (1, True)
    assert line.endswith("unaccounted 2")
    _, code, said = end(monkeypatch, tmp_path, broken=["a rule"])
    assert (code, "not reached" in said) == (1, True)


REPORT: dict[str, Any] = {"broken": [], "faults": [], "findings": [], "trace": {"histories_read": 9, "illegal": []}}
STEP = {"subject_type": "travel_claim", "subject_id": "one", "at": "2031-03-04 10:00:30+00:00", "why": "too soon"}


def test_everything_that_audit_and_trace_find_is_a_complaint():
    for kind in ("broken", "faults", "findings"):
        assert len(list(complaints(REPORT | {kind: ["something"]}))) == 1
    assert list(complaints(REPORT)) == []
    (line,) = complaints(REPORT | {"trace": {"illegal": [STEP]}})
    assert line == "trace: travel_claim one too soon (2031-03-04 10:00:30+00:00)"
