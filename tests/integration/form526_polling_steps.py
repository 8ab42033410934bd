"""Steps for tests of document polling: plant documents on their way, build questions, ask one, look at the records."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from flaskapp import clock
from flaskapp.db import db
from jobs import housekeeping
from jobs.documents import POLL
from outbox import grants
from outbox.values import Grant
from tests.integration.form526_steps import Filer, filer
from tests.integration.itf_steps import pass_time
from tests.integration.steps import publish
from tests.product import Product

STATUS = "uploads/status"
# Copies of the one document that every form has, as if each had been uploaded just now.
PLANT = """
    WITH planted AS (
        INSERT INTO form526_document_submissions (id, submission_id, kind, doc_type, name, lighthouse_request_id,
                                                  lighthouse_status, uploaded_at, poll_due_at)
        SELECT gen_random_uuid(), d.submission_id, d.kind, d.doc_type, d.name, request_id, 'pending', outbox_now(),
               outbox_now() + interval '1 hour'
          FROM form526_document_submissions d, unnest(CAST(:ids AS bigint[])) AS request_id WHERE d.id = :like
        RETURNING id, lighthouse_request_id
    ), written AS (
        INSERT INTO outbox_history (subject_type, subject_id, what, moved_to, actor)
        SELECT 'form526_document', id::text, 'document.enqueued', 'pending', 'worker' FROM planted
    )
    SELECT lighthouse_request_id FROM planted
"""
FACTS = """
    SELECT d.lighthouse_request_id AS request_id, d.lighthouse_status AS status, d.failed_step AS step, d.notification,
           d.last_polled_at, d.not_found_count AS missed, d.poll_batch,
           ARRAY(SELECT c.kind FROM cases c WHERE c.subject_id = d.id::text AND c.closed_at IS NULL ORDER BY 1) AS cases
      FROM form526_document_submissions d WHERE d.lighthouse_request_id IS NOT NULL ORDER BY 1
"""


def accepted(product: Product) -> Filer:
    """Somebody whose form was accepted, and whose only document, the instructions, is on its way."""
    person = filer(product)
    person.file()
    product.work()
    return person


def plant(product: Product, count: int = 1, plan: str = "ok") -> list[int]:
    """Add documents that Lighthouse accepted from us; returns their request ids."""
    upload = {"count": count, "plan": plan, "step_seconds": 1.0}
    ids: list[int] = product.control.call("POST", "documents", "uploads", json=upload)["ids"]
    first = product.value("SELECT id FROM form526_document_submissions ORDER BY created_at, id LIMIT 1")
    assert len(product.rows(PLANT, ids=ids, like=first)) == count
    return ids


def facts(product: Product) -> dict[int, Any]:
    """What we hold about every uploaded document, by request id."""
    return {row.request_id: row for row in product.rows(FACTS)}


def stamps(product: Product) -> list[datetime | None]:
    return [row.last_polled_at for row in facts(product).values()]


def change(product: Product, **changes: Any) -> None:
    """Lighthouse changes its answer about every upload."""
    product.control.call("PATCH", "documents", "uploads", json=changes)


def forget(product: Product, *request_ids: int) -> None:
    for request_id in request_ids:
        product.control.call("DELETE", "documents", f"uploads/{request_id}")


def deal(product: Product, hours: float = 1.0) -> None:
    """Let time pass, and group the documents that are due into questions; none is sent yet."""
    pass_time(product, hours=hours)
    offset = (clock.now() - datetime.now(UTC)).total_seconds()
    product.control.turn("documents", clock_offset_seconds=offset)
    housekeeping.poll_documents()


def outstanding_questions(product: Product) -> list[dict[str, Any]]:
    return [each for each in product.messages() if each["job"] == POLL.work.path]


def batches(product: Product) -> Counter[Any]:
    """The number of documents in each batch."""
    return Counter(row.poll_batch for row in facts(product).values() if row.poll_batch is not None)


def status_requests(product: Product) -> int:
    """The number of status requests that reached Lighthouse, whatever it answered."""
    return len(product.control.received("documents", STATUS))


def take_question(product: Product, which: int = 0) -> Grant:
    """Publish what is due and grant an attempt at one question, as a worker does before it goes on."""
    publish(product)
    message = outstanding_questions(product)[which]
    process = product.app.extensions["process"]
    grant = grants.grant(
        db.engine, message["id"], message["fence"], worker_id=process.worker_id, lease_seconds=60, writes=False
    )
    assert grant is not None, message
    return grant
