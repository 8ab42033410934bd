"""The audit: every accepted submission is held by a human, owed, watched, or terminal and told. None is left over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from flaskapp.audit_model import Audit
from flaskapp.current import moment_now, settings
from flaskapp.db import DbSession, transaction
from flaskapp.flows import FLOWS, WITHIN
from flaskapp.invariants import Broken, broken
from flaskapp.queues import QUEUES, VISITED
from outbox.audit import Fault, find_faults, find_gate_faults
from outbox.gates import limits_of

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
     WHERE {within}
"""


def standing_of(subject: str, table: str, working: str = "true", more: str = "") -> str:
    """A flow's query of `subject_id`, `standing` and `state`, of who ended within `:since` and `:until` or not yet."""
    within = WITHIN.format(ended="c.finished_at")
    return STANDING.format(subject=subject, table=table, working=working, more=more, within=within)


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

# The past is read from its end on, so many endings at a time: where the next slice begins, or null in the last.
SLICE_SIZE = 20_000
BEFORE_ALL = datetime(1, 1, 1, tzinfo=UTC)
ENDINGS = " UNION ALL ".join(
    f"(SELECT finished_at FROM {flow.states.table} WHERE finished_at < :until ORDER BY finished_at DESC LIMIT :size)"
    for flow in FLOWS.values()
    if flow.states is not None
)
SLICE = text(f"""
    SELECT CASE WHEN count(*) = :size THEN min(finished_at) END
      FROM (SELECT finished_at FROM ({ENDINGS}) every ORDER BY finished_at DESC LIMIT :size) slice
""")


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
    def read(self) -> int:
        """How many submissions were read."""
        return sum(sum(counts.values()) for counts in self.standings.values())

    def and_also(self, other: Report) -> Report:
        """Both together, of different submissions."""
        flows = self.standings.keys() | other.standings.keys()
        added = {flow: dict(Counter(self.standings[flow]) + Counter(other.standings[flow])) for flow in sorted(flows)}
        unaccounted, broken = self.unaccounted + other.unaccounted, self.broken + other.broken
        return Report(added, unaccounted, broken, self.faults + other.faults)

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


def audit(session: DbSession, since: datetime | None = None, until: datetime | None = None) -> Report:
    """Whoever came to an end between these moments (aware), and without `until` who has not; without both, everybody.

    Each rule reads one snapshot.
    """
    standings: dict[str, dict[str, int]] = {}
    unaccounted: list[Finding] = []
    values = {"since": since, "until": until}
    for subject_type, query in SUBMISSIONS.items():
        counting = text(f"SELECT standing, count(*) FROM ({query}) s GROUP BY standing")
        standings[subject_type] = {row[0]: row[1] for row in session.execute(counting, values).all()}
        if standings[subject_type].get("unaccounted"):
            lost = text(f"SELECT subject_id, state FROM ({query}) s WHERE standing = 'unaccounted' LIMIT {LIMIT}")
            rows = session.execute(lost, values).all()
            unaccounted += [Finding(subject_type, row.subject_id, f"{row.state}, nobody owes it") for row in rows]
    faults: list[Fault] = []
    if until is None:
        faults = find_faults(session, settings().gate_cap_seconds)
        faults += find_gate_faults(session, limits_of(QUEUES, VISITED))
    return Report(standings, unaccounted, broken(session, since, until), faults)


def audit_recent() -> Report:
    """Everybody who has not come to an end, or did in the last days."""
    with transaction() as session:
        return audit(session, moment_now(session) - timedelta(days=RECENT_DAYS))


def audit_everything(seen: Callable[[int], None] = lambda count: None) -> Report:
    """Everybody, in slices of a transaction each: one long snapshot would keep the shared database from cleaning up.

    `seen` is told after each slice how many submissions were read.
    """
    with transaction() as session:
        until: datetime | None = moment_now(session) - timedelta(days=RECENT_DAYS)
    whole = audit_recent()
    seen(whole.read)
    while until is not None:
        with transaction() as session:
            since = session.execute(SLICE, {"until": until, "size": SLICE_SIZE}).scalar_one()
            part = audit(session, since if since is not None else BEFORE_ALL, until)
        whole, until = whole.and_also(part), since
        seen(part.read)
    return whole


def audit_and_keep() -> Report:
    """The audit of every minute, its result kept for those who ask. Once a day it leaves nobody out."""
    began = time.monotonic()
    with transaction() as session:
        at = moment_now(session)
        full = session.get(Audit, FULL_SCOPE)
        scope = FULL_SCOPE if full is None or full.at < at - timedelta(days=1) else RECENT_SCOPE
    report = audit_everything() if scope == FULL_SCOPE else audit_recent()
    seconds = time.monotonic() - began
    values = {"at": at, "seconds": seconds, "report": {**report.counts(), **report.findings()}}
    with transaction() as session:
        # A full audit is a recent one too.
        for kept in {scope, RECENT_SCOPE}:
            statement = insert(Audit).values(scope=kept, **values)
            session.execute(statement.on_conflict_do_update(index_elements=["scope"], set_=values))
    return report
