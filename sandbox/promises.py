"""Whether a promise was kept, judged by those it was made to: what Postgres, BTSSS's book and the phone hold now.

The script's plan counts for one thing only: where it planned that a named human holds the claim, nothing else will do.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from sandbox.faults import Control
from sandbox.processes import surroundings
from sandbox.story import CREATED, DUPLICATE, REFUSED, UNDELIVERABLE, Promise
from sandbox.system import System

Row = dict[str, Any]

SETTLED = """
    SELECT n.subject_id FROM notifications n JOIN travel_claims c ON c.id::text = n.subject_id AND c.cycle = n.cycle
     WHERE n.subject_type = 'travel_claim' AND n.finished_at IS NOT NULL
"""
CLAIMS = "SELECT id::text AS claim_id, state, requested_at FROM travel_claims"
NOTICES = """
    SELECT subject_id AS claim_id, id::text AS notice_id, sent_at FROM notifications WHERE subject_type = 'travel_claim'
"""
CASES = """
    SELECT COALESCE(n.subject_id, k.subject_id) AS claim_id, k.kind, k.owner, k.opened_at
      FROM cases k LEFT JOIN notifications n ON k.subject_type = 'notification' AND n.id::text = k.subject_id
     WHERE k.closed_at IS NULL
"""
ATTEMPTS = """
    SELECT COALESCE(n.subject_id, a.subject_id) AS claim_id, a.subject_type, a.message_id, a.purpose, a.status,
           a.error_class
      FROM outbox_attempts a LEFT JOIN notifications n ON a.subject_type = 'notification' AND n.id::text = a.subject_id
     ORDER BY a.id
