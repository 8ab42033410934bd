"""The audit: every accepted submission is held by a human, owed, watched, or terminal and told. None is left over."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from flaskapp.audit_model import Audit
from flaskapp.current import moment_now
from flaskapp.db import DbSession
from flaskapp.flows import RECENT
from flaskapp.invariants import Broken, broken
from outbox.audit import Fault, find_faults

# A subject counts under the first of these that fits. Nearly every one was told long ago, so its notice is joined:
# at most one fits, and a million of them are compared at once instead of looked up one by one.
STANDING = """
    SELECT c.id::text AS subject_id,
           CASE
             WHEN EXISTS (SELECT 1 FROM cases k WHERE k.closed_at IS NULL
                            AND k.subject_type = '{subject}' AND k.subject_id = c.id::text) THEN 'held'
             WHEN EXISTS (SELECT 1 FROM cases k JOIN notifications n ON k.subject_id = n.id::text
                           WHERE k.closed_at IS NULL AND k.subject_type = 'notification'
                             AND n.subject_type = '{subject}' AND n.subject_id = c.id::text
                             AND n.cycle = c.cycle) THEN 'held'
             WHEN EXISTS (SELECT 1 FROM outbox_messages m WHERE m.state <> 'parked' AND {working}
                            AND m.subject_type = '{subject}' AND m.subject_id = c.id::text) THEN 'owed'
             WHEN EXISTS (SELECT 1 FROM notifications n
                            JOIN outbox_messages m ON m.subject_type = 'notification' AND m.subject_id = n.id::text
                           WHERE n.subject_type = '{subject}' AND n.subject_id = c.id::text
                             AND n.cycle = c.cycle AND n.state = 'pending' AND m.state <> 'parked') THEN 'owed'
             {more}
             WHEN c.state <> 'pending' AND owed.state IN ('sent', 'delivered') THEN 'told'
             -- Undeliverable, and its case closed by a human: they reached the person another way.
             WHEN c.state <> 'pending' AND EXISTS (
                    SELECT 1 FROM notifications n JOIN cases k
                        ON k.subject_type = 'notification' AND k.subject_id = n.id::text
                     WHERE n.subject_type = '{subject}' AND n.subject_id = c.id::text
                       AND n.cycle = c.cycle AND n.state = 'undeliverable' AND k.closed_at IS NOT NULL) THEN 'told'
             ELSE 'unaccounted'
           END AS standing,
           c.state
      FROM {table} c
      LEFT JOIN notifications owed ON owed.subject_type = '{subject}' AND owed.subject_id = c.id::text
            AND owed.cycle = c.cycle AND owed.kind = c.notice
     WHERE {recent}
"""


def standing_of(subject: str, table: str, working: str = "true", more: str = "") -> str:
    """A flow's query of `subject_id`, `standing` and `state`; `:since` leaves out who came to an end before it."""
    return STANDING.format(subject=subject, table=table, working=working, more=more, recent=RECENT.format(of="c."))


CLAIMS = standing_of("travel_claim", "travel_claims")
# A comparison that is owed keeps nobody's promise. Who waited for the answer was told by it. A broken one was told
# of before it broke: since then only a human accounts for it, and a closed case says that one did.
ITFS = standing_of(
    "intent_to_file",
    "intents_to_file",
    working="m.job <> 'jobs.intent_to_file.refresh_itf'",
    more="""
             WHEN c.state = 'broken' THEN CASE WHEN EXISTS (
                    SELECT 1 FROM cases k WHERE k.subject_type = 'intent_to_file' AND k.subject_id = c.id::text
                       AND k.kind = 'broken' AND k.closed_at IS NOT NULL) THEN 'told' ELSE 'unaccounted' END
             WHEN c.path = 'waited' THEN 'told'""",
)
FORMS = standing_of("form526_submission", "form526_submissions")
# A document that Lighthouse has is watched while it is due to be asked after. One that arrived was promised no more.
DOCUMENTS = standing_of(
    "form526_document",
    "(SELECT *, lighthouse_status AS state FROM form526_document_submissions)",
    more="""
             WHEN c.state = 'pending' AND c.poll_due_at IS NOT NULL THEN 'watched'
             WHEN c.state = 'done' THEN 'told'""",
)
TRAVEL_PAY = standing_of("travel_pay_claim", "travel_pay_claims")
SUBMISSIONS = {
    "travel_claim": CLAIMS,
    "intent_to_file": ITFS,
    "form526_submission": FORMS,
    "form526_document": DOCUMENTS,
    "travel_pay_claim": TRAVEL_PAY,
}
LIMIT = 100
# Who ended longer ago is read by the full audit alone: nothing of theirs moves any more.
RECENT_DAYS = 3
RECENT_SCOPE, FULL_SCOPE = "recent", "full"


