"""Everything known at the end: what people were answered, what Postgres holds, and what the fakes' books say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from sandbox.chaos.journeys import Promise
from sandbox.faults import Control

Row = Mapping[str, Any]

# `key` is the name by which a promise of the flow knows it.
SUBJECTS = """
    SELECT 'travel_claim' AS flow, id::text AS id, id::text AS key, state, cycle FROM travel_claims
    UNION ALL SELECT 'intent_to_file', id::text, account_id::text, state, cycle FROM intents_to_file
    UNION ALL SELECT 'form526_submission', id::text, id::text, state, cycle FROM form526_submissions
    UNION ALL SELECT 'travel_pay_claim', id::text, id::text, state, cycle FROM travel_pay_claims
"""
DOCUMENTS = """
    SELECT d.id::text AS id, d.submission_id::text AS form, s.claim_id::text AS claim, d.doc_type,
           d.lighthouse_status AS state, d.lighthouse_request_id AS request_id, d.possibly_twice, d.cycle
      FROM form526_document_submissions d JOIN form526_submissions s ON s.id = d.submission_id
"""
NOTIFICATION_KINDS = "SELECT id::text AS id, subject_type, subject_id, sender, kind, cycle, state FROM notifications"
# The case of a notification belongs to the subject of the notification.
CASES = """
    SELECT COALESCE(n.subject_type, k.subject_type) AS subject_type, COALESCE(n.subject_id, k.subject_id) AS subject_id,
           k.kind, k.owner
      FROM cases k LEFT JOIN notifications n ON k.subject_type = 'notification' AND n.id::text = k.subject_id
     WHERE k.closed_at IS NULL
"""


@dataclass
class Evidence:
    """Rows as they are: ours by table, the fakes' as their admin APIs list them."""

    promises: Sequence[Promise]
    subjects: list[Row]
    documents: list[Row]
    notifications: list[Row]
    cases: list[Row]
    sends: list[Row]
    claims: list[Row]
    itfs: list[Row]
    forms: list[Row]
    uploads: list[Row]
    travel_pay: list[Row]


def gather(database_url: str, control: Control, promises: Sequence[Promise]) -> Evidence:
    with closing(psycopg2.connect(database_url)) as connection:
        subjects, documents, notifications, cases = (
            rows(connection, each) for each in (SUBJECTS, DOCUMENTS, NOTIFICATION_KINDS, CASES)
        )
    return Evidence(
        promises=list(promises),
        subjects=subjects,
        documents=documents,
        notifications=notifications,
        cases=cases,
        sends=control.call("GET", "va_notify", "notifications"),
        claims=control.call("GET", "btsss", "claims"),
        itfs=control.call("GET", "lighthouse", "itfs"),
        forms=control.call("GET", "form526", "submissions"),
        uploads=control.call("GET", "documents", "uploads"),
        travel_pay=control.call("GET", "travel_pay", "claims"),
    )


def rows(connection: Any, query: str) -> list[Row]:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query)
        return [dict(row) for row in cursor.fetchall()]
