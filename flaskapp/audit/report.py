"""The audit: each accepted submission has a case, outstanding work or a poll due, or has ended and its person knows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import insert

from flaskapp.audit.models import Audit
from flaskapp.audit.rules import AUDIT_KINDS, LIMIT, AllBroken, Broken, broken, in_use
from flaskapp.current import breaker_settings, database_now, flows, settings
from flaskapp.db import DbSession, transaction
from flaskapp.flows import WITHIN, Subject
from flaskapp.subjects import states_of
from outbox import audit as ledger_audit
from outbox import sql

# A subject counts under the first of these that fits. For nearly every one the person was informed long ago, so its
# notification is joined: at most one fits, and a million are compared at once instead of looked up one by one.
STANDING = """
    SELECT c.id::text AS subject_id,
           CASE
             WHEN EXISTS (SELECT 1 FROM cases k WHERE k.closed_at IS NULL
                            AND k.subject_type = '{subject}' AND k.subject_id = c.id::text) THEN 'held'
             WHEN EXISTS (SELECT 1 FROM cases k JOIN notifications n ON n.id = k.subject_id::uuid
                           WHERE k.closed_at IS NULL AND k.subject_type = 'notification'
                             AND n.subject_type = '{subject}' AND n.subject_id = c.id::text
                             AND n.cycle = c.cycle) THEN 'held'
             WHEN EXISTS (SELECT 1 {work} AND m.state <> 'parked'
                            AND m.job <> ALL(CAST(:unpromised AS text[]))) THEN 'outstanding'
             WHEN EXISTS (SELECT 1 FROM (SELECT m.* {sendings}) m JOIN notifications n ON n.id = m.subject_id::uuid
                           WHERE m.state <> 'parked'
                             AND n.subject_type = '{subject}' AND n.subject_id = c.id::text
                             AND n.cycle = c.cycle AND n.state = 'pending') THEN 'outstanding'
             {accounted}
             WHEN c.state <> 'pending' AND due.state IN ('sent', 'delivered') THEN 'notified'
             -- Undeliverable, and its case closed by a human: they reached the person another way.
             WHEN c.state <> 'pending' AND due.state = 'undeliverable' AND EXISTS (
                    SELECT 1 FROM cases k WHERE k.closed_at IS NOT NULL
                       AND k.subject_type = 'notification' AND k.subject_id = due.id::text) THEN 'notified'
             -- There was nobody to write to, and a human closed its case: they reached the person another way.
             WHEN c.state <> 'pending' AND c.notification IS NULL AND EXISTS (
                    SELECT 1 FROM cases k WHERE k.closed_at IS NOT NULL AND k.kind NOT IN {audit_kinds}
                       AND k.subject_type = '{subject}' AND k.subject_id = c.id::text) THEN 'notified'
             -- Its records may have been removed since: nothing follows from their absence.
             WHEN c.state <> 'pending' AND c.finished_at < {kept_since} THEN 'past'
             ELSE 'unaccounted'
           END AS standing,
           c.state
      FROM {table} c
      LEFT JOIN notifications due ON due.subject_type = '{subject}' AND due.subject_id = c.id::text
            AND due.cycle = c.cycle AND due.kind = c.notification
     WHERE {within}
"""


def standing_of(subject: Subject) -> str:
    """The SQL of `subject_id`, `standing` and `state` of a type of subject, of those that ended between `:since` and
    `:until` or have not ended yet."""
    states = states_of(subject)
    table = states.table
    if states.column != "state":
        table = f"(SELECT *, {states.column} AS state FROM {states.table})"
    within = WITHIN.format(ended="c.finished_at")
    return STANDING.format(
        subject=subject.name,
        table=table,
        work=sql.messages(subject_type=f"'{subject.name}'", subject_id="c.id::text"),
        sendings=sql.messages(subject_type="'notification'"),
        accounted=subject.accounted,
        audit_kinds=AUDIT_KINDS,
        kept_since=sql.kept_since(),
        within=within,
    )


# Submissions that ended longer ago are read only by the full audit: nothing about them changes any more.
RECENT_DAYS = 3
RECENT_SCOPE, FULL_SCOPE = "recent", "full"

# The past is read backwards, so many endings at a time: this finds where a slice begins, or null for the last one.
SLICE_SIZE = 20_000
BEFORE_ALL = datetime(1, 1, 1, tzinfo=UTC)
ENDINGS = "(SELECT finished_at FROM {table} WHERE finished_at < :until ORDER BY finished_at DESC LIMIT :size)"
SLICE = """
    SELECT CASE WHEN count(*) = :size THEN min(finished_at) END
      FROM (SELECT finished_at FROM ({endings}) every ORDER BY finished_at DESC LIMIT :size) slice
