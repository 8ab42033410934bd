"""Commands `flask breakers …`: which breakers are open and why, holds by hand, and whether deadlines will be met."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup

from flaskapp.current import database_now, flows
from flaskapp.db import transaction
from flaskapp.ops.commands.arguments import Count
from flaskapp.ops.commands.ledger import as_json_option, operator, rows, show
from flaskapp.ops.durations import read_duration
from outbox import Database, breakers, forecast, holds

breakers_cli = AppGroup(
    "breakers", help="Circuit breakers: open, half-open, closed or held; and whether deadlines will be met."
)


class Duration(click.ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        duration = read_duration(str(value))
        if duration is None:
            self.fail("expected a number and a unit: 30s, 90m, 4h, 2d", param, ctx)
        return duration


class Timestamp(click.ParamType):
    name = "timestamp"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            timestamp = datetime.fromisoformat(str(value))
            in_utc = timestamp.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail("expected a time like 2031-03-04T22:00Z", param, ctx)
        if timestamp.tzinfo is None:
            self.fail("say in which zone: 2031-03-04T22:00Z", param, ctx)
        return in_utc


DURATION, TIMESTAMP = Duration(), Timestamp()


def check_known(db: Database, upstream: str) -> None:
    """Raise an error that lists the known upstreams if there is no breaker of this one."""
    known = breakers.existing(db)
    if upstream in flows().breaker_limits and upstream not in known:
        raise click.ClickException(f"the breaker of {upstream} is missing; `flask audit --repair` makes it again")
    if upstream not in known:
        raise click.UsageError(f"there is no breaker of {upstream}; there are {', '.join(known)}")


@breakers_cli.command("list")
@as_json_option
def show_breakers(as_json: bool) -> None:
    """Show each upstream's circuit breaker.

    Closed: it has no opened_at, and work passes. Open: nothing is sent before open_until; the reason says why.
    Half-open: open_until is past, and one probe goes. Held: nothing is sent before held_until. Missing: counts as open;
    `flask audit --repair` makes it again.
    """
    with transaction() as session:
        show(rows(breakers.all_breakers(session, flows().breaker_limits)), as_json)


@breakers_cli.command("hold")
@click.argument("upstream")
@click.option("--for", "duration", type=DURATION, help="For this long, e.g. 90m, 4h, 2d.")
@click.option("--until", type=TIMESTAMP, help="Until this time, ISO 8601 with its zone, e.g. 2031-03-04T22:00Z.")
@click.option("--from", "starts_at", type=TIMESTAMP, help="From this time on; without it, from now.")
@click.option("--reason", required=True, help="Why, for the person who is on duty next. No personal data.")
def hold_breaker(
    upstream: str, duration: timedelta | None, until: datetime | None, starts_at: datetime | None, reason: str
) -> None:
    """Hold a breaker open, now or for a maintenance window to come.

    Nothing is sent to the upstream meanwhile. Its work waits, nothing is lost, and no budget runs.
    """
    if (duration is None) == (until is None):
        raise click.UsageError("give either --for or --until")
    if not reason.strip():
        raise click.UsageError("give a reason: the person who is on duty next needs it")
    with transaction() as session:
        check_known(session, upstream)
        now = database_now(session)
        begins_at = max(now, starts_at or now)
        ends_at = until or begins_at + (duration or timedelta())
        if ends_at <= begins_at:
            raise click.UsageError("a hold has to end after it starts, and in the future")
        made = holds.hold(session, upstream, ends_at=ends_at, starts_at=begins_at, reason=reason, actor=operator())
    click.echo(f"hold {made}: nothing is sent to {upstream} from {shown(begins_at)} until {shown(ends_at)}")


def shown(timestamp: datetime) -> str:
    return f"{timestamp:%Y-%m-%d %H:%M:%S} UTC"


@breakers_cli.command("lift")
@click.argument("upstream")
@click.option("--hold", "hold_id", type=Count(), help="Only the hold with this number.")
def lift_holds(upstream: str, hold_id: int | None) -> None:
    """End all holds of an upstream's breaker, those to come too. Its flow then starts slowly."""
    with transaction() as session:
        check_known(session, upstream)
        lifted = holds.lift(session, upstream, actor=operator(), hold_id=hold_id)
    if not lifted:
        raise click.ClickException(f"{upstream} has no such hold; `flask breakers holds` lists them")
    click.echo(f"{lifted} lifted")


@breakers_cli.command("try-now")
@click.argument("upstream")
@click.option("--reason", required=True, help="Why, for the person who is on duty next. No personal data.")
def try_now(upstream: str, reason: str) -> None:
    """Send an open breaker's probe at once, instead of when its time is up. Its answer closes the breaker, or not."""
    if not reason.strip():
        raise click.UsageError("give a reason: the person who is on duty next needs it")
    with transaction() as session:
        check_known(session, upstream)
        done = breakers.probe_now(session, upstream, actor=operator(), reason=reason)
    if not done:
        raise click.ClickException(f"{upstream}'s breaker has no time to wait for: it is closed, or its probe may go")
    click.echo("its probe goes next, unless the upstream is held")


@breakers_cli.command("holds")
@as_json_option
def show_holds(as_json: bool) -> None:
    """Show the holds in force and to come, with their reasons."""
    with transaction() as session:
        show([dict(row._mapping) for row in holds.standing(session)], as_json)


@breakers_cli.command("forecast")
@as_json_option
def show_forecast(as_json: bool) -> None:
    """Say how many deadlines will be missed if each queue goes on as in the last quarter of an hour."""
    with transaction() as session:
        show([vars(line) for line in forecast.by_queue(session)], as_json)


def init_app(app: Flask) -> None:
    app.cli.add_command(breakers_cli)
