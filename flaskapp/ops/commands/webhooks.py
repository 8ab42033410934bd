"""Commands `flask webhooks …`: who is told what happens, their secrets, and what is sent to them again."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import func, select

from flaskapp import clock
from flaskapp.current import flows, upstreams
from flaskapp.db import db, transaction
from flaskapp.ops.commands.arguments import id_argument
from flaskapp.ops.commands.ledger import as_json_option, operator, show
from flaskapp.ops.webhooks import send_again
from flaskapp.upstreams.errors import UpstreamError
from flaskapp.webhooks import events, service, standing
from flaskapp.webhooks.models import Webhook, WebhookDelivery
from flaskapp.webhooks.service import SUBJECT, NoSuchWebhook

webhooks_cli = AppGroup("webhooks", help="Receivers of webhooks: who is told what happens, and what each is owed.")

# The rest stands in `--json`.
IN_A_TABLE = ("id", "url", "state", "answered", "pending", "oldest_pending", "last_delivered", "refused")
WHY = "Why, for the record. No personal data."
reason_option = click.option("--reason", default="", help=WHY)
KEEP_IT = "Its secret, which is shown only now. Give it to the people who run the receiver, and to nobody else:"


class Since(click.ParamType):
    """A time with its zone, as in 2026-11-30T08:00Z."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"expected a time like 2026-11-30T08:00Z, not {value}", param, ctx)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def chosen(wanted: tuple[str, ...]) -> list[str]:
    """The kinds that these words name; `form526_document.*` is all that begins so. Raises ClickException."""
    known = [kind for kind in flows().tells if kind != events.TEST]
    found: list[str] = []
    for each in wanted:
        named = [kind for kind in known if kind == each or each.endswith("*") and kind.startswith(each[:-1])]
        if not named:
            raise click.ClickException(f"there is no kind {each}; there are {', '.join(known)}")
        found += named
    return found


@webhooks_cli.command("add")
@click.argument("url")
@click.option("--kind", "kinds", multiple=True, required=True, help="What to tell; may be repeated. '*' is everything.")
@as_json_option
def add(url: str, kinds: tuple[str, ...], as_json: bool) -> None:
    """Tell the receiver at URL what happens from now on."""
    try:
        upstreams().webhooks.check(url)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    with transaction() as session:
        webhook = service.add(session, url, chosen(kinds), operator())
        made = {"id": str(webhook.id), "secret": webhook.secret, "kinds": webhook.kinds}
    say_secret(made, as_json)


def say_secret(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(made, indent=2))
    else:
        click.echo(f"{made['id']}: {', '.join(made['kinds'])}\n{KEEP_IT}\n{made['secret']}")


@webhooks_cli.command("list")
@click.option("--all", "everything", is_flag=True, help="Removed ones too.")
@as_json_option
def list_all(everything: bool, as_json: bool) -> None:
    """List receivers with their state, what each is owed, and what it answered last."""
    with transaction() as session:
        found = standing.receivers(session, everything=everything)
    listed = [{**dict(each.owed._mapping), "state": each.state, "answered": each.answered} for each in found]
    shown = listed if as_json else [{name: each[name] for name in IN_A_TABLE} for each in listed]
    show(shown, as_json)


@webhooks_cli.command("rotate")
@id_argument("webhook_id", SUBJECT, "webhook")
@reason_option
@as_json_option
def rotate(webhook_id: uuid.UUID, reason: str, as_json: bool) -> None:
    """Give a receiver a new secret. For a day, deliveries are signed with both."""
    with transaction() as session:
        webhook = service.rotate(session, webhook_id, operator(), reason)
        made = {"id": str(webhook.id), "secret": webhook.secret, "kinds": webhook.kinds}
    say_secret(made, as_json)


@webhooks_cli.command("pause")
@id_argument("webhook_id", SUBJECT, "webhook")
@click.option("--reason", required=True, help=WHY)
def pause(webhook_id: uuid.UUID, reason: str) -> None:
    """Send a receiver nothing until it is resumed. What it is owed waits."""
    with transaction() as session:
        if not service.pause(session, webhook_id, operator(), reason):
            raise click.ClickException("it is paused already")
    click.echo("paused; what it is owed waits")


@webhooks_cli.command("resume")
@id_argument("webhook_id", SUBJECT, "webhook")
@reason_option
def resume(webhook_id: uuid.UUID, reason: str) -> None:
    """Deliver to a receiver again, what waits first."""
    with transaction() as session:
        if not service.resume(session, webhook_id, operator(), reason):
            raise click.ClickException("it is not paused")
    click.echo("resumed; what waits is delivered now")


@webhooks_cli.command("remove")
@id_argument("webhook_id", SUBJECT, "webhook")
@reason_option
def remove(webhook_id: uuid.UUID, reason: str) -> None:
    """Tell a receiver nothing more. What it is still owed is withdrawn."""
    with transaction() as session:
        withdrawn = service.remove(session, webhook_id, operator(), reason)
    click.echo(f"it is told nothing more; deliveries withdrawn: {withdrawn}")


@webhooks_cli.command("test")
@id_argument("webhook_id", SUBJECT, "webhook")
def test(webhook_id: uuid.UUID) -> None:
    """Send a delivery of kind `webhook.test` at once, and say what became of it."""
    with transaction() as session:
        webhook = session.get(Webhook, webhook_id)
        if webhook is None or webhook.removed_at is not None:
            raise NoSuchWebhook(f"nobody is told by {webhook_id}, or not any more")
        url, secrets = webhook.url, service.secrets_of(webhook, clock.now())
    # No connection is held meanwhile.
    db.session.remove()
    delivery = uuid.uuid4()
    body = events.body(events.TEST, clock.now(), 0, {"id": str(webhook_id)})
    client = upstreams().webhooks
    try:
        client.check(url)
        client.post(url, secrets, str(delivery), body)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except UpstreamError as error:
        raise click.ClickException(f"it did not take it: {error.detail or type(error).__name__}") from error
    click.echo(f"it took {delivery}")


@webhooks_cli.command("redeliver")
@id_argument("webhook_id", SUBJECT, "webhook")
@click.option("--since", type=Since(), help="Also what it took, of what happened since this time (with its zone).")
@click.option("--delivery", "deliveries", type=click.UUID, multiple=True, help="This one; may be repeated.")
@click.option("--preview", is_flag=True, help="Only say how many that would be.")
@reason_option
def redeliver(
    webhook_id: uuid.UUID, since: datetime | None, deliveries: tuple[uuid.UUID, ...], preview: bool, reason: str
) -> None:
    """Deliver at once what waits, and once more what was refused, under the same ids."""
    with transaction() as session:
        found = standing.receiver(session, webhook_id)
        assert found is not None
        waiting = found.owed.pending
        counted = select(func.count(WebhookDelivery.id)).where(*service.once_more(webhook_id, since, deliveries))
        again = session.execute(counted).scalar_one() if preview else 0
    if preview:
        click.echo(f"waiting: {waiting}; once more: {again}. Nothing was changed.")
        return
    again = send_again(webhook_id, operator(), reason, since, deliveries)
    when = "when it is resumed" if found.state == "paused" else "now"
    click.echo(f"what waits is delivered {when}; once more: {again}")


def init_app(app: Flask) -> None:
    app.cli.add_command(webhooks_cli)
