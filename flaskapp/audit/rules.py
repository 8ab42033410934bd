"""Rules for every submission and notification: each once, in SQL, named by what is wrong when it is broken.

The audit runs them, the metrics count them, the console shows them, and `flask audit --repair` repairs what is safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from flaskapp.current import flows
from flaskapp.db import DbSession
from flaskapp.flows import Repair, Rule, States, Subject
from flaskapp.subjects import states_of
from outbox import sql

# Cases that the audit itself opens: they say that records are wrong, and do not make them right.
AUDIT_KINDS = ("unaccounted", "contradiction")
# Cases beside work: their owners rely on its message.
WITH_WORK = (
    *("overdue", "past_midnight", "document_not_found", "document_unclear", "document_stuck"),
    # Their message is parked, or goes on since somebody reopened it.
    *("parked_by_hand", "unsettled"),
    "synthetic_late",
)
LIMIT = 100

# Work that nobody was promised does not count.
LIVE = f"""
    SELECT 1 {sql.messages(subject_type=":subject", subject_id="s.id")} AND m.job <> ALL(CAST(:unpromised AS text[]))"""
CASES = "SELECT 1 FROM cases k WHERE k.subject_type = :subject AND k.subject_id = s.id"
HELD = f"{CASES} AND k.closed_at IS NULL AND k.kind NOT IN {AUDIT_KINDS + WITH_WORK}"
EVER_HELD = f"{CASES} AND (k.closed_at IS NOT NULL OR k.kind NOT IN {AUDIT_KINDS})"
# A human looked into the contradiction and closed its case: as it stands, it is explained.
EXPLAINED = f"{CASES} AND k.closed_at IS NOT NULL AND k.kind = 'contradiction' AND k.details ->> 'state' = s.state"
HISTORY = sql.history(subject_type=":subject", subject_id="s.id")
ANY_CLOSING = sql.history(subject_type=":subject", subject_id="s.id", alias="c")
LATER_MOVES = sql.history(subject_type=":subject", subject_id="h.subject_id", alias="later")

# The last move of each of the subjects, read for all of them together. A late answer is a move of an attempt.
LAST_MOVES = f"""
    SELECT DISTINCT ON (h.subject_id) h.subject_id, h.moved_to
      FROM asked JOIN (SELECT h.* {sql.history(subject_type=":subject")}) h ON h.subject_id = asked.id
     WHERE h.moved_to IS NOT NULL AND h.what <> 'attempt.answered_late'
     ORDER BY h.subject_id DESC, h.id DESC
