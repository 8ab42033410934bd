"""Command `flask after-restore`: what has to be done before anything is sent from a database restored from a backup."""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import click
from flask import Flask
from flask.cli import with_appcontext

from flaskapp import logs
from flaskapp.current import database_now, flows, settings, upstreams
from flaskapp.db import DbSession, transaction
from flaskapp.notifications.service import unknown_of
from flaskapp.ops.commands.breakers import DURATION, TIMESTAMP, shown
from flaskapp.ops.commands.ledger import as_json_option, operator, rows, show
from flaskapp.upstreams.errors import UpstreamError
from outbox import breakers, eras, holds, messages, restores, write_history

# Until they are lifted; a hold needs an end.
HELD_FOR = timedelta(days=30)
HOLD_REASON = "the database was restored from a backup"
NEXT_STEPS = """
Everything outstanding is looked up before it is sent, and every upstream is held. Now:
  1. start the release, then the processes; `flask audit` must end with 0 unaccounted
  2. flask breakers lift UPSTREAM, one after the other, va_notify last
  3. flask after-restore --report, until nothing is left to be looked up; `flask cases list` has what a human decides\
"""


@click.command("after-restore")
@with_appcontext
@click.option("--from", "restored_to", type=TIMESTAMP, help="The time restored to; without it, the last beat.")
@click.option("--until", "lost_at", type=TIMESTAMP, help="When the old database was lost; without it, now.")
@click.option(
    "--look-first-for",
    "look_first_for",
    type=DURATION,
    default="30d",
    show_default=True,
    help="How long people may still file again what was lost.",
)
@click.option("--reason", default="", help="What happened, for the record. No personal data.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be done.")
@click.option("--again", is_flag=True, help="Although the last restore was recorded: there was another one.")
@click.option("--nothing-lost", is_flag=True, help="The database was only moved, with nothing written meanwhile.")
@click.option("--report", is_flag=True, help="Say what became of everything that was in doubt.")
@as_json_option
def after_restore(
    restored_to: datetime | None,
    lost_at: datetime | None,
    look_first_for: timedelta,
    reason: str,
    yes: bool,
    again: bool,
    nothing_lost: bool,
    report: bool,
    as_json: bool,
) -> None:
    """Have everything outstanding looked up before it is sent, after a restore from a backup.

    Holds every upstream until it is lifted, and records who restored what. A run that is cut short is finished by the
    next. Without --yes, nothing is changed.
    """
    if report:
        tell(as_json)
        return
    if yes and not reason.strip():
        raise click.UsageError("give a reason: it is kept with the record")
    with transaction() as session:
        doubted, unfinished, last = eras.doubt(session), restores.unfinished(session), restores.last(session)
        now = database_now(session)
    if nothing_lost:
        record_move(doubted, reason, yes)
        return
    if unfinished is None and doubted is None and last is not None and not again:
        raise click.ClickException(
            f"restore {last.id}, to {shown(last.restored_to)}, is recorded and done. If there was another, add --again"
        )
    with transaction() as session:
        since, until = lost_time(session, restored_to, lost_at)
    if not yes:
        preview(doubted, since, until, as_json)
        return
    if unfinished is None:
        with transaction() as session:
            times = {"restored_to": since, "lost_at": until, "look_first_until": now + look_first_for}
            restores.begin(session, **times, actor=operator(), reason=reason)
            hold_all(session, now)
    marked = mark_all()
    click.echo(f"{marked} messages are in doubt since {shown(since)}\n{NEXT_STEPS}")


def lost_time(session: DbSession, restored_to: datetime | None, lost_at: datetime | None) -> tuple[datetime, datetime]:
    """From when to when this database knows nothing. Its last beat shows how far it goes; an operator may know that it
    ends earlier, but not later."""
    now, last_beat = database_now(session), restores.ends_at(session)
    known = [timestamp for timestamp in (last_beat, restored_to) if timestamp is not None]
    if not known:
        raise click.UsageError(
            "nothing shows how far this database goes: say which time it was restored to, with --from"
        )
    since, until = min(known), min(now, lost_at or now)
    if until < since:
        raise click.UsageError(f"the loss cannot be before {shown(since)}, which this database still knows of")
    return since, until