"""

STATE_OF = {"created": "submitted", "duplicate": "duplicate", "error": "failed"}
NOTICE_OF = {CREATED: "created", DUPLICATE: "duplicate", REFUSED: "error", UNDELIVERABLE: "created"}
CASES_OF = {REFUSED: ["refused"], UNDELIVERABLE: ["notice_undeliverable"]}

WORDS = {
    "Throttled": "429",
    "Unavailable": "unreachable",
    "Unanswered": "no reply",
    "WorkerLost": "worker killed",
    "Duplicate": "already there",
    "Rejected": "refused",
}


@dataclass
class Evidence:
    """All that is known about one claim. `book` is what BTSSS holds for that person and day, `texts` the phone."""

    claim: Row | None = None
    notices: list[Row] = field(default_factory=list)
    cases: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    book: list[Row] = field(default_factory=list)
    submits: list[Row] = field(default_factory=list)
    sends: list[Row] = field(default_factory=list)
    texts: list[Row] = field(default_factory=list)


class Witnesses:
    """Asks Postgres and the outside world; neither is told what to expect."""

    def __init__(self, database_url: str, control: Control) -> None:
        self.control = control
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True

    def close(self) -> None:
        self._database.close()

    def settled(self) -> set[str]:
        """The claims whose notice has arrived, or is known not to. Safe to call from several threads."""
        return {row["subject_id"] for row in self._rows(SETTLED)}

    def testify(self, promises: Sequence[Promise]) -> dict[str, Evidence]:
        """Evidence by claim id, for every promise and for every claim Postgres holds besides."""
        found: dict[str, Evidence] = defaultdict(Evidence)
        for row in self._rows(CLAIMS):
            found[row["claim_id"]].claim = row
        for name, query in (("notices", NOTICES), ("cases", CASES), ("attempts", ATTEMPTS)):
            for row in self._rows(query):
                getattr(found[row["claim_id"]], name).append(row)
        self._add_outside(found, promises)
        return found

    def _add_outside(self, found: dict[str, Evidence], promises: Sequence[Promise]) -> None:
        book = self.control.call("GET", "btsss", "claims")
        submits = self.control.received("btsss", "submitclaim")
        sends = self.control.call("GET", "va_notify", "notifications")
        texts = self.control.phone()
        for promise in promises:
            evidence, veteran = found[promise.claim_id], promise.veteran
            references = {notice["notice_id"] for notice in evidence.notices}
            evidence.book = [row for row in book if (row["icn"], row["day"]) == (veteran.icn, promise.day.isoformat())]
            evidence.submits = [row for row in submits if row["body"]["ClaimantID"] == veteran.icn]
            evidence.sends = [row for row in sends if row["reference"] in references]
            evidence.texts = [row for row in texts if row["to"] == veteran.phone]

    def _rows(self, query: str) -> list[Row]:
        with self._database.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query)
            return [dict(row) for row in cursor.fetchall()]


def audit(system: System) -> tuple[dict[str, Any], bool]:
    """What `flask audit --json` says, and whether it exited clean."""
    done = subprocess.run(
        ["flask", "--app", "wsgi", "audit", "--json"],
        cwd=system.root,
        env=surroundings(system.environment, system.port),
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return report, done.returncode == 0


def owed_words(evidence: Evidence) -> str:
    """The notice that BTSSS's own book makes the truth: ours was filed, somebody else's was there, or none is."""
    if not evidence.book:
        return "error"
    return "created" if any(row["source"] == "submitted" for row in evidence.book) else "duplicate"


def faults_in(promise: Promise, evidence: Evidence) -> list[str]:
    """Everything about this promise that is not as it must be; nothing when it was kept."""
    if evidence.claim is None:
        return ["answered with 202, but Postgres holds no such claim"]
    notice = owed_words(evidence)
    checks: tuple[tuple[bool, str], ...] = (
        (notice == NOTICE_OF[promise.planned], f"planned as {promise.planned}, but by BTSSS's book it is {notice}"),
        (evidence.claim["state"] == STATE_OF[notice], f"we call it {evidence.claim['state']}, BTSSS's book {notice}"),
        (len(evidence.book) <= 1, f"BTSSS holds {len(evidence.book)} claims"),
        (submitted(evidence) == 1, f"BTSSS took {submitted(evidence)} submits"),
        (len(evidence.sends) == 1, f"VANotify took {len(evidence.sends)} texts"),
    )
    wrong = [told for holds, told in checks if not holds]
    return wrong + faults_of_text(promise, evidence, notice) + faults_of_cases(promise, evidence)


def submitted(evidence: Evidence) -> int:
    """Submits that BTSSS acted on; one it only throttled does not count."""
    return sum(row["worked"] is not False for row in evidence.submits)


def faults_of_text(promise: Promise, evidence: Evidence, notice: str) -> list[str]:
    if promise.planned == UNDELIVERABLE:
        return ["a text arrived that could not"] if evidence.texts else []
    if len(evidence.texts) != 1:
        return [f"{len(evidence.texts)} texts on the phone"]
    (text,) = evidence.texts
    facility = "oh" if promise.veteran.facility_type == "oh" else "cie"
    parts = [f"{promise.day:%b %d}", *(row["number"][-4:] for row in evidence.book)]
    right = text["template"] == f"{facility}.{notice}" and all(part in text["body"] for part in parts)
    return [] if right else [f"the wrong text: {text['template']}: {text['body']}"]


def faults_of_cases(promise: Promise, evidence: Evidence) -> list[str]:
    expected = CASES_OF.get(promise.planned, [])
    kinds = [row["kind"] for row in evidence.cases]
    if kinds != expected:
        return [f"open cases {', '.join(kinds) or 'none'} where {', '.join(expected) or 'none'} belongs"]
    return ["a case without an owner"] if any(not row["owner"] for row in evidence.cases) else []


def what_happened(evidence: Evidence) -> str:
    """The attempts in a few words, as their rows tell them."""
    claim = [row for row in evidence.attempts if row["subject_type"] == "travel_claim"]
    text = [row for row in evidence.attempts if row["subject_type"] == "notification"]
    told = in_words(claim, "filed")
    return told if [row["status"] for row in text] == ["success"] else f"{told}; text: {in_words(text, 'taken')}"


def in_words(attempts: Sequence[Row], success: str) -> str:
    words = (word_for(attempt, success) for attempt in attempts)
    counted = [(word, len(list(same))) for word, same in groupby(words)]
    return " → ".join(word if times == 1 else f"{word} ×{times}" for word, times in counted) or "nothing"


def word_for(attempt: Row, success: str) -> str:
    if attempt["status"] == "success":
        return "found" if attempt["purpose"] == "look_up" else success
    if attempt["error_class"] is None:
        return "not there yet" if attempt["purpose"] == "look_up" else str(attempt["status"])
    return WORDS.get(attempt["error_class"], str(attempt["error_class"]))


def seconds_to_told(evidence: Evidence) -> float | None:
    """From the 202's transaction until VANotify took the text, or a human the case; by Postgres's clock."""
    moments = [row["sent_at"] for row in evidence.notices if row["sent_at"]]
    moments = moments or [row["opened_at"] for row in evidence.cases]
    if evidence.claim is None or not moments:
        return None
    return float((min(moments) - evidence.claim["requested_at"]).total_seconds())


def kept_how(evidence: Evidence) -> str:
    owners = sorted({row["owner"] for row in evidence.cases})
    parts = (["told"] if evidence.texts else []) + ([f"held by {', '.join(owners)}"] if owners else [])
    return ", ".join(parts) or "not"


def messages_of(evidence: Evidence) -> list[int]:
    return sorted({row["message_id"] for row in evidence.attempts})
