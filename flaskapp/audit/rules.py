"""What must hold for every submission and notice: each rule once, in SQL, named by what is wrong when it is broken.

The audit runs them, the metric counts them, the console shows them; `flask audit --repair` mends what it safely can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from flaskapp.db import DbSession
from flaskapp.flows import FLOWS, WITHIN, States
from flaskapp.notifications.states import NOTIFICATION, PENDING
from flaskapp.travel_pay.service import IDENTIFY_JOB, STEP_JOBS
from flaskapp.travel_pay.states import APPOINTMENT

# Cases the audit itself opens: they say that records are in disorder, which they do not mend.
AUDIT_KINDS = ("unaccounted", "contradiction")
# Cases that go along with work: whoever holds one relies on the work going on.
WITH_WORK = ("overdue", "past_midnight", "document_not_found", "document_unclear", "document_stuck")
LIMIT = 100

# Comparisons of ITFs keep nobody's promise.
LIVE = """
    SELECT 1 FROM outbox_messages m
     WHERE m.subject_type = :subject AND m.subject_id = s.id AND m.job <> 'jobs.intent_to_file.refresh_itf'"""
CASES = "SELECT 1 FROM cases k WHERE k.subject_type = :subject AND k.subject_id = s.id"
HELD = f"{CASES} AND k.closed_at IS NULL AND k.kind NOT IN {AUDIT_KINDS + WITH_WORK}"
EVER_HELD = f"{CASES} AND (k.closed_at IS NOT NULL OR k.kind NOT IN {AUDIT_KINDS})"
# A human looked into the contradiction and closed its case: as it stands, it is explained.
EXPLAINED = f"{CASES} AND k.closed_at IS NOT NULL AND k.kind = 'contradiction' AND k.details ->> 'state' = s.state"
HISTORY = "FROM outbox_history h WHERE h.subject_type = :subject AND h.subject_id = s.id"

OF_CASE = f"{HISTORY} AND h.detail ->> 'case' = CAST(k.id AS text)"
# Of a case whose opening retention has dropped, nobody can tell who closed it.
CLOSED_SILENTLY = f"""
    FROM cases k WHERE k.subject_type = :subject AND k.subject_id = s.id
     AND k.closed_at IS NOT NULL AND k.kind NOT IN {AUDIT_KINDS}
     AND EXISTS (SELECT 1 {OF_CASE} AND h.what = 'case.opened')
     AND NOT EXISTS (SELECT 1 {OF_CASE} AND h.what = 'case.closed')"""


@dataclass(frozen=True)
class Rule:
    """`where`: which subjects break it, or where to look for the gone. `words`: what that means to a human.
    `of_now`: it knows no past, so whoever reads that in slices asks it once."""

    name: str
    words: str
    where: str
    of_now: bool = False


@dataclass(frozen=True)
class Broken:
    """A rule, and a subject that breaks it in a state. `held`: the audit gave it to a human already."""

    rule: str
    words: str
    subject_type: str
    subject_id: str
    state: str
    held: bool


@dataclass(frozen=True)
class AllBroken:
    """What is broken. However many are listed, `count` is how many there are, `without_case` how many without a case."""

    listed: list[Broken]
    count: int
    without_case: int


# Of what exists: `s` has id, state, notice, cycle and watched; `:first` is the state its history need not mention.
OF_SUBJECTS = (
    Rule(
        "pending_without_work",
        "it is pending, and nobody owes the next step",
        f"s.state = 'pending' AND NOT s.watched AND NOT EXISTS ({LIVE}) AND NOT EXISTS ({HELD})",
    ),
    Rule(
        "failed_without_case",
        "it failed, and nobody was ever given its case",
        f"s.state IN ('failed', 'undeliverable') AND NOT EXISTS ({EVER_HELD})",
    ),
    Rule(
        "parked_without_case",
        "its message is parked, and nobody was ever given its case",
        f"EXISTS ({LIVE} AND m.state = 'parked') AND NOT EXISTS ({EVER_HELD})",
    ),
    Rule(
        "case_missing",
        "its history opened a case that is not there, and nobody was given another",
        f"""EXISTS (
            SELECT 1 {HISTORY} AND h.what = 'case.opened'
               AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.id = CAST(h.detail ->> 'case' AS uuid))
               AND NOT EXISTS (SELECT 1 FROM outbox_history c WHERE c.subject_type = :subject AND c.subject_id = s.id
                                  AND c.what = 'case.closed' AND c.detail ->> 'case' = h.detail ->> 'case')
               AND NOT EXISTS ({EVER_HELD} AND k.opened_at >= h.at))""",
    ),
    Rule(
        "case_closed_silently",
        "its case is closed, and its history does not say by whom",
        f"EXISTS (SELECT 1 {CLOSED_SILENTLY})",
    ),
    Rule(
        "notification_missing",
        "it came to an end, and the notice that says so is missing",
        "s.notification IS NOT NULL AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.subject_type = :subject"
        " AND n.subject_id = s.id AND n.kind = s.notice AND n.cycle = s.cycle)",
    ),
    Rule(
        "unexplained",
        "its state is not the one its history ends with",
        f"""s.state IS DISTINCT FROM COALESCE((
                SELECT h.moved_to {HISTORY} AND h.moved_to IS NOT NULL AND h.what <> 'attempt.answered_late'
                 ORDER BY h.id DESC LIMIT 1), CAST(:first AS text))
            AND NOT EXISTS ({EXPLAINED})""",
    ),
)
# Of what does not exist any more: queries of the ids under which something still speaks of it.
OF_THE_GONE = (
    Rule(
        "work_without_subject",
        "work is owed for something that does not exist",
        "SELECT subject_id FROM outbox_messages WHERE subject_type = :subject",
        of_now=True,
    ),
    Rule(
        "row_gone",
        "its history goes on without it: the row is not there",
        "SELECT subject_id FROM outbox_history WHERE subject_type = :subject AND moved_to IS NOT NULL"
        " AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)"
        " AND (CAST(:until AS timestamptz) IS NULL OR at < :until AND NOT EXISTS ("
        "SELECT 1 FROM outbox_history later WHERE later.subject_type = :subject"
        " AND later.subject_id = outbox_history.subject_id AND later.moved_to IS NOT NULL AND later.at >= :until))",
    ),
)
# Of one kind of subject alone.
FEWER_CHUNKS = """
    a.purged_at IS NULL
    AND (SELECT count(*) FROM form526_attachment_chunks c WHERE c.guid = a.guid) < a.chunks"""
STEP_JOB = " ".join(f"WHEN '{step}' THEN '{job}'" for step, job in STEP_JOBS.items())
OF_FLOW: dict[str, tuple[Rule, ...]] = {
    "form526_submission": (
        Rule(
            "bytes_missing",
            "it names a file whose bytes are not all there any more",
            f"""s.state = 'pending' AND EXISTS (
                SELECT 1 FROM form526_attachments a WHERE a.submission_id = CAST(s.id AS uuid) AND {FEWER_CHUNKS})""",
        ),
    ),
    "form526_document": (
        Rule(
            "bytes_missing",
            "it is to be uploaded, and its bytes are not all there any more",
            f"""s.state = 'pending' AND EXISTS (
                SELECT 1 FROM form526_document_submissions d JOIN form526_attachments a ON a.guid = d.attachment_guid
                 WHERE d.id = CAST(s.id AS uuid) AND d.lighthouse_request_id IS NULL AND {FEWER_CHUNKS})""",
        ),
    ),
    "travel_pay_claim": (
        Rule(
            "step_and_work_differ",
            "the step it stands at is not the one that is owed",
            f"""s.state = 'pending' AND EXISTS (
                SELECT 1 FROM travel_pay_claims p JOIN outbox_messages m
                    ON m.subject_type = :subject AND m.subject_id = s.id
                 WHERE p.id = CAST(s.id AS uuid) AND m.job <> CASE p.step {STEP_JOB} END
                   AND (m.job, p.step) <> ('{IDENTIFY_JOB}', '{APPOINTMENT}'))""",
        ),
    ),
}
# Before a notice moves, it is pending.
NOTIFICATION_KINDS = States(
    NOTIFICATION,
    "notifications",
    "SELECT id::text AS id, state, CAST(NULL AS text) AS notification, cycle, false AS watched FROM notifications"
    " WHERE (CAST(:only AS text) IS NULL OR id::text = :only) AND "
    + WITHIN.format(ended="COALESCE(finished_at, sent_at)"),
)
# What is wrong with a notice is held by the case of the submission it tells of as well.
HELD_OF = f"""
    SELECT s.id, s.state, EXISTS (
               SELECT 1 FROM cases k LEFT JOIN notifications n
                    ON :subject = 'notification' AND n.id = CAST(s.id AS uuid)
                WHERE k.closed_at IS NULL AND k.kind IN {AUDIT_KINDS}
                  AND (k.subject_type, k.subject_id) IN ((:subject, s.id), (n.subject_type, n.subject_id))) AS held
      FROM ({{query}}) s
