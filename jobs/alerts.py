"""Telling the alert webhook that a case has opened. The case is on record whether or not anybody listens."""

from __future__ import annotations

import uuid
from typing import Any

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.db import DbSession
from flaskapp.queues import ALERTS
from jobs.engine.retry import ALERT
from jobs.engine.runner import run
from jobs.engine.spec import Call, JobSpec

CALL_SECONDS = 15.0


def load(session: DbSession, case_id: str) -> dict[str, Any] | None:
    """Ids and plain words only: a webhook is somebody else's system."""
    case = session.get(Case, uuid.UUID(case_id))
    if case is None:
        return None
    return {
        "case": case_id,
        "kind": case.kind,
        "owner": case.owner,
        "summary": KINDS[case.kind].summary,
        "to_do": KINDS[case.kind].to_do,
        "opened_at": case.opened_at.isoformat(),
    }


def post(call: Call, body: dict[str, Any]) -> None:
    call.upstreams.alerts.send(body)


def record(session: DbSession, case_id: str, answer: None) -> None:
    """The webhook took it; the message's own end is all there is to record."""


def give_up(session: DbSession, case_id: str, kind: str, details: dict[str, Any]) -> None:
    """The case stays open and visible; the parked message says that its alert never arrived."""


SEND = JobSpec(
    path="jobs.alerts.send_alert",
    queue=ALERTS,
    writes=False,
    schedule=ALERT,
    lease_seconds=lambda config: CALL_SECONDS + 30.0,
    call_seconds=lambda config: CALL_SECONDS,
    load=load,
    act=post,
    record=record,
    give_up=give_up,
)


def send_alert(message_id: int, fence: int) -> None:
    run(SEND, message_id, fence)
