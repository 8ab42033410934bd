"""Command `flask show ID`: the whole story of whatever has this id, in text or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from flask import Flask
from flask.cli import with_appcontext
from sqlalchemy import select

from flaskapp.accounts.models import Account
from flaskapp.cases.models import Case
from flaskapp.db import DbSession, transaction
from flaskapp.ops.commands.ledger import as_json_option, print_case
from flaskapp.ops.find import ACCOUNT, CASE, MESSAGE, Found, find_one
from flaskapp.ops.story import Event, Next, Story, related_to, tell
from outbox import messages, timeline


@click.command("show")
@click.argument("wanted", metavar="ID")
@as_json_option
@with_appcontext
def show_anything(wanted: str, as_json: bool) -> None:
    """Show what has this ID: its timeline, what happens next, and what belongs to it.

    ID may be that of a submission, a notification, a case, a message, a job in RQ or a sign-in account; the id that an
    upstream gave it; or the last four of a claim number. Six digits of a long id are enough where they are unique.
    """
    with transaction() as session:
        found = find_one(session, wanted)
        if found.kind == ACCOUNT:
            show_account(session, found, as_json)
            return
        case = session.get(Case, found.id) if found.kind == CASE else None
        message = messages.find_message(session, int(found.id)) if found.kind == MESSAGE else None
        story = tell(session, *subject_of(session, found, case))
        if as_json:
            whole: dict[str, Any] = {"found": asdict(found), "message": dict(message._mapping) if message else None}
            click.echo(json.dumps({**whole, "synthetic": story.synthetic, **asdict(story)}, indent=2, default=str))
            return
        if case is not None:
            print_case(session, case)
            click.echo()
    print_story(story)


def subject_of(session: DbSession, found: Found, case: Case | None) -> tuple[str, str]:
    """The type and id of the subject that the thing is, or is about."""
    if case is not None:
        return case.subject_type, case.subject_id
    if found.kind == MESSAGE:
        about = timeline.subject_of(session, int(found.id))
        assert about is not None
        return about.subject_type, about.subject_id
    return found.kind, found.id


def show_account(session: DbSession, found: Found, as_json: bool) -> None:
    account = session.execute(select(Account).filter_by(id=found.id)).scalar_one()
    submissions = related_to(session, found.kind, None, account)
    if as_json:
        click.echo(json.dumps({"found": asdict(found), "related": [asdict(each) for each in submissions]}, indent=2))
        return
    click.echo(f"sign-in account {found.id}")
    print_found("Submissions", submissions)


def print_story(story: Story) -> None:
    click.echo(f"{story.subject_type.replace('_', ' ')} {story.subject_id}: {story.state or 'its row is gone'}")
    if story.synthetic:
        click.echo("  SYNTHETIC: filed by Surefile itself for a test person, and counted nowhere")
    for name, value in story.facts.items():
        if name not in ("id", "state"):
            click.echo(f"  {name.replace('_', ' ')}: {at(value) if isinstance(value, datetime) else value}")
    click.echo("\nTimeline (UTC)")
    day = None
    for event in story.events:
        if event.at.astimezone(UTC).date() != day:
            day = event.at.astimezone(UTC).date()
            click.echo(f"  {day:%Y-%m-%d}")
        click.echo(f"  {event.at.astimezone(UTC):%H:%M:%S}  {line(event)}")
    click.echo("\nWhat happens next")
    for step in story.coming:
        click.echo(f"  {coming_line(step)}")
    print_found("Cases", story.cases)
    print_found("Related", story.related)


def line(event: Event) -> str:
    about = f"[{event.about}] " if event.about else ""
    lasted = f", {event.seconds:.1f} s" if event.seconds is not None else ""
    return f"{about}{event.words}{lasted} · {event.by}" if event.by else f"{about}{event.words}{lasted}"


def coming_line(step: Next) -> str:
    when = f", {at(step.at)}" if step.at is not None else ""
    return f"{step.words}{when}" + (f"\n  flask outbox requeue {step.message}" if step.parked else "")


def print_found(title: str, found: list[Found]) -> None:
    if found:
        click.echo(f"\n{title}")
    for each in found:
        click.echo(f"  {each.id}  {each.words}" + (f" ({each.by})" if each.by != "its id" else ""))


def at(timestamp: datetime) -> str:
    if timestamp.tzinfo is None:
        return f"{timestamp:%Y-%m-%d %H:%M}"
    return f"{timestamp.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def init_app(app: Flask) -> None:
    app.cli.add_command(show_anything)
