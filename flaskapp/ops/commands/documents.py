"""Commands `flask documents …`: unfinished documents, the history of one, and two ways to finish a failed one."""

from __future__ import annotations

import uuid

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import text

from flaskapp import subjects
from flaskapp.db import transaction
from flaskapp.form526.documents import (
    DOCUMENT_SUBJECT,
    SUBJECT,
    deliver_by_hand,
    enqueue_upload,
    reopen_document,
)
from flaskapp.form526.models import DocumentSubmission
from flaskapp.form526.states import FAILED
from flaskapp.ops.commands.arguments import Count, id_argument, limit_option
from flaskapp.ops.commands.ledger import as_json_option, operator, rows, show
from flaskapp.requeue import Refused, requeue_message
from flaskapp.statemachine import IllegalMove
from outbox import messages, timeline

documents_cli = AppGroup(
    "documents", help="Documents of 526 forms: which are unfinished, and how to finish failed ones."
)

UNFINISHED = text("""
    SELECT id::text, kind, doc_type, lighthouse_request_id, created_at, uploaded_at, last_polled_at, not_found_count,
           synthetic_on,
           round((extract(epoch FROM outbox_now() - created_at) / 3600)::numeric, 1)::float AS hours
      FROM form526_document_submissions
     WHERE lighthouse_status = 'pending' AND created_at < outbox_now() - make_interval(hours => :hours)
     ORDER BY created_at LIMIT :limit
""")
ONE = text("""
    SELECT id::text, submission_id::text, kind, doc_type, lighthouse_status, lighthouse_request_id, possibly_twice,
           failed_step, upstream_error, created_at, uploaded_at, last_polled_at, poll_due_at, not_found_count,
           started_at, ended_at, finished_at, delivered_by, cycle, synthetic_on
      FROM form526_document_submissions WHERE id = :id
""")


@documents_cli.command("unfinished")
@as_json_option
@click.option("--hours", type=Count(least=0), default=24, show_default=True, help="Pending for longer than this.")
@limit_option(what="documents")
def unfinished(as_json: bool, hours: int, limit: int) -> None:
    """List documents that take long, oldest first."""
    with transaction() as session:
        show(rows(session.execute(UNFINISHED, {"hours": hours, "limit": limit})), as_json)


@documents_cli.command("show")
@id_argument("document_id", SUBJECT, "document")
@as_json_option
def show_one(document_id: uuid.UUID, as_json: bool) -> None:
    """Show one document: its state, step and request id, and everything that happened to it. Names no file."""
    with transaction() as session:
        found = rows(session.execute(ONE, {"id": document_id}))
        history = rows(timeline.history_of(session, SUBJECT, str(document_id)))
    if not found:
        raise click.ClickException(f"there is no document {document_id}")
    if as_json:
        show({**found[0], "history": history}, as_json)
        return
    show([{"field": name, "value": value} for name, value in found[0].items() if value is not None], as_json)
    click.echo()
    show(history, as_json)


@documents_cli.command("upload-again")
@id_argument("document_id", SUBJECT, "document")
def upload_again(document_id: uuid.UUID) -> None:
    """Upload a failed document once more, unless Lighthouse says that an earlier upload arrived or is on its way.

    The person is informed if it fails again, and if it turns out to be there.
    """
    with transaction() as session:
        row = session.get(DocumentSubmission, document_id)
        if row is None or row.lighthouse_status != FAILED:
            raise click.ClickException("only a failed document can be uploaded again")
        parked = messages.parked_for(session, SUBJECT, str(document_id))
    try:
        if parked:
            if not requeue_message(parked[0], actor=operator()):
                raise Refused("somebody was faster")
        else:
            start_again(str(document_id))
    except (Refused, IllegalMove) as error:
        raise click.ClickException(str(error)) from error
    click.echo("it will be uploaded again, unless Lighthouse has it by now")


def start_again(document_id: str) -> None:
    """Enqueue a new upload: Lighthouse had taken the document before it failed, so no message of it is left.

    Raises Refused when it has not failed, or not any more: somebody may have been faster.
    """
    with transaction() as session:
        document = subjects.lock(session, DOCUMENT_SUBJECT, document_id)
        if document.lighthouse_status != FAILED:
            raise Refused("only a failed document can be uploaded again")
        reopen_document(session, document_id, operator())
        enqueue_upload(session, document)


@documents_cli.command("delivered")
@id_argument("document_id", SUBJECT, "document")
@click.option("--note", required=True, help="How it got there; kept with the case. No names.")
def delivered(document_id: uuid.UUID, note: str) -> None:
    """Record that a failed document was brought where it belongs by hand. Closes its cases."""
    with transaction() as session:
        if session.get(DocumentSubmission, document_id) is None:
            raise click.ClickException(f"there is no document {document_id}")
        if not deliver_by_hand(session, str(document_id), operator(), note):
            raise click.ClickException("only a failed document can be delivered by hand")
    click.echo("noted; its cases are closed")


def init_app(app: Flask) -> None:
    app.cli.add_command(documents_cli)
