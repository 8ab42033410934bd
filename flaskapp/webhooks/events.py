"""Events as receivers of webhooks get them: kinds and bodies, made of ids, states, codes and dates, and of nothing
else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flaskapp.audit.rules import AUDIT_KINDS
from flaskapp.cases.kinds import KINDS
from flaskapp.current import flows
from flaskapp.flows import Flows, Subject, Told
from flaskapp.subjects import states_of
from flaskapp.web.shapes import TEXT, UUID, or_null, thing, word
from outbox import feed

CASE_OPENED, AUDIT_FOUND, BREAKER_OPENED, TEST = "case.opened", "audit.found", "breaker.opened", "webhook.test"
ID = "7b0c5b0e-6f1f-4d0a-9f0e-0d6c1f6a2b11"
ABOUT = thing("WebhookSubject", {"type": TEXT, "id": TEXT})
CASE = thing("WebhookCase", {"case": UUID, "kind": word(*KINDS), "subject": ABOUT, "summary": TEXT})
BREAKER = thing("WebhookBreaker", {"upstream": TEXT, "reason": TEXT})
TRIED = thing("WebhookTest", {"id": UUID})


def kind_of(subject: str) -> str:
    return f"{subject}.moved"


def tells(flows: Flows) -> Mapping[str, Told]:
    """Every kind that a receiver can ask for."""
    moves = {kind_of(name): told_of(subject) for name, subject in flows.submissions.items()}
    about = {"type": "travel_claim", "id": ID}
    return {
        **moves,
        CASE_OPENED: Told("A human has to decide or finish something.", CASE, case_data(ID, "exhausted", about)),
        AUDIT_FOUND: Told("The audit found something wrong.", CASE, case_data(ID, "unaccounted", about)),
        BREAKER_OPENED: Told(
            "An upstream cannot be called for the moment.", BREAKER, {"upstream": "btsss", "reason": "unavailable"}
        ),
        TEST: Told("An operator tries whether this receiver takes deliveries.", TRIED, {"id": ID}),
    }


def told_of(subject: Subject) -> Told:
    states = word(*states_of(subject).machine.states)
    title = "".join(part.capitalize() for part in subject.name.split("_"))
    shape = thing(f"{title}Moved", {"id": UUID, "from": or_null(TEXT), "to": states})
    final = sorted(states_of(subject).machine.final)[-1]
    words = f"A {subject.name.replace('_', ' ')} was accepted (`from` is null) or moved to another state."
    return Told(words, shape, {"id": ID, "from": "pending", "to": final})


def case_data(case: str, kind: str, about: dict[str, str]) -> dict[str, Any]:
    return {"case": case, "kind": kind, "subject": about, "summary": KINDS[kind].summary}


def read(event: feed.Event) -> tuple[str, dict[str, Any]] | None:
    """The kind and the data of what happened; None for what nobody is told."""
    if event.what == BREAKER_OPENED:
        return BREAKER_OPENED, {"upstream": event.subject_id, "reason": event.detail["reason"]}
    if event.what == CASE_OPENED:
        kind = event.detail.get("kind")
        if kind not in KINDS:
            return None
        about = {"type": event.subject_type, "id": event.subject_id}
        return AUDIT_FOUND if kind in AUDIT_KINDS else CASE_OPENED, case_data(event.detail["case"], kind, about)
    if event.subject_type in flows().submissions:
        moved = {"id": event.subject_id, "from": event.moved_from, "to": event.moved_to}
        return kind_of(event.subject_type), moved
    return None


def body(kind: str, occurred_at: datetime, sequence: int, data: dict[str, Any]) -> bytes:
    """The body, the same at every try: it is signed as it is."""
    timestamp = occurred_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    told = {"type": kind, "timestamp": timestamp, "sequence": sequence, "data": data}
    return json.dumps(told, separators=(",", ":")).encode()