@dataclass(frozen=True)
class Finding:
    """A submission nobody accounts for."""

    subject_type: str
    subject_id: str
    why: str


@dataclass(frozen=True)
class Report:
    """`standings` counts submissions by flow and standing; `broken` are rules that submissions or notices break,
    `faults` those of the ledger itself."""

    standings: dict[str, dict[str, int]]
    unaccounted: list[Finding]
    broken: list[Broken]
    faults: list[Fault]

    @property
    def unaccounted_count(self) -> int:
        return sum(counts.get("unaccounted", 0) for counts in self.standings.values())

    @property
    def clean(self) -> bool:
        """Nobody is unaccounted for, and every broken rule is in a human's hands."""
        return self.unaccounted_count == 0 and not self.faults and all(found.held for found in self.broken)

    def counts(self) -> dict[str, Any]:
        counted = {"unaccounted": self.unaccounted_count, "broken": len(self.broken), "faults": len(self.faults)}
        return {"standings": self.standings, **counted}

    def findings(self) -> dict[str, Any]:
        """Each finding with its name and id; nothing personal is in them."""
        return {
            "findings": [asdict(found) for found in self.unaccounted],
            "broken": [asdict(found) for found in self.broken],
            "faults": [asdict(fault) for fault in self.faults],
        }


def audit(session: DbSession, since: datetime | None = None) -> Report:
    """Every submission, or those that did not end before `since` (aware). Each rule reads one snapshot."""
    standings: dict[str, dict[str, int]] = {}
    unaccounted: list[Finding] = []
    values = {"since": since}
    for subject_type, query in SUBMISSIONS.items():
        counting = text(f"SELECT standing, count(*) FROM ({query}) s GROUP BY standing")
        standings[subject_type] = {row[0]: row[1] for row in session.execute(counting, values).all()}
        if standings[subject_type].get("unaccounted"):
            lost = text(f"SELECT subject_id, state FROM ({query}) s WHERE standing = 'unaccounted' LIMIT {LIMIT}")
            rows = session.execute(lost, values).all()
            unaccounted += [Finding(subject_type, row.subject_id, f"{row.state}, nobody owes it") for row in rows]
    return Report(standings, unaccounted, broken(session, since), find_faults(session))


def audit_and_keep(session: DbSession) -> Report:
    """The audit of every minute, its result kept for those who ask. Once a day it leaves nobody out."""
    began = moment_now(session)
    full = session.get(Audit, FULL_SCOPE)
    scope = FULL_SCOPE if full is None or full.at < began - timedelta(days=1) else RECENT_SCOPE
    report = audit(session, None if scope == FULL_SCOPE else began - timedelta(days=RECENT_DAYS))
    seconds = float(session.execute(text("SELECT extract(epoch FROM clock_timestamp() - now())")).scalar_one())
    values = {"at": began, "seconds": seconds, "report": {**report.counts(), **report.findings()}}
    for kept in (scope, RECENT_SCOPE):
        # A full audit is a recent one too.
        statement = insert(Audit).values(scope=kept, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["scope"], set_=values))
    return report
