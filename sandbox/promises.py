"""The judge of promises, for all flows: what Postgres, the upstreams' books and the people's phones hold now.

The script's plan counts in one case only: where it planned that a named human holds the matter, nothing else will do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from sandbox.faults import Control
from sandbox.processes import surroundings
from sandbox.system import System

Row = dict[str, Any]

SETTLED = """
    SELECT n.subject_id AS key
      FROM notifications n JOIN travel_claims c ON c.id::text = n.subject_id AND c.cycle = n.cycle
     WHERE n.subject_type = 'travel_claim' AND n.finished_at IS NOT NULL
    UNION
    SELECT p.account_id::text
      FROM notifications n JOIN travel_pay_claims p ON p.id::text = n.subject_id AND p.cycle = n.cycle
     WHERE n.subject_type = 'travel_pay_claim' AND n.finished_at IS NOT NULL
    UNION
    SELECT i.account_id::text
      FROM notifications n JOIN intents_to_file i ON i.id::text = n.subject_id AND i.cycle = n.cycle
     WHERE n.subject_type = 'intent_to_file' AND n.finished_at IS NOT NULL
    UNION
    -- Nobody is written to: its end was shown by the page, or a human has it.
    SELECT account_id::text FROM intents_to_file WHERE finished_at IS NOT NULL AND notification IS NULL
    UNION
    SELECT s.id::text
      FROM notifications n JOIN form526_submissions s ON s.id::text = n.subject_id AND s.cycle = n.cycle
     WHERE n.subject_type = 'form526_submission' AND n.finished_at IS NOT NULL
       AND NOT EXISTS (
           SELECT 1 FROM form526_document_submissions d
             LEFT JOIN notifications m ON m.subject_type = 'form526_document' AND m.subject_id = d.id::text
            WHERE d.submission_id = s.id AND d.lighthouse_status <> 'done' AND m.finished_at IS NULL)
"""
NOTIFICATION_KINDS = """
    SELECT subject_id, id::text AS notification_id, sent_at FROM notifications WHERE subject_type = %(flow)s
"""
# The cases and attempts of a notification belong to the subject of the notification.
CASES = """
    SELECT COALESCE(n.subject_id, k.subject_id) AS subject_id, k.kind, k.owner, k.opened_at
      FROM cases k LEFT JOIN notifications n ON k.subject_type = 'notification' AND n.id::text = k.subject_id
     WHERE k.closed_at IS NULL AND COALESCE(n.subject_type, k.subject_type) = %(flow)s
     ORDER BY k.kind
"""
ATTEMPTS = """
    SELECT COALESCE(n.subject_id, a.subject_id) AS subject_id, a.subject_type, a.message_id, a.purpose, a.status,
           a.error_class
      FROM outbox_attempts a LEFT JOIN notifications n ON a.subject_type = 'notification' AND n.id::text = a.subject_id
     WHERE COALESCE(n.subject_type, a.subject_type) = %(flow)s
     ORDER BY a.id
"""
OF_SUBJECT = {"notifications": NOTIFICATION_KINDS, "cases": CASES, "attempts": ATTEMPTS}

WORDS = {
    "Throttled": "429",
    "Unavailable": "unreachable",
    "Unexplained": "words unknown",
    "Unanswered": "no reply",
    "WorkerLost": "worker killed",
    "Duplicate": "already there",
    "Rejected": "refused",
}


@dataclass
class Evidence:
    """What the promises of every flow leave behind: `sends` are VANotify's, `received` what the phone shows."""

    notifications: list[Row] = field(default_factory=list)
    cases: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    sends: list[Row] = field(default_factory=list)
    received: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What became of one promise, in words for people. `seconds` ran until the person was notified, or a human had it,
    or a document had arrived.

    `subject` is the name by which Postgres knows it; `who` is None when nobody was promised it. The promise was kept
    when there are no `faults`.
    """

    subject: str
    who: str | None
    scene: str
    happened: str
    state: str
    received: str
    seconds: float | None
    kept_how: str
    faults: Sequence[str]
    messages: Sequence[int]


class Witnesses:
    """Queries Postgres and the outside world; neither knows what is expected."""

    def __init__(self, database_url: str, control: Control) -> None:
        self.control = control
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True

    def close(self) -> None:
        self._database.close()

    def settled(self) -> set[str]:
        """The keys of the promises whose notification has arrived, or is known not to; for a form, with those of its
        documents.

        Safe to call from several threads.
        """
        return {row["key"] for row in self.rows(SETTLED)}

    def rows(self, query: str, values: Mapping[str, object] | None = None) -> list[Row]:
        with self._database.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query, values)
            return [dict(row) for row in cursor.fetchall()]

    def add_ledger(self, flow: str, found: Mapping[str, Evidence]) -> None:
        """Add the notifications, cases and attempts of a flow's subjects to the evidence found by subject id."""
        for name, query in OF_SUBJECT.items():
            for row in self.rows(query, {"flow": flow}):
                getattr(found[row["subject_id"]], name).append(row)

    def add_notifications(
        self, evidence: Evidence, sends: Sequence[Row], phone: Sequence[Row], contact: str | None
    ) -> None:
        """Add the sends of these notifications that VANotify took, and what arrived at this number or address."""
        references = {notification["notification_id"] for notification in evidence.notifications}
        evidence.sends = [row for row in sends if row["reference"] in references]
        evidence.received = [row for row in phone if row["to"] == contact]


