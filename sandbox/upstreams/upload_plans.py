"""What becomes of an upload inside Lighthouse, and how its status is reported (contract: benefits 4.3).

There are well-behaved plans, and one for every known way to be wrong. A plan is data, and where an upload stands is
computed from its age only, so ten thousand uploads need no thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

CLAIMS_EVIDENCE, BGS = "CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE"
PUBLIC_STEPS = (CLAIMS_EVIDENCE, BGS)
INTERNAL_STEP = "REMOVE_FILE_BINARY"
UNKNOWN_STEP = "MALWARE_SCAN"
UNKNOWN_WORD = "ON_HOLD"
DESCRIPTIONS = {
    CLAIMS_EVIDENCE: "Store the file in the claimant's eFolder.",
    BGS: "Tie the stored file to the claim.",
    INTERNAL_STEP: "Delete the file from Lighthouse's own store.",
}
NOT_STARTED, IN_PROGRESS, SUCCESS, FAILED = "NOT_STARTED", "IN_PROGRESS", "SUCCESS", "FAILED"


@dataclass(frozen=True)
class Plan:
    """Goes through `steps`, unless it `fails_at` or stays at (`stuck_at`) one of them, or at the internal step behind.

    The rest is how it is reported: `word` instead of the status, times in `seconds`, numbers as `texts`, and keys (of
    the status, or `step`, the error's) to leave out.
    """

    steps: tuple[str, ...] = PUBLIC_STEPS
    fails_at: str | None = None
    stuck_at: str | None = None
    word: str | None = None
    seconds: bool = False
    texts: bool = False
    without: tuple[str, ...] = ()


PLANS = {
    "ok": Plan(),
    "fails_at_claims_evidence": Plan(fails_at=CLAIMS_EVIDENCE),
    "fails_at_bgs": Plan(fails_at=BGS),
    "fails_at_removal": Plan(fails_at=INTERNAL_STEP),
    "fails_at_unknown_step": Plan(steps=(UNKNOWN_STEP, *PUBLIC_STEPS), fails_at=UNKNOWN_STEP),
    "fails_without_step": Plan(fails_at=BGS, without=("step",)),
    "fails_without_error": Plan(fails_at=BGS, without=("error", "endTime")),
    "stuck": Plan(stuck_at=CLAIMS_EVIDENCE),
    "stuck_at_bgs": Plan(stuck_at=BGS),
    "stuck_at_removal": Plan(stuck_at=INTERNAL_STEP),
    "unknown_step": Plan(steps=(UNKNOWN_STEP, *PUBLIC_STEPS)),
    "unknown_status": Plan(word=UNKNOWN_WORD),
    "seconds": Plan(seconds=True),
    "texts": Plan(texts=True),
    "without_time": Plan(without=("time",)),
    "without_steps": Plan(without=("steps",)),
    "without_status": Plan(without=("status",)),
    "without_request_id": Plan(without=("requestId",)),
}


@dataclass(frozen=True)
class Standing:
    """How far an upload has come: `done` steps are behind it. Times are aware UTC; `ended_at` is None while it runs."""

    plan: Plan
    done: int
    started_at: datetime
    ended_at: datetime | None

    @property
    def state(self) -> str:
        if self.ended_at is None:
            return IN_PROGRESS
        return FAILED if self.plan.fails_at else SUCCESS

    def step_state(self, place: int) -> str:
        if place < self.done:
            return SUCCESS
        if place > self.done:
            return NOT_STARTED
        return FAILED if self.state == FAILED else IN_PROGRESS


def standing(plan: Plan, started_at: datetime, step_seconds: float, steps_behind: float) -> Standing:
    """Where an upload stands that had time for so many steps. It ends when its last or its failing step does."""
    last = _last(plan)
    length = last + (1 if plan.fails_at else 0)
    over = plan.stuck_at is None and steps_behind >= length
    ended_at = started_at + timedelta(seconds=length * step_seconds) if over else None
    return Standing(plan, int(min(steps_behind, last)), started_at, ended_at)


def _last(plan: Plan) -> int:
    """How many steps are behind it when nothing moves any more."""
    end = plan.fails_at or plan.stuck_at
    return (*plan.steps, INTERNAL_STEP).index(end) if end else len(plan.steps)


def status_json(request_id: int, where: Standing, internal: bool) -> dict[str, Any]:
    """One status object as the API reports it; `internal` adds the step that the public does not see."""
    plan = where.plan
    status = {
        "requestId": str(request_id) if plan.texts else request_id,
        "time": _time(where),
        "status": plan.word or where.state,
        "steps": _steps(where, internal),
    }
    if where.state == FAILED:
        status["error"] = _error(plan)
    return {key: value for key, value in status.items() if key not in plan.without}


def _time(where: Standing) -> dict[str, Any]:
    timestamps = {"startTime": where.started_at, "endTime": where.ended_at}
    kept = {key: _number(timestamp, where.plan) for key, timestamp in timestamps.items() if timestamp}
    return {key: value for key, value in kept.items() if key not in where.plan.without}


def _number(timestamp: datetime, plan: Plan) -> int | str:
    number = int(timestamp.timestamp() * (1 if plan.seconds else 1000))
    return str(number) if plan.texts else number


def _steps(where: Standing, internal: bool) -> list[dict[str, Any]]:
    names = [*where.plan.steps, INTERNAL_STEP] if internal else list(where.plan.steps)
    return [_step(where, place, names) for place in range(len(names))]


def _step(where: Standing, place: int, names: list[str]) -> dict[str, Any]:
    name, last = names[place], place + 1 == len(names)
    return {
        "name": name,
        **({} if last else {"nextStepName": names[place + 1]}),
        "description": DESCRIPTIONS.get(name, name),
        "status": SUCCESS if name == INTERNAL_STEP and where.state == SUCCESS else where.step_state(place),
    }


def _error(plan: Plan) -> dict[str, Any]:
    error = {"detail": f"Gave up on {plan.fails_at} after its last try.", "step": plan.fails_at}
    return {key: value for key, value in error.items() if key not in plan.without}