"""
# Nearly always there is none: only where there is any are they listed and sorted. Counted to the end: told that a few
# are enough, the planner hopes to meet them soon, and reads a whole table where it finds none.
COUNT = "SELECT count(*) FROM ({query}) s"
ALL = f"""
    SELECT f.*, count(*) OVER () AS total, count(*) FILTER (WHERE NOT f.held) OVER () AS without_case
      FROM ({HELD_OF}) f ORDER BY f.held LIMIT :limit
"""


def query_of(rule: Rule, states: States, one: bool = False) -> str:
    """Who breaks it, in SQL; of the subject `:one` alone, if it is one."""
    if rule not in OF_THE_GONE:
        subjects = f"{states.query} AND id = CAST(:one AS uuid)" if one else states.query
        return f"SELECT s.id, s.state FROM ({subjects}) s WHERE {rule.where}"
    missing = f"NOT EXISTS (SELECT 1 FROM {states.table} t WHERE t.id = CAST(s.id AS uuid))"
    where = f"{rule.where} AND subject_id = :one" if one else rule.where
    spoken_of = f"SELECT DISTINCT subject_id AS id, 'gone' AS state FROM ({where}) spoken"
    return f"SELECT s.id, s.state FROM ({spoken_of}) s WHERE {missing} AND NOT EXISTS ({EXPLAINED})"


def broken(
    session: DbSession, since: datetime | None = None, until: datetime | None = None, limit: int = LIMIT
) -> AllBroken:
    """The rules broken now. So many findings of a rule and kind of subject are listed, who has no case yet first.

    `since` (aware) leaves out what came to its end before it, `until` also what has not ended before that.
    """
    found, count, without_case = [], 0, 0
    for subject, states, rules in subjects():
        values = {**values_of(subject, states, since, until), "limit": limit}
        for rule in rules:
            if rule.of_now and until is not None:
                continue
            query = query_of(rule, states)
            if not session.execute(text(COUNT.format(query=query)), values).scalar_one():
                continue
            rows = session.execute(text(ALL.format(query=query)), values).all()
            found += [Broken(rule.name, rule.words, subject, row.id, row.state, row.held) for row in rows]
            # Between the two questions it may have been set right.
            count, without_case = (
                (count + rows[0].total, without_case + rows[0].without_case) if rows else (count, without_case)
            )
    return AllBroken(found, count, without_case)


def values_of(
    subject: str, states: States, since: datetime | None = None, until: datetime | None = None
) -> dict[str, Any]:
    first = PENDING if states is NOTIFICATION_KINDS else None
    return {"subject": subject, "first": first, "since": since, "until": until, "only": None}


def still_broken(session: DbSession, found: Broken) -> bool:
    """Whether what was found is so now, asked under the lock of the subject's row."""
    (states, rule) = next(
        (states, rule)
        for subject, states, rules in subjects()
        for rule in rules
        if (subject, rule.name) == (found.subject_type, found.rule)
    )
    values = {**values_of(found.subject_type, states), "one": found.subject_id}
    session.execute(text(f"SELECT FROM {states.table} WHERE id = CAST(:one AS uuid) FOR UPDATE"), values)
    return session.execute(text(query_of(rule, states, one=True)), values).first() is not None


def subjects() -> Iterator[tuple[str, States, tuple[Rule, ...]]]:
    """A notice that is gone is missed by the submission it told of."""
    for subject, flow in FLOWS.items():
        if flow.states is not None:
            yield subject, flow.states, (*OF_SUBJECTS, *OF_THE_GONE, *OF_FLOW.get(subject, ()))
    yield "notification", NOTIFICATION_KINDS, OF_SUBJECTS
