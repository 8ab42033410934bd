"""What an operator sees first: what is unaccounted for, what is owed, which gates are closed, which cases are open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask
from sqlalchemy import select, text

from flaskapp.audit import audit
from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.db import transaction
from flaskapp.ops.home import link, panel
from outbox.audit import OWED

OPEN_CASES_SHOWN = 50
GATES = text("SELECT upstream, closed_at, closed_until, reason FROM outbox_gates ORDER BY upstream")

# Whose legal day is running out: the forms in the order they lose it are listed by `flask itf at-risk`.
DAYS_AT_RISK = text("""
    SELECT count(*) AS pending, count(*) FILTER (WHERE legal_midnight_at <= outbox_now()) AS past,
           round((extract(epoch FROM min(legal_midnight_at) FILTER (WHERE legal_midnight_at > outbox_now())
                                     - outbox_now()) / 3600)::numeric, 1)::float AS hours_left
      FROM intents_to_file WHERE state = 'pending'
""")


def promises() -> Mapping[str, Any]:
    with transaction() as session:
        return {"report": audit(session)}


def owed() -> Mapping[str, Any]:
    with transaction() as session:
        return {"rows": session.execute(OWED).all(), "gates": session.execute(GATES).all()}


def days_at_risk() -> Mapping[str, Any]:
    with transaction() as session:
        return dict(session.execute(DAYS_AT_RISK).one()._mapping)


def cases() -> Mapping[str, Any]:
    """The urgent ones first, then the oldest: whoever has waited longest is next."""
    statement = select(Case).where(Case.closed_at.is_(None)).order_by(Case.priority.desc(), Case.opened_at)
    statement = statement.limit(OPEN_CASES_SHOWN)
    with transaction() as session:
        found = session.execute(statement).scalars().all()
        return {"cases": [(case, KINDS[case.kind]) for case in found]}


def init_app(app: Flask) -> None:
    panel(app, "Promises", "ops/promises.html", promises)
    panel(app, "Open cases", "ops/cases.html", cases)
    panel(app, "Intents to file: days at risk", "ops/days.html", days_at_risk)
    panel(app, "Work owed, and gates", "ops/owed.html", owed)
    link(app, "RQ dashboard", "/rq/", "Parked work shows there as failed jobs; Requeue reopens it.")
    link(app, "API", "/docs", "What the front end may call.")
