"""Alerts to a webhook when a case opens. The case is on record whether the webhook takes them or not."""

from __future__ import annotations

import uuid
from typing import Any

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.cases.service import SEND_ALERT
from flaskapp.db import DbSession
from jobs.engine.retry import ALERT
from jobs.engine.runner import Job
from jobs.engine.spec import LEASE_MARGIN_SECONDS, Call, JobSpec

CALL_SECONDS = 15.0


def load(session: DbSession, case_id: str) -> dict[str, Any] | None:
    """Ids and fixed texts only: the webhook is somebody else's system."""
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
    """Nothing to record: the webhook took it, and the message ends with its settle."""


def give_up(session: DbSession, case_id: str, kind: str, details: dict[str, Any]) -> None:
    """Nothing to record: the case stays open, and the parked message shows that its alert never arrived."""


SEND = JobSpec(
    work=SEND_ALERT,
    writes=False,
    schedule=ALERT,
    lease_seconds=lambda config: CALL_SECONDS + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: CALL_SECONDS,
    load=load,
    act=post,
    record=record,
    give_up=give_up,
)


send_alert = Job(SEND)
