"""Work is enqueued once: by two operators, by an operator beside the sweep, and beside a worker that runs it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy.exc import IntegrityError

from flaskapp import subjects
from flaskapp.audit.repair import repair_broken
from flaskapp.audit.report import audit_everything
from flaskapp.db import db, transaction
from flaskapp.ops.commands.documents import start_again
from flaskapp.requeue import Refused
from flaskapp.travel_claims.service import CLAIM, enqueue_filing
from jobs.engine import runner
from outbox import grants
from outbox.values import Grant
from tests.integration import form526_steps
from tests.integration.form526_polling_steps import change
from tests.integration.steps import (
    SEND,
    call,
    command,
    file_claim,
    filed_and_not_notified_yet,
    publish,
    sends,
    sweeping,
    texts,
)
from tests.product import Product

COPY = """
    INSERT INTO outbox_messages
           (job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at
      FROM outbox_messages RETURNING 1
"""
FAILED = """
    UPDATE form526_document_submissions
       SET lighthouse_status = 'failed', finished_at = outbox_now(), failed_step = 'CLAIMS_EVIDENCE',
           poll_due_at = NULL, notification = 'document_failed'
     WHERE id = :id RETURNING 1
"""


def granted(product: Product) -> Grant:
    """The only outstanding message, granted to a worker."""
    publish(product)
    (message,) = product.messages()
    worker = product.app.extensions["process"].worker_id
    grant = grants.grant(db.engine, message["id"], message["fence"], worker_id=worker, lease_seconds=60, writes=True)
    assert grant is not None
    product.redis.flushall()
    return grant


def test_postgres_refuses_a_second_message_of_one_job_for_one_subject(product: Product) -> None:
    claim = file_claim(product)
    with pytest.raises(IntegrityError, match="uq_outbox_messages_subject"):
        product.rows(COPY)
    for state in ("ready", "parked"):
        if state == "parked":
            command(product, "outbox", "park", str(claim.message["id"]), "--reason", "x")
        before = product.messages()
        with transaction() as session:
            enqueue_filing(session, subjects.lock(session, CLAIM, claim.id))
        assert product.messages() == before


def test_a_document_restarted_twice_is_uploaded_once(product: Product) -> None:
    person = form526_steps.filer(product)
    person.file(person.attach())
    product.work()
    document = str(form526_steps.evidence(product)["id"])
    uploaded = len(form526_steps.uploaded(product))
    product.rows(FAILED, id=document)
    change(product, plan="fails_at_claims_evidence", step_seconds=0)
    start_again(document)
    with pytest.raises(Refused):
        start_again(document)
    product.work()
    with pytest.raises(Refused):
        start_again(document)
    product.work()
    assert len(form526_steps.uploaded(product)) == uploaded + 1
    assert command(product, "documents", "upload-again", document).exit_code == 1


def test_two_operators_who_repair_at_once_enqueue_each_message_once(product: Product) -> None:
    filed_and_not_notified_yet(product)
    for day in range(1, 5):
        file_claim(product, date=f"2031-12-{day:02d}")
    product.rows("DELETE FROM outbox_messages RETURNING 1")
    done: list[int] = []
    barrier = threading.Barrier(2)

    def operate(name: str) -> None:
        with product.app.app_context():
            report = audit_everything()
            barrier.wait()
            done.append(sum(item.repaired for item in repair_broken(report, name)))
            db.session.remove()

    operators = [threading.Thread(target=operate, args=(name,)) for name in ("one", "two")]
    for each in operators:
        each.start()
    for each in operators:
        each.join()
    assert (sum(done), len(product.messages())) == (5, 5)
    product.work()
    assert (len(product.submits()), len(sends(product)), len(texts(product, 5))) == (5, 5, 5)


def test_a_repair_of_something_already_repaired_changes_nothing(product: Product) -> None:
    filed_and_not_notified_yet(product)
    product.rows("DELETE FROM outbox_messages RETURNING 1")
    one, two = audit_everything(), audit_everything()
    assert [item.repaired for item in repair_broken(one, "one")] == [True]
    (second,) = repair_broken(two, "two")
    assert (second.repaired, second.did) == (False, "it is no longer broken")
    assert product.cases() == []


def test_a_lost_notification_that_is_being_sent_is_left_to_its_worker(product: Product) -> None:
    filed_and_not_notified_yet(product)
    grant = granted(product)
    outcome = call(product, grant, SEND)
    product.rows("DELETE FROM notifications RETURNING 1")
    result = command(product, "audit", "--repair")
    assert (result.exit_code, "a worker has it right now" in result.stdout) == (1, True)
    assert [message["state"] for message in product.messages()] == ["running"]
    runner.finish(SEND, grant, outcome)
    assert command(product, "audit", "--repair").exit_code == 0
    product.work()
    assert (len(sends(product)), texts(product)) == (1, ["cie.created"]), "VANotify was queried first"


def test_repair_does_nothing_while_the_sweep_is_running(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaskapp.db.PATIENCE_SECONDS", 0.1)
    file_claim(product)
    product.rows("DELETE FROM outbox_messages RETURNING 1")
    with sweeping(product):
        result = command(product, "audit", "--repair")
        assert (result.exit_code, product.messages()) == (1, [])
        assert "try again" in result.output
    assert command(product, "audit", "--repair").exit_code == 0
    assert len(product.messages()) == 1