"""

OF_CASE = f"{HISTORY} AND h.detail ->> 'case' = CAST(k.id AS text)"
# If retention has dropped the opening of a case from the history, nobody can tell who closed it.
CLOSED_SILENTLY = f"""
    FROM cases k WHERE k.subject_type = :subject AND k.subject_id = s.id
     AND k.closed_at IS NOT NULL AND k.kind NOT IN {AUDIT_KINDS}
     AND EXISTS (SELECT 1 {OF_CASE} AND h.what = 'case.opened')
     AND NOT EXISTS (SELECT 1 {OF_CASE} AND h.what = 'case.closed')"""


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
    """What is broken. However many are listed, `count` is how many there are, and `without_case` of them have none."""

    listed: list[Broken]
    count: int
    without_case: int


# Rules for what exists: `s` has id, state, notification, cycle, watched and, if its records are there since its last
# change, `kept`. Its history need not mention state `:first`. There is no verdict beyond what is kept.
OF_SUBJECTS = (
    Rule(
        "pending_without_work",
        "it is pending, but there is no work for its next step",
        f"s.state = 'pending' AND NOT s.watched AND NOT EXISTS ({LIVE}) AND NOT EXISTS ({HELD})",
        Repair.ENQUEUE,
    ),
    Rule(
        "failed_without_case",
        "it failed, and there never was a case for it",
        f"s.kept AND s.state IN ('failed', 'undeliverable') AND NOT EXISTS ({EVER_HELD})",
        Repair.GIVE_CASE,
    ),
    Rule(
        "parked_without_case",
        "its message is parked, and there never was a case for it",
        f"EXISTS ({LIVE} AND m.state = 'parked') AND NOT EXISTS ({EVER_HELD})",
        Repair.GIVE_CASE,
    ),
    Rule(
        "case_missing",
        "its history opened a case that is not there, and there is no other",
        f"""EXISTS (
            SELECT 1 {HISTORY} AND h.what = 'case.opened'
               AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.id = CAST(h.detail ->> 'case' AS uuid))
               AND NOT EXISTS (SELECT 1 {ANY_CLOSING}
                                  AND c.what = 'case.closed' AND c.detail ->> 'case' = h.detail ->> 'case')
               AND NOT EXISTS ({EVER_HELD} AND k.opened_at >= h.at))""",
        Repair.GIVE_CASE,
    ),
    Rule(
        "case_closed_silently",
        "its case is closed, and its history does not say by whom",
        f"EXISTS (SELECT 1 {CLOSED_SILENTLY})",
        Repair.REOPEN_CASE,
    ),
    Rule(
        "notification_missing",
        "it has ended, but the notification that says so is missing",
        "s.kept AND s.notification IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.subject_type = :subject"
        " AND n.subject_id = s.id AND n.kind = s.notification AND n.cycle = s.cycle)",
        Repair.NOTIFY,
    ),
    Rule(
        "unexplained",
        "its state is not the one that its history ends with",
        # Retention drops the oldest first: if any move is left, the last one is.
        f"""s.state IS DISTINCT FROM COALESCE(
                last.moved_to, CASE WHEN s.kept THEN CAST(:first AS text) ELSE s.state END)
            AND NOT EXISTS ({EXPLAINED})""",
        Repair.LEAVE_TO_HUMAN,
        of_last_move=True,
    ),
)
# Rules for what does not exist any more: queries of the ids by which something still refers to it.
OF_THE_GONE = (
    Rule(
        "work_without_subject",
        "there is work for something that does not exist",
        f"SELECT subject_id {sql.messages(subject_type=':subject')}",
        Repair.STOP_WORK,
        of_now=True,
    ),
    Rule(
        "row_gone",
        "it has a history, but its row is not there",
        f"SELECT subject_id {sql.history(subject_type=':subject')} AND moved_to IS NOT NULL"
        " AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)"
        " AND (CAST(:until AS timestamptz) IS NULL OR at < :until AND NOT EXISTS ("
        f"SELECT 1 {LATER_MOVES} AND later.moved_to IS NOT NULL AND later.at >= :until))",
        Repair.LEAVE_TO_HUMAN,
    ),
)
# A case of the submission covers what is wrong with a notification about it as well.
HELD_OF = f"""
    SELECT s.id, s.state, EXISTS (
               SELECT 1 FROM cases k LEFT JOIN notifications n
                    ON :subject = 'notification' AND n.id = CAST(s.id AS uuid)
                WHERE k.closed_at IS NULL AND k.kind IN {AUDIT_KINDS}
                  AND (k.subject_type, k.subject_id) IN ((:subject, s.id), (n.subject_type, n.subject_id))) AS held
      FROM ({{query}}) s
"""
# Nearly always there is none, so findings are listed and sorted only where there are any. They are counted to the end:
# with a LIMIT the planner expects to find some soon, and reads a whole table where there are none.
COUNT = "SELECT count(*) FROM ({query}) s"
ALL = f"""
    SELECT f.*, count(*) OVER () AS total, count(*) FILTER (WHERE NOT f.held) OVER () AS without_case
      FROM ({HELD_OF}) f ORDER BY f.held LIMIT :limit