"""


T = TypeVar("T", Broken, ledger_audit.Fault)


@dataclass(frozen=True)
class Finding:
    """A submission that nobody accounts for."""

    subject_type: str
    subject_id: str
    why: str


@dataclass(frozen=True)
class Report:
    """`standings` counts submissions by flow and standing; `broken` are rules that submissions or notifications break,
    `faults` those of the ledger itself. Long lists are cut; counts are not."""

    standings: dict[str, dict[str, int]]
    unaccounted: list[Finding]
    all_broken: AllBroken
    faults: list[ledger_audit.Fault]
    fault_count: int

    @property
    def broken(self) -> list[Broken]:
        return self.all_broken.listed

    @property
    def unaccounted_count(self) -> int:
        return sum(counts.get("unaccounted", 0) for counts in self.standings.values())

    @property
    def submissions_read(self) -> int:
        """How many submissions were read."""
        return sum(sum(counts.values()) for counts in self.standings.values())

    def and_also(self, other: Report) -> Report:
        """Both together, of different submissions."""
        flows = self.standings.keys() | other.standings.keys()
        added = {flow: dict(Counter(self.standings[flow]) + Counter(other.standings[flow])) for flow in sorted(flows)}
        mine, others = self.all_broken, other.all_broken
        broken = AllBroken(
            mine.listed + others.listed, mine.count + others.count, mine.without_case + others.without_case
        )
        faults, fault_count = self.faults + other.faults, self.fault_count + other.fault_count
        return Report(added, self.unaccounted + other.unaccounted, broken, faults, fault_count)

    @property
    def clean(self) -> bool:
        """Nobody is unaccounted for, the ledger has no faults, and a human has a case for every broken rule."""
        return self.unaccounted_count == 0 and not self.fault_count and not self.all_broken.without_case

    def counts(self) -> dict[str, Any]:
        return {
            "standings": self.standings,
            "unaccounted": self.unaccounted_count,
            "broken_count": self.all_broken.count,
            "without_case_count": self.all_broken.without_case,
            "fault_count": self.fault_count,
        }

    def findings(self) -> dict[str, Any]:
        """The listed findings, each with its name and id; nothing personal is in them."""
        return {
            "findings": [asdict(found) for found in self.unaccounted],
            "broken": [asdict(found) for found in some_of(self.broken)],
            "faults": [asdict(fault) for fault in some_of(self.faults)],
        }


def some_of(found: list[T]) -> list[T]:
    """At most `LIMIT` findings of each rule: nobody reads more."""
    seen: Counter[str] = Counter()
    shown = []
    for item in found:
        seen[item.rule] += 1
        if seen[item.rule] <= LIMIT:
            shown.append(item)
    return shown


def audit(
    session: DbSession, since: datetime | None = None, until: datetime | None = None, limit: int = LIMIT
) -> Report:
    """Audit what ended between these times (aware) and, without `until`, what has not ended; without both, everything.

    Each rule reads one snapshot; `limit` is how many findings of each are listed.
    """
    standings: dict[str, dict[str, int]] = {}
    unaccounted: list[Finding] = []
    registered, used = flows(), in_use(session)
    values = {"since": since, "until": until, "unpromised": list(registered.unpromised_jobs)}
    for subject_type, subject in registered.submissions.items():
        standings[subject_type] = {}
        if subject_type not in used:
            continue
        query = standing_of(subject)
        counting = text(f"SELECT standing, count(*) FROM ({query}) s GROUP BY standing")
        standings[subject_type] = {row[0]: row[1] for row in session.execute(counting, values).all()}
        if standings[subject_type].get("unaccounted"):
            lost = text(f"SELECT subject_id, state FROM ({query}) s WHERE standing = 'unaccounted' LIMIT {LIMIT}")
            rows = session.execute(lost, values).all()
            unaccounted += [Finding(subject_type, row.subject_id, f"{row.state}, no work for it") for row in rows]
    everything = broken(session, used.values(), since, until, limit)
    if until is not None:
        return Report(standings, unaccounted, everything, [], 0)
    faults = ledger_audit.find_faults(session, limit, known())
    fault_count = ledger_audit.count_faults(session, faults, limit, known())
    return Report(standings, unaccounted, everything, faults, fault_count)


def known() -> ledger_audit.Known:
    """What the ledger's own rules have to know of this application."""
    registered = flows()
    served = {path: work.queue for path, work in registered.works.items()}
    limits = registered.breaker_limits
    return ledger_audit.Known(served, limits, breaker_settings(settings()), registered.work_rules)


def audit_recent(limit: int = LIMIT) -> Report:
    """Audit the submissions that have not ended, or ended in the last days."""
    with transaction() as session:
        return audit(session, database_now(session) - timedelta(days=RECENT_DAYS), limit=limit)


def audit_everything(seen: Callable[[int], None] = lambda count: None, limit: int = LIMIT) -> Report:
    """Audit all submissions, in slices of a transaction each: one long snapshot would keep Postgres from cleaning up.

    `seen` is called after each slice with the number of submissions read.
    """
    with transaction() as session:
        until: datetime | None = database_now(session) - timedelta(days=RECENT_DAYS)
    whole = audit_recent(limit)
    seen(whole.submissions_read)
    while until is not None:
        with transaction() as session:
            since = session.execute(slice_query(), {"until": until, "size": SLICE_SIZE}).scalar_one()
            part = audit(session, since if since is not None else BEFORE_ALL, until, limit)
        whole, until = whole.and_also(part), since
        seen(part.submissions_read)
    return whole


def slice_query() -> TextClause:
    """The end of the next slice of the past, counted over every type of submission."""
    tables = [states_of(subject).table for subject in flows().submissions.values()]
    return text(SLICE.format(endings=" UNION ALL ".join(ENDINGS.format(table=table) for table in tables)))


def audit_and_keep() -> Report:
    """The audit of every minute, with its result kept. Once a day it reads everything."""
    began = time.monotonic()
    with transaction() as session:
        at = database_now(session)
        full = session.get(Audit, FULL_SCOPE)
        # One in the future is of a clock that was put back since.
        read_today = full is not None and at - timedelta(days=1) <= full.at <= at
        scope = RECENT_SCOPE if read_today else FULL_SCOPE
    report = audit_everything() if scope == FULL_SCOPE else audit_recent()
    seconds = time.monotonic() - began
    values = {"at": at, "seconds": seconds, "report": {**report.counts(), **report.findings()}}
    with transaction() as session:
        # A full audit is a recent one too.
        for kept in {scope, RECENT_SCOPE}:
            statement = insert(Audit).values(scope=kept, **values)
            session.execute(statement.on_conflict_do_update(index_elements=["scope"], set_=values))
    return report
