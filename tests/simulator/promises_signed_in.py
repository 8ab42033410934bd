"""What must hold of signed-in people: their intents to file, their forms, and each document of a form."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from flaskapp.db import transaction
from flaskapp.form526.models import DocumentSubmission, Submission
from flaskapp.intent_to_file.models import IntentToFile
from tests.simulator.hub import PromiseBroken
from tests.simulator.product import Product
from tests.simulator.promises import WRONG_IN_LEDGER, check_notified, check_order
from tests.simulator.signed_in import Form526, LighthouseClaims, LighthouseDocuments, icn_of
from tests.simulator.upstreams import Upstream, VANotify

HELD = "SELECT count(*) FROM cases WHERE subject_id = %s AND closed_at IS NULL"
WORKED_ON = "EXISTS (SELECT FROM outbox_messages m WHERE m.subject_id = s.id::text AND m.state <> 'parked')"
WITH_A_HUMAN = "EXISTS (SELECT FROM cases k WHERE k.subject_id = s.id::text AND k.closed_at IS NULL)"
NOTIFIED = """
    EXISTS (SELECT FROM notifications n WHERE n.subject_id = s.id::text AND n.cycle = s.cycle
               AND n.kind = s.notification AND (n.state IN ('sent', 'delivered')
                OR EXISTS (SELECT FROM outbox_messages m WHERE m.subject_id = n.id::text AND m.state <> 'parked')
                OR EXISTS (SELECT FROM cases k WHERE k.subject_id = n.id::text)))
"""
# A document that arrived needs no e-mail, and one that Lighthouse has is polled until its end is known.
LOST = f"""
    SELECT 'intent to file ' || s.id AS what, s.state FROM intents_to_file s
     WHERE NOT {WITH_A_HUMAN} AND NOT (s.state = 'pending' AND {WORKED_ON})
       AND NOT (s.state <> 'pending' AND {NOTIFIED})
    UNION ALL
    SELECT 'form ' || s.id, s.state FROM form526_submissions s
     WHERE NOT {WITH_A_HUMAN} AND NOT (s.state = 'pending' AND {WORKED_ON})
       AND NOT (s.state <> 'pending' AND {NOTIFIED})
    UNION ALL
    SELECT 'document ' || s.id, s.lighthouse_status FROM form526_document_submissions s
     WHERE s.lighthouse_status <> 'done' AND NOT {WITH_A_HUMAN}
       AND NOT (s.lighthouse_status = 'pending' AND ({WORKED_ON} OR s.poll_due_at IS NOT NULL))
       AND NOT (s.lighthouse_status = 'failed' AND {NOTIFIED})
"""
WRONG_SIGNED_IN = f"""
    {WRONG_IN_LEDGER} UNION ALL SELECT format('nobody accounts for %s, %s', what, state) FROM ({LOST}) l
"""


def check_signed_in(product: Product, accepted: dict[str, str], upstreams: dict[str, Upstream]) -> None:
    """At rest: what was accepted exists, is what the upstreams hold, and its person knows or a human has it."""
    itfs, forms = upstreams["lighthouse_claims"], upstreams["form526"]
    documents, va_notify = upstreams["lighthouse_documents"], upstreams["va_notify"]
    assert isinstance(itfs, LighthouseClaims) and isinstance(forms, Form526)
    assert isinstance(documents, LighthouseDocuments) and isinstance(va_notify, VANotify)
    with product.apps["product"].app_context(), transaction() as session:
        for what, key in accepted.items():
            table, column = (IntentToFile, "account_id") if what.startswith("ITF") else (Submission, "id")
            if session.execute(select(table.id).filter_by(**{column: key})).first() is None:
                raise PromiseBroken(f"{what} was accepted and does not exist")
        for itf in session.execute(select(IntentToFile)).scalars():
            check_itf(product, itf, itfs)
            check_words(product, itf, itf.state, va_notify)
        for form in session.execute(select(Submission)).scalars():
            check_form(product, form, forms)
            check_words(product, form, form.state, va_notify)
        for document in session.execute(select(DocumentSubmission)).scalars():
            check_document(product, document, documents)
            if document.notification is not None:
                check_words(product, document, document.lighthouse_status, va_notify)


def is_held(product: Product, subject: Any) -> bool:
    ((cases,),) = product.server.look(HELD, str(subject.id))
    return bool(cases)


def check_words(product: Product, subject: Any, state: str, va_notify: VANotify) -> None:
    # While the account service did not know the person, there was no addressee: a human has to find them.
    had_no_addressee = state == "failed" and subject.notification is None
    if had_no_addressee and not is_held(product, subject):
        raise PromiseBroken(f"{type(subject).__name__} {subject.id} failed, and nobody was told")
    if state != "pending" and not had_no_addressee:
        check_notified(product, subject, va_notify)
    check_order(product, subject, va_notify)


def check_itf(product: Product, itf: IntentToFile, lighthouse: LighthouseClaims) -> None:
    icn = icn_of(itf.account_id)
    ours = any(write.took_effect for write in lighthouse.writes if write.key == icn)
    if itf.state in ("pending", "failed"):
        if not is_held(product, itf):
            raise PromiseBroken(f"the ITF of {icn} is {itf.state}, and nobody holds its case")
        if ours and itf.state == "failed" and not itf.unconfirmed:
            raise PromiseBroken(f"{icn} was notified that it failed, though it was filed")
        return
    held = lighthouse.holds.get(icn)
    if held is None or held.id != itf.upstream_id:
        raise PromiseBroken(f"the ITF of {icn} is {itf.state}, and Lighthouse holds another or none")
    if itf.effective_date > itf.asked_at:
        raise PromiseBroken(f"the date of {icn} became a later one")


def check_form(product: Product, form: Submission, form526: Form526) -> None:
    reference = str(form.id)
    ours = any(write.took_effect for write in form526.writes if write.key == reference)
    if form.state in ("pending", "failed"):
        if not is_held(product, form):
            raise PromiseBroken(f"a form is {form.state}, and nobody holds its case")
        if ours and form.state == "failed" and not form.unconfirmed:
            raise PromiseBroken("somebody was notified that a form failed, though it was filed")
        return
    if form526.holds.get(reference) != form.claim_id:
        raise PromiseBroken(f"a form is {form.state} as claim {form.claim_id}, and the service holds another or none")


def check_document(product: Product, document: DocumentSubmission, lighthouse: LighthouseDocuments) -> None:
    writes = [write for write in lighthouse.writes if write.key == sent_as(lighthouse, document)]
    there = [number for number, made_by in lighthouse.made.items() if made_by in writes]
    arrived = [number for number in there if lighthouse.holds[number].arrives()]
    if len(arrived) > 1 and not document.possibly_twice:
        raise PromiseBroken(f"a document is there {len(arrived)} times, and nothing says that it may be")
    if document.lighthouse_status == "done":
        if document.lighthouse_request_id not in arrived:
            raise PromiseBroken("a document is called done, and Lighthouse has none of that id that arrived")
    elif not is_held(product, document):
        raise PromiseBroken(f"a document is {document.lighthouse_status}, and nobody holds its case")
    elif document.lighthouse_status == "failed" and arrived and not document.unconfirmed:
        raise PromiseBroken("somebody was notified that a document failed, though it arrived")


def sent_as(lighthouse: LighthouseDocuments, document: DocumentSubmission) -> str:
    """Every letter has the name of its own document, so that uploads of it are known by it."""
    return str(document.name)