def audit(system: System) -> tuple[dict[str, Any], bool]:
    """The output of `flask audit --trace --json`, and whether it exited clean."""
    done = subprocess.run(
        ["flask", "--app", "wsgi", "audit", "--trace", "--json"],
        cwd=system.root,
        env=surroundings(system.environment, system.port),
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return report, done.returncode == 0


def acted_on(calls: Sequence[Row]) -> int:
    """The calls on which an upstream acted; one that it only throttled or refused does not count."""
    return sum(call["worked"] is not False for call in calls)


def faults_of_cases(evidence: Evidence, expected: Sequence[str]) -> list[str]:
    kinds = [row["kind"] for row in evidence.cases]
    if kinds != list(expected):
        return [f"open cases {', '.join(kinds) or 'none'} where {', '.join(expected) or 'none'} belongs"]
    return ["a case without an owner"] if any(not row["owner"] for row in evidence.cases) else []


def what_happened(evidence: Evidence, success: str, notification: str) -> str:
    """The attempts in a few words; those of the notification only when there is something to say about them."""
    own = [row for row in evidence.attempts if row["subject_type"] != "notification" and not is_mere_read(row)]
    its = [row for row in evidence.attempts if row["subject_type"] == "notification"]
    happened = in_words(own, success)
    return (
        happened
        if [row["status"] for row in its] == ["success"]
        else f"{happened}; {notification}: {in_words(its, 'taken')}"
    )


def is_mere_read(attempt: Row) -> bool:
    """A successful look-up of who somebody is: nothing happened upstream."""
    return bool((attempt["purpose"], attempt["status"]) == ("read", "success"))


def in_words(attempts: Sequence[Row], success: str) -> str:
    words = (word_for(attempt, success) for attempt in attempts)
    counted = [(word, len(list(same))) for word, same in groupby(words)]
    return " → ".join(word if times == 1 else f"{word} ×{times}" for word, times in counted) or "nothing"


def word_for(attempt: Row, success: str) -> str:
    if attempt["status"] == "success" and attempt["error_class"] is None:
        return "found" if attempt["purpose"] == "look_up" else success
    if attempt["error_class"] is None:
        return "not there yet" if attempt["purpose"] == "look_up" else str(attempt["status"])
    return WORDS.get(attempt["error_class"], str(attempt["error_class"]))


def seconds_to_notified(evidence: Evidence, requested_at: datetime | None) -> float | None:
    """From our answer's transaction until VANotify took the notification, or a human the case; by Postgres's clock."""
    timestamps = [row["sent_at"] for row in evidence.notifications if row["sent_at"]]
    timestamps = timestamps or [row["opened_at"] for row in evidence.cases]
    if requested_at is None or not timestamps:
        return None
    return float((min(timestamps) - requested_at).total_seconds())


def kept_how(evidence: Evidence) -> str:
    owners = sorted({row["owner"] for row in evidence.cases})
    parts = (["notified"] if evidence.received else []) + ([f"held by {', '.join(owners)}"] if owners else [])
    return ", ".join(parts) or "not"


def messages_of(evidence: Evidence) -> list[int]:
    return sorted({row["message_id"] for row in evidence.attempts})


def stray(subject: str, state: str, evidence: Evidence) -> Verdict:
    """What Postgres holds without an answer of ours that the script received: it is somebody's promise all the same."""
    return Verdict(
        subject=subject,
        who=None,
        scene="",
        happened="",
        state=state,
        received="",
        seconds=None,
        kept_how="",
        faults=["Postgres holds it, nobody was promised it"],
        messages=messages_of(evidence),
    )


def untold(evidence: Evidence) -> str:
    """Why nothing arrived."""
    return f"none: {', '.join(str(send['status_reason']) for send in evidence.sends) or 'never sent'}"
