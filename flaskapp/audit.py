"""The audit: every accepted submission is held by a human, owed, watched, or terminal and told. None is left over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from flaskapp.db import DbSession
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
"""
CLAIMS = STANDING.format(table="travel_claims", subject="travel_claim", working="true", more="")
# A comparison that is owed keeps nobody's promise. Who waited for the answer was told by it. A broken one was told
# of before it broke: since then only a human accounts for it, and a closed case says that one did.
ITFS = STANDING.format(
    table="intents_to_file",
    subject="intent_to_file",
    working="m.job <> 'jobs.intent_to_file.refresh_itf'",
    more="""
             WHEN c.state = 'broken' THEN CASE WHEN EXISTS (
                    SELECT 1 FROM cases k WHERE k.subject_type = 'intent_to_file' AND k.subject_id = c.id::text
                       AND k.kind = 'broken' AND k.closed_at IS NOT NULL) THEN 'told' ELSE 'unaccounted' END
             WHEN c.path = 'waited' THEN 'told'""",
)
FORMS = STANDING.format(table="form526_submissions", subject="form526_submission", working="true", more="")
# A document that Lighthouse has is watched while it is due to be asked after. One that arrived was promised no more.
DOCUMENTS = STANDING.format(
    table="(SELECT *, lighthouse_status AS state FROM form526_document_submissions)",
    subject="form526_document",
    working="true",
    more="""
             WHEN c.state = 'pending' AND c.poll_due_at IS NOT NULL THEN 'watched'
             WHEN c.state = 'done' THEN 'told'""",
)
TRAVEL_PAY = STANDING.format(table="travel_pay_claims", subject="travel_pay_claim", working="true", more="")
SUBMISSIONS = {
    "travel_claim": CLAIMS,
    "intent_to_file": ITFS,
    "form526_submission": FORMS,
    "form526_document": DOCUMENTS,
    "travel_pay_claim": TRAVEL_PAY,
}
LIMIT = 100


@dataclass(frozen=True)
class Finding:
    """A submission nobody accounts for."""

    subject_type: str
    subject_id: str
    why: str


@dataclass(frozen=True)
class Report:
    """`standings` counts submissions by flow and standing; `faults` are broken rules of the ledger itself."""

    standings: dict[str, dict[str, int]]
    unaccounted: list[Finding]
    faults: list[Fault]

    @property
    def unaccounted_count(self) -> int:
        return sum(counts.get("unaccounted", 0) for counts in self.standings.values())

    @property
    def clean(self) -> bool:
        return self.unaccounted_count == 0 and not self.faults

    def counts(self) -> dict[str, Any]:
        return {"standings": self.standings, "unaccounted": self.unaccounted_count, "faults": len(self.faults)}


def audit(session: DbSession) -> Report:
    """Read everything once, in one snapshot of the caller's transaction."""
    standings: dict[str, dict[str, int]] = {}
    unaccounted: list[Finding] = []
    for subject_type, query in SUBMISSIONS.items():
        counted = session.execute(text(f"SELECT standing, count(*) FROM ({query}) s GROUP BY standing")).all()
        standings[subject_type] = {row[0]: row[1] for row in counted}
        if standings[subject_type].get("unaccounted"):
            lost = text(f"SELECT subject_id, state FROM ({query}) s WHERE standing = 'unaccounted' LIMIT {LIMIT}")
            rows = session.execute(lost).all()
            unaccounted += [Finding(subject_type, row.subject_id, f"{row.state}, nobody owes it") for row in rows]
    return Report(standings, unaccounted, find_faults(session))
