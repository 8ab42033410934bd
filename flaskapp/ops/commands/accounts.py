"""Commands `flask accounts …`: look up again whose account it is, and correct what was kept. No ICN is ever printed."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import select, text

from flaskapp.accounts.identify import identity_in
from flaskapp.accounts.service import Identity, correct_person, identity_of, lock_account
from flaskapp.cases.service import note_cases
from flaskapp.current import flows, upstreams
from flaskapp.db import DbSession, db, transaction
from flaskapp.notifications.models import Notification
from flaskapp.notifications.service import UNSENT
from flaskapp.ops.commands.arguments import id_argument
from flaskapp.ops.commands.ledger import as_json_option, operator, rows, show
from flaskapp.ops.find import ACCOUNT
from flaskapp.subjects import states_of
from flaskapp.upstreams.errors import UpstreamError
from outbox import sql, write_history

accounts_cli = AppGroup("accounts", help="Sign-in accounts: look up again whose one is, and correct what was kept.")

WORDS = {"icn": "ICN", "participant_id": "participant id", "file_number": "file number", "email": "e-mail"}
# What stands with us for an account. Whatever a worker is at, or may have done for the person whom we knew, has to come
# to its end first: its look-up must ask for the same person.
CONCERNED = """
    SELECT '{name}' AS subject, s.id::text AS id, s.{column} AS state, {ended} IS NULL AS is_open,
           EXISTS (SELECT 1 {work}
                      AND (m.state = 'running' OR (m.unresolved_since IS NOT NULL AND m.state <> 'parked')))
           OR EXISTS (SELECT 1 FROM notifications n JOIN (SELECT m.* {tellings}) m ON m.subject_id = n.id::text
                       WHERE n.subject_type = '{name}' AND n.subject_id = s.id::text
                         AND (m.state = 'running' OR (m.unresolved_since IS NOT NULL AND m.state <> 'parked')))
             AS in_doubt
      FROM {table} s WHERE {account} = :account
"""


@accounts_cli.command("look-up")
@id_argument("account_id", ACCOUNT, "account", "ACCOUNT")
@click.option("--reason", required=True, help="Why, for whoever reads its history. No personal data.")
@click.option("--apply", "applied", is_flag=True, help="Keep what the account service says now.")
@as_json_option
def look_up(account_id: uuid.UUID, reason: str, applied: bool, as_json: bool) -> None:
    """Ask the account service again whose account it is; say what differs from what we keep, and what it concerns.

    With --apply, the new answer is kept, and noted in the history with your name and on the open cases. What is pending
    goes on for the right person. What was done for another person stays where it is, upstream: see to each of it.
    """
    if not reason.strip():
        raise click.UsageError("give a reason: it is kept with your name")
    found = ask(account_id)
    with transaction() as session:
        kept = identity_of(session, account_id)
        concerned = concerned_by(session, account_id)
    corrects = applied and kept != found
    if not as_json:
        preview(kept, found, concerned)
    if corrects:
        with transaction() as session:
            correct(session, account_id, kept, found, reason)
    if as_json:
        show({"differs": differing(kept, found), "concerned": concerned, "corrected": corrects}, True)
    elif kept == found:
        click.echo("Nothing to correct.")
    else:
        kept_so = "Nothing was changed. With --apply, it is kept as the account service says now."
        click.echo("Corrected." if corrects else kept_so)


def ask(account_id: uuid.UUID) -> Identity | None:
    """Whose it is, as the account service says now; None for nobody. No connection is held meanwhile."""
    db.session.remove()
    try:
        return identity_in(upstreams().accounts.find(str(account_id)))
    except UpstreamError as error:
        why = f"{type(error).__name__}{f', {error.http_status}' if error.http_status else ''}"
        raise click.ClickException(f"the account service gave no answer ({why}); nothing was changed") from error


def concerned_by(session: DbSession, account_id: uuid.UUID) -> list[dict[str, Any]]:
    """Everything of this account that we hold: its type, id, state, whether it is open, and whether it is in doubt."""
    found = []
    for name, subject in flows().promises.items():
        states = states_of(subject)
        if states.account is None:
            continue
        query = CONCERNED.format(
            name=name,
            column=states.column,
            ended=states.ended,
            table=states.table,
            account=states.account,
            work=sql.messages(subject_type=f"'{name}'", subject_id="s.id::text"),
            tellings=sql.messages(subject_type="'notification'"),
        )
        found += rows(session.execute(text(query), {"account": account_id}))
    return found


def differing(kept: Identity | None, found: Identity | None) -> list[str]:
    """The names of what differs."""
    before, now = (asdict(each) if each is not None else {} for each in (kept, found))
    return [word for name, word in WORDS.items() if before.get(name) != now.get(name)]


def preview(kept: Identity | None, found: Identity | None, concerned: list[dict[str, Any]]) -> None:
    click.echo(f"kept: {'a person' if kept is not None else 'nobody'}; now: {'a person' if found else 'nobody'}")
    click.echo(f"differs: {', '.join(differing(kept, found)) or 'nothing'}")
    shown = [{name: row[name] for name in ("subject", "id", "state")} for row in concerned if row["is_open"]]
    click.echo("\nOpen, and goes on for the person that is kept then")
    show(shown, as_json=False)
    if "ICN" in differing(kept, found):
        shown = [{name: row[name] for name in ("subject", "id", "state")} for row in concerned if not row["is_open"]]
        click.echo("\nOver: what was filed of it was filed for the person that is kept now. Find out upstream")
        show(shown, as_json=False)


def correct(
    session: DbSession, account_id: uuid.UUID, kept: Identity | None, found: Identity | None, reason: str
) -> None:
    """Keep the new answer. Raises ClickException where somebody was faster, or something is in doubt."""
    lock_account(session, account_id)
    if identity_of(session, account_id) != kept:
        raise click.ClickException("it was changed meanwhile: look it up again")
    concerned = concerned_by(session, account_id)
    doubtful = [f"{row['subject']} {row['id']}" for row in concerned if row["in_doubt"]]
    if doubtful:
        raise click.ClickException(
            f"{', '.join(doubtful)}: a worker has it, or its last call may have gone through, and is being looked up."
            " Wait until that is over, or park its message; nothing was changed"
        )
    correct_person(session, account_id, found)
    for row in concerned:
        readdress(session, row, found)
        note = "whose account it is was looked up again and corrected: it may have been filed for another person"
        note_cases(session, row["subject"], row["id"], note, operator())
    detail = {"reason": reason, "differs": differing(kept, found)}
    write_history(session, "account", str(account_id), "account.corrected", actor=operator(), detail=detail)


def readdress(session: DbSession, row: dict[str, Any], found: Identity | None) -> None:
    """What was not sent yet is for the person that is kept now."""
    unsent = select(Notification).filter_by(subject_type=row["subject"], subject_id=row["id"], va_notify_id=None)
    for notification in session.execute(unsent.where(Notification.state.in_(UNSENT)).with_for_update()).scalars():
        if notification.recipient is not None:
            notification.recipient = {**notification.recipient, "icn": found.icn if found is not None else ""}


def init_app(app: Flask) -> None:
    app.cli.add_command(accounts_cli)
