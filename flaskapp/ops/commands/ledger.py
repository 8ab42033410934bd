"""Commands `flask outbox …` and `flask cases …`: the ledger and the cases, from a shell."""

from __future__ import annotations

import getpass
import json
import sys
import uuid
from dataclasses import asdict
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from redis.exceptions import RedisError
from sqlalchemy import select

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.cases.service import assign_case, close_case, note_case, open_case, playbook
from flaskapp.current import flows
from flaskapp.db import DbSession, transaction
from flaskapp.ops import redrive
from flaskapp.ops.commands.arguments import MESSAGE_ID, Count, id_argument, limit_option
from flaskapp.ops.find import CASE
from flaskapp.ops.labels import label, synthetic_among
from flaskapp.requeue import REOPEN_PATH, Refused, requeue_message
from outbox import messages, parked, registries, timeline

outbox_cli = AppGroup("outbox", help="The ledger: outstanding work, parked messages, and what became of each attempt.")
cases_cli = AppGroup("cases", help="What named humans have to decide or finish.")


def operator() -> str:
    return f"shell:{getpass.getuser()}"


def rows(result: Any) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in result]


def labelled(session: DbSession, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows about subjects, with whether each is synthetic."""
    marked = synthetic_among(session, [(row["subject_type"], row["subject_id"]) for row in found])
    return [{**row, "synthetic": (row["subject_type"], row["subject_id"]) in marked} for row in found]


def show(found: Any, as_json: bool) -> None:
    """Print rows as JSON, or as text columns wide enough for their values."""
    if as_json:
        click.echo(json.dumps(found, default=str, indent=2))
        return
    if not found:
        click.echo("nothing")
        return
    names = [name for name in found[0] if any(row[name] not in (None, "", {}) for row in found)]
    # A column that is true of nothing says nothing.
    names = [name for name in names if any(row[name] is not False for row in found)]
    cells = [[str(row[name]) if row[name] is not None else "" for name in names] for row in found]
    widths = [max(len(name), *(len(line[index]) for line in cells)) for index, name in enumerate(names)]
    for line in (names, *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


class QueueName(click.ParamType):
    """The name of a registered queue."""

    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = [queue.name for queue in flows().queues]
        if value not in names:
            self.fail(f"there is no queue {value}; there are {', '.join(names)}", param, ctx)
        return str(value)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@outbox_cli.command("list")
@click.option(
    "--state", type=click.Choice(["later", "ready", "published", "running", "parked"]), help="Only those in this state."
)
@click.option("--queue", type=QueueName(), help="Only those of this queue.")
@limit_option(50, "messages")
@as_json_option
def list_messages(state: str | None, queue: str | None, limit: int, as_json: bool) -> None:
    """List messages, earliest deadline first."""
    with transaction() as session:
        found = rows(messages.list_messages(session, state=state, queue=queue, limit=limit))
        show(labelled(session, found), as_json)


@outbox_cli.command("show")
@click.argument("message_id", type=MESSAGE_ID, metavar="MESSAGE")
@as_json_option
def show_message(message_id: int, as_json: bool) -> None:
    """Show one message: where it stands, every attempt, and the history of its subject."""
    with transaction() as session:
        found = messages.find_message(session, message_id)
        message = labelled(session, [dict(found._mapping)])[0] if found is not None else None
        attempts = rows(timeline.attempts_at(session, message_id))
        history = rows(timeline.history_around(session, message_id))
    if not message and not attempts:
        raise click.ClickException(f"there is no message {message_id}, and no attempt of one was ever made")
    if as_json:
        show({"message": message, "attempts": attempts, "history": history}, True)
        return
    click.echo("Message" if message else "Message: done, its row is gone")
    for name, value in (message or {}).items():
        click.echo(f"  {name}: {value}")
    click.echo("\nAttempts")
    show(attempts, False)
    click.echo("\nHistory")
    show(history, False)


@outbox_cli.command("requeue")
@click.argument("message_ids", type=MESSAGE_ID, nargs=-1, required=True, metavar="MESSAGE...")
@click.option("--although-superseded", is_flag=True, help="Even where the person filed a newer one: both get filed.")
@click.option("--reason", default="", help="Why, for the record. No personal data.")
def requeue(message_ids: tuple[int, ...], although_superseded: bool, reason: str) -> None:
    """Reopen parked messages with a fresh budget. Open questions are looked up before anything is sent again."""
    failed = False
    for message_id in message_ids:
        try:
            done = requeue_message(message_id, actor=operator(), although_superseded=although_superseded, reason=reason)
            click.echo(f"{message_id}: {'reopened' if done else 'not parked (somebody was faster, or it is done)'}")
            failed = failed or not done
        except Refused as refusal:
            click.echo(f"{message_id}: stays parked: {refusal}")
            failed = True
    sys.exit(1 if failed else 0)


@outbox_cli.command("parked")
@limit_option(50, "groups")
@as_json_option
def list_parked(limit: int, as_json: bool) -> None:
    """Count parked messages by their job and their cause, the largest group first."""
    with transaction() as session:
        show(rows(messages.parked_groups(session, limit)), as_json)


@outbox_cli.command("redrive")
@click.argument("job")
@click.argument("cause")
@click.option("--most", type=Count(), default=1, show_default=True, help="How many. First 1, then 10, then all.")
@click.option("--reason", default="", help="Why, for the record. No personal data.")
@click.option("--although-superseded", is_flag=True, help="Even where the person filed a newer one: both get filed.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be requeued.")
@as_json_option
def redrive_group(
    job: str, cause: str, most: int, reason: str, although_superseded: bool, yes: bool, as_json: bool
) -> None:
    """Requeue parked messages of one JOB that were parked for one CAUSE, as `flask outbox parked` names them.

    Stops by itself when their upstream cannot be called. Superseded ones are passed over.
    """
    if yes and not reason.strip():
        raise click.UsageError("give a reason: it is kept with each message")
    with transaction() as session:
        seen = redrive.preview(session, job, cause)
    if seen is None:
        raise click.ClickException("nothing of this job is parked for this cause; `flask outbox parked` lists them")
    if not yes:
        if as_json:
            return show(asdict(seen), True)
        click.echo(seen.sentence)
        return click.echo("Nothing was changed. To do it: --yes --reason …")
    click.echo(seen.sentence, err=as_json)
    with click.progressbar(length=min(most, seen.messages), file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        did = redrive.redrive(
            job,
            cause,
            most=most,
            actor=operator(),
            reason=reason,
            although_superseded=although_superseded,
            done=bar.update,
        )
    show(asdict(did), True) if as_json else click.echo(did.sentence)
    sys.exit(1 if did.stopped or did.refused else 0)


@outbox_cli.command("park")
@click.argument("message_id", type=MESSAGE_ID, metavar="MESSAGE")
@click.option("--reason", required=True, help="Why, for the person who finds it. No personal data.")
def park(message_id: int, reason: str) -> None:
    """Take a waiting message out of circulation until somebody requeues it. Opens a case."""
    with transaction() as session:
        row = parked.park_waiting(session, message_id, reason=reason, actor=operator())
        if row is None:
            raise click.ClickException(f"{message_id} is not waiting: it is running, parked or done")
        if row.subject_type != "case":
            open_case(session, "parked_by_hand", row.subject_type, row.subject_id, {"message": message_id})
    try:
        registries.show_parked(
            current_app.extensions["redis"], row.queue, row.id, row.fence, row.job, reason, reopen_path=REOPEN_PATH
        )
    except (RedisError, OSError):
        click.echo("Redis is away; the dashboard will show it after the next sweep.")
    click.echo(f"{message_id}: parked")


@outbox_cli.command("summary")
@as_json_option
def summary(as_json: bool) -> None:
    """Count outstanding messages by queue and state, with the age of the oldest in seconds."""
    with transaction() as session:
        show(rows(messages.count_by_state(session)), as_json)


@cases_cli.command("list")
@click.option("--owner", help="Only this owner's.")
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@limit_option(1_000, "cases")
@as_json_option
def list_cases(owner: str | None, everything: bool, limit: int, as_json: bool) -> None:
    """List open cases, the urgent ones first, then the oldest."""
    shown = (Case.id, Case.kind, Case.subject_type, Case.subject_id, Case.owner, Case.opened_at, Case.closed_at)
    statement = select(*shown, Case.priority).order_by(Case.priority.desc(), Case.opened_at)
    statement = statement if everything else statement.where(Case.closed_at.is_(None))
    statement = statement.where(Case.owner == owner) if owner else statement
    statement = statement.limit(limit)
    with transaction() as session:
        show(labelled(session, rows(session.execute(statement))), as_json)


@cases_cli.command("show")
@id_argument("case_id", CASE, "case")
@as_json_option
def show_case(case_id: uuid.UUID, as_json: bool) -> None:
    """Show one case: what happened, what to do, and its notes."""
    with transaction() as session:
        case = session.get_one(Case, case_id)
        if as_json:
            whole = {column.key: getattr(case, column.key) for column in case.__mapper__.columns}
            show(labelled(session, [whole])[0], True)
        else:
            print_case(session, case)


def print_case(session: DbSession, case: Case) -> None:
    """A case as text: what happened, what to do about it, its details and its notes."""
    kind = KINDS[case.kind]
    synthetic = label(session, case.subject_type, case.subject_id)
    click.echo(f"{case.kind} · {case.subject_type} {case.subject_id}{synthetic} · owner {case.owner}")
    click.echo(
        f"opened {case.opened_at:%Y-%m-%d %H:%M} UTC" + (f", closed by {case.closed_by}" if case.closed_at else "")
    )
    to_do = playbook(case, case.details.get("message"))
    click.echo(f"\nWhat happened: {kind.summary}\nWhat to do:    {to_do}\n\n{json.dumps(case.details)}")
    for note in case.notes:
        click.echo(f"- {note['at']} {note['by']}: {note['note']}")
    if case.resolution:
        click.echo(f"Resolution: {case.resolution}")


@cases_cli.command("close")
@id_argument("case_id", CASE, "case")
@click.option("--resolution", required=True, help="What became of it. No personal data.")
def close(case_id: uuid.UUID, resolution: str) -> None:
    """Close a case: nobody has to do anything about it any more."""
    with transaction() as session:
        close_case(session, case_id, operator(), resolution)
    click.echo("closed")


@cases_cli.command("assign")
@id_argument("case_id", CASE, "case")
@click.argument("owner")
def assign(case_id: uuid.UUID, owner: str) -> None:
    """Give a case to another owner."""
    with transaction() as session:
        assign_case(session, case_id, operator(), owner)
    click.echo(f"assigned to {owner}")


@cases_cli.command("note")
@id_argument("case_id", CASE, "case")
@click.argument("note")
def note(case_id: uuid.UUID, note: str) -> None:
    """Add a note to every open case of this case's subject. No personal data."""
    with transaction() as session:
        note_case(session, case_id, operator(), note)
    click.echo("noted")


def init_app(app: Flask) -> None:
    for command in (outbox_cli, cases_cli):
        app.cli.add_command(command)