def preview(doubted: str | None, since: datetime, until: datetime, as_json: bool) -> None:
    with transaction() as session:
        waiting = rows(messages.count_by_job(session, [queue.name for queue in flows().queues]))
    if as_json:
        found = {"doubted": doubted, "from": since, "until": until, "outstanding": waiting}
        click.echo(json.dumps(found, indent=2, default=str))
        return
    click.echo(f"Seems to be restored: {doubted or 'nothing shows that'}")
    click.echo(f"Knows nothing from {shown(since)} until {shown(until)}. This would be looked up before it is sent:")
    show(waiting, False)
    click.echo("Nothing was changed. To do it: --yes --reason …")


def hold_all(session: DbSession, now: datetime) -> None:
    """Hold every upstream that work is sent to, until somebody lifts it."""
    for upstream in {queue.upstream for queue in flows().queues} & set(breakers.existing(session)):
        if upstream is not None:
            holds.hold(session, upstream, ends_at=now + HELD_FOR, reason=HOLD_REASON, actor=operator())


def mark_all() -> int:
    """Mark batch by batch, each in a transaction of its own, then begin a new era. Goes on where an earlier run
    ended."""
    count, new = 0, True
    with click.progressbar(
        label="messages marked", file=sys.stderr, length=0, show_pos=True, hidden=not sys.stderr.isatty()
    ) as bar:
        while new:
            with transaction() as session:
                restore = restores.unfinished(session)
                if restore is None:
                    return count
                new = bool(marked := restores.mark(session, restore, operator()))
                if not new:
                    restores.end(session, restore.id)
                    eras.renew(session)
            count += marked
            bar.update(marked)
    return count


def record_move(doubted: str | None, reason: str, yes: bool) -> None:
    """The database is another one, and complete: it may be used as it is."""
    if doubted is None:
        raise click.ClickException("nothing shows that this database is another one: there is nothing to do")
    if not yes:
        click.echo(
            f"Another database: {doubted}. Nothing was changed. To use it as it is: --nothing-lost --yes --reason …"
        )
        return
    with transaction() as session:
        eras.renew(session)
        detail = {"reason": reason, "doubted": doubted}
        write_history(session, restores.SUBJECT, "moved", "restore.nothing_lost", actor=operator(), detail=detail)
    click.echo("recorded: the work goes on as it was")


def told_unknown(since: datetime, until: datetime) -> list[dict[str, Any]]:
    """What VANotify sent in the lost time about submissions of which nothing is left here, newest first."""
    kinds = {template: kind for kind, template in settings().vanotify_templates.items()}
    listed = [each for each in upstreams().va_notify.list_since(since) if each.created_at <= until and each.reference]
    with transaction() as session:
        unknown = unknown_of(session, [str(each.reference) for each in listed])
    return [
        {"kind": kinds.get(each.template_id), "sent_at": each.created_at, "va_notify_id": each.id}
        for each in listed
        if each.reference in unknown
    ]


def tell(as_json: bool) -> None:
    """What became of everything in doubt, and what shows of submissions that are lost."""
    with transaction() as session:
        restore = restores.last(session)
        if restore is None:
            raise click.ClickException("no restore was recorded")
        marked = rows(restores.outcomes(session, restore))
        again = rows(restores.filed_again(session, restore, list(flows().submissions)))
    try:
        with logs.on_stderr():
            told: list[dict[str, Any]] | str = told_unknown(restore.restored_to, restore.lost_at)
    except UpstreamError as error:
        told = f"VANotify could not be asked: {type(error).__name__}"
    counted = Counter((row["subject_type"], row["outcome"]) for row in marked)
    counts: list[dict[str, Any]] = [
        {"subject": subject, "outcome": outcome, "count": count} for (subject, outcome), count in counted.items()
    ]
    if as_json:
        record = dict(restore._mapping)
        found = {
            "restore": record,
            "counts": counts,
            "in_doubt": marked,
            "filed_again": again,
            "told_of_lost": told,
        }
        click.echo(json.dumps(found, indent=2, default=str))
        return
    click.echo(
        f"Restore {restore.id}: nothing is known from {shown(restore.restored_to)} until {shown(restore.lost_at)}"
    )
    show(counts, False)
    click.echo("\nIn doubt")
    show(marked, False)
    click.echo("\nFiled in the time that was lost, and filed again by its person")
    show(again, False)
    click.echo("\nSent in that time about submissions of which nothing is left here; VANotify knows to whom")
    click.echo(told) if isinstance(told, str) else show(told, False)


def init_app(app: Flask) -> None:
    app.cli.add_command(after_restore)
