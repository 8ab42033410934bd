"""Calls generated from the served description by schemathesis: what the description allows, and what it forbids.

Every run makes the same calls; `PROPERTY_EXAMPLES=200` makes that many new ones of each kind for each operation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemathesis import openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
FEW_EXAMPLES = 3
# Two checks that none of our schemas could pass: which values belong together is said in words (both dates or none, a
# key that was used for another form, a file of a known kind), and what a token may read is tested flow by flow.
LEFT_OUT = ("positive_data_acceptance", "object_level_authorization")


@dataclass
class Made:
    """The result of the calls: how many there were of each operation, and every finding."""

    calls: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def make_calls(document: dict[str, Any], url: str, paths: str, headers: dict[str, str], *, at_random: bool) -> Made:
    """Call each operation whose path fits: with its examples, its edges and, `at_random`, with generated values."""
    schema = openapi.from_dict(document, config=configured(url, headers, at_random)).include(path_regex=paths)
    made = Made()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished) and event.label is not None:
            keep(made, event.label, event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            made.findings.append(f"schemathesis could not go on: {vars(event)}")
    return made


def configured(url: str, headers: dict[str, str], at_random: bool) -> SchemathesisConfig:
    seed = {} if EXAMPLES else {"seed": 526}
    return SchemathesisConfig.from_dict(
        {
            **seed,
            "base-url": url,
            "headers": {"X-Key-Inflection": "camel", **headers},
            "continue-on-failure": True,
            "generation": {
                "max-examples": EXAMPLES or FEW_EXAMPLES,
                "deterministic": not EXAMPLES,
                "no-shrink": True,
                "database": "none",
                # Our own are sent; generated ones would fail every call at the log-in. A check tries the log-in by
                # itself.
                "with-security-parameters": False,
            },
            "phases": {"fuzzing": {"enabled": at_random}, "stateful": {"enabled": False}},
            "checks": {name: {"enabled": False} for name in LEFT_OUT},
        }
    )


def keep(made: Made, label: str, recorder: ScenarioRecorder) -> None:
    made.calls[label] = made.calls.get(label, 0) + len(recorder.interactions)
    made.findings += list(failures(label, recorder))


def failures(label: str, recorder: ScenarioRecorder) -> Iterator[str]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status is not Status.SUCCESS and check.failure_info is not None:
                answer = recorder.interactions[case_id].response
                said = answer.content[:300] if answer is not None else b""
                why = check.failure_info.failure.message[:500]
                yield f"{label}: {check.name}: {why}\n  {check.failure_info.code_sample[:1000]}\n  {said!r}"