"""


def query_of(rule: Rule, states: States, one: bool = False) -> str:
    """The SQL of the subjects that break a rule; only of the subject `:one`, if `one`."""
    if rule not in OF_THE_GONE:
        subjects = f"{states.query} AND id = CAST(:one AS uuid)" if one else states.query
        if rule.of_last_move:
            last = f"LEFT JOIN ({LAST_MOVES}) last ON last.subject_id = s.id"
            return f"WITH asked AS ({subjects}) SELECT s.id, s.state FROM asked s {last} WHERE {rule.where}"
        return f"SELECT s.id, s.state FROM ({subjects}) s WHERE {rule.where}"
    missing = f"NOT EXISTS (SELECT 1 FROM {states.table} t WHERE t.id = CAST(s.id AS uuid))"
    where = f"{rule.where} AND subject_id = :one" if one else rule.where
    spoken_of = f"SELECT DISTINCT subject_id AS id, 'gone' AS state FROM ({where}) spoken"
    return f"SELECT s.id, s.state FROM ({spoken_of}) s WHERE {missing} AND NOT EXISTS ({EXPLAINED})"


def in_use(session: DbSession) -> dict[str, Subject]:
    """The promised types of subjects of which there is, or was, at least one: no rule can be broken by another.

    Flows are switched on one by one, and asking two dozen questions about a flow without a person costs as much as
    about one with many.
    """
    promises = flows().promises
    asked = []
    for name, subject in promises.items():
        of_type = f"'{name}'"
        table = f"FROM {states_of(subject).table}"
        places = (table, sql.messages(subject_type=of_type), sql.history(subject_type=of_type))
        asked.append(" OR ".join(f"EXISTS (SELECT {place})" for place in places))
    found = session.execute(text(f"SELECT {', '.join(asked)}")).one()
    return {name: subject for (name, subject), used in zip(promises.items(), found, strict=True) if used}


def broken(
    session: DbSession,
    subjects: Iterable[Subject],
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = LIMIT,
) -> AllBroken:
    """The rules that these types of subjects break now, at most `limit` findings of a rule and type, those without a
    case first.

    `since` (aware) leaves out what came to its end before it, `until` also what has not ended before that.
    """
    found, count, without_case = [], 0, 0
    for subject in subjects:
        values = {**values_of(subject, since, until), "limit": limit}
        rules = [rule for rule in rules_of(subject) if not (rule.of_now and until is not None)]
        queries = [query_of(rule, states_of(subject)) for rule in rules]
        # One round trip for all: sending and reading a query takes as long as answering it where nothing is wrong.
        counting = text("SELECT " + ", ".join(f"({COUNT.format(query=query)})" for query in queries))
        counts = session.execute(counting, values).one()
        for rule, query, broken_count in zip(rules, queries, counts, strict=True):
            if not broken_count:
                continue
            rows = session.execute(text(ALL.format(query=query)), values).all()
            found += [Broken(rule.name, rule.words, subject.name, row.id, row.state, row.held) for row in rows]
            if rows:
                # Between the two queries it may have been repaired.
                count, without_case = count + rows[0].total, without_case + rows[0].without_case
    return AllBroken(found, count, without_case)


def values_of(subject: Subject, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
    unpromised = list(flows().unpromised_jobs)
    period = {"since": since, "until": until, "only": None}
    return {"subject": subject.name, "first": subject.first_state, "unpromised": unpromised, **period}


def still_broken(session: DbSession, found: Broken) -> bool:
    """Whether a finding still holds, checked under the lock of the subject's row."""
    subject, rule = rule_of(found)
    states = states_of(subject)
    values = {**values_of(subject), "one": found.subject_id}
    session.execute(text(f"SELECT FROM {states.table} WHERE id = CAST(:one AS uuid) FOR UPDATE"), values)
    return session.execute(text(query_of(rule, states, one=True)), values).first() is not None


def rule_of(found: Broken) -> tuple[Subject, Rule]:
    """The subject and the rule that a finding names."""
    subject = flows().promises[found.subject_type]
    return subject, next(rule for rule in rules_of(subject) if rule.name == found.rule)


def rules_of(subject: Subject) -> tuple[Rule, ...]:
    """Every rule for this type of subject. A lost notification is found by a rule of its submission."""
    return (*OF_SUBJECTS, *(OF_THE_GONE if subject.is_submission else ()), *subject.rules)
