"""Commands `flask itf …`: ITFs at risk of losing their day, the evidence for one, and the state before a rollout."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import text

from flaskapp.accounts.service import ACCOUNTS
from flaskapp.current import flows, settings
from flaskapp.db import transaction
from flaskapp.intent_to_file.evidence import gather
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import INTENTS_TO_FILE, SUBJECT
from flaskapp.intent_to_file.upkeep import mark_used
from flaskapp.ops.commands.arguments import id_argument, limit_option
from flaskapp.ops.commands.ledger import as_json_option, operator, rows, show
from outbox import breakers, messages, sql

itf_cli = AppGroup("itf", help="Intents to file: what is at risk, the evidence for one, and the rollout.")

AT_RISK = text(f"""
    SELECT f.id::text, f.type, f.asked_at, f.legal_midnight_at,
           round((extract(epoch FROM f.legal_midnight_at - outbox_now()) / 3600)::numeric, 1)::float AS hours_left,
           m.state AS message, m.charged_attempts AS attempts, m.due_at AS next_try_at,
           {sql.open_reason("m.upstream")} AS open_breaker, {sql.held_until("m.upstream")} AS held_until,
           f.synthetic_on
      FROM intents_to_file f
      LEFT JOIN (SELECT m.* {sql.messages(subject_type="'intent_to_file'")}) m ON m.subject_id = f.id::text
     WHERE f.state = 'pending'
     ORDER BY f.legal_midnight_at, f.asked_at LIMIT :limit
""")
STATES = text("""
    SELECT type, path, state, count(*) AS itfs, count(*) FILTER (WHERE expires_at > outbox_now()) AS unexpired,
           min(asked_at) AS oldest
      FROM intents_to_file GROUP BY type, path, state ORDER BY type, path, state
""")
OPEN_CASES = text("""
    SELECT kind, count(*) AS cases FROM cases
     WHERE subject_type = 'intent_to_file' AND closed_at IS NULL GROUP BY kind ORDER BY kind
""")
REFRESH = text("""
    SELECT count(*) AS in_the_cycle, min(last_synced_at) AS oldest_sync,
           count(*) FILTER (WHERE refresh_due_at <= outbox_now()) AS due, count(doubted_at) AS doubted
      FROM intents_to_file WHERE refresh_due_at IS NOT NULL
""")


@itf_cli.command("at-risk")
@as_json_option
@limit_option(what="ITFs")
def at_risk(as_json: bool, limit: int) -> None:
    """List pending ITFs by hours left to the legal midnight of the day of the request. Negative: it has passed."""
    with transaction() as session:
        show(rows(session.execute(AT_RISK, {"limit": limit})), as_json)


@itf_cli.command("evidence")
@id_argument("itf_id", SUBJECT, "intent to file")
@as_json_option
def evidence(itf_id: uuid.UUID, as_json: bool) -> None:
    """Show what was received when, every attempt, and the outages: the evidence for having a date corrected."""
    with transaction() as session:
        found = gather(session, str(itf_id), settings().legal_time_zone)
    if found is None:
        raise click.ClickException(f"there is no intent to file {itf_id}")
    if as_json:
        click.echo(json.dumps(found, default=str, indent=2))
        return
    print_evidence(found)


def print_evidence(found: dict[str, Any]) -> None:
    itf = found["intent_to_file"]
    click.echo(f"Intent to file {itf['id']} ({itf['type']}), {itf['state']}")
    click.echo(f"Requested at {itf['asked_at']}: {itf['asked_on_legal_date']} in {itf['legal_time_zone']}.")
    recorded = itf["upstream_legal_date"]
    click.echo(
        f"Upstream dates it {recorded} (id {itf['upstream_id']})." if recorded else "Upstream has no record of it."
    )
    for name in ("intent_to_file", "attempts", "outages", "history", "cases"):
        click.echo(f"\n{name.replace('_', ' ').capitalize()}")
        section = found[name]
        if isinstance(section, dict):
            section = [{"field": key, "value": value} for key, value in section.items() if value is not None]
        show(section, as_json=False)


@itf_cli.command("used")
@id_argument("itf_id", SUBJECT, "intent to file")
def used(itf_id: uuid.UUID) -> None:
    """Record that an accepted claim used this ITF up, so that it does not count as broken."""
    with transaction() as session:
        if session.get(IntentToFile, itf_id) is None:
            raise click.ClickException(f"there is no intent to file {itf_id}")
        first = mark_used(session, str(itf_id), operator())
    click.echo("noted" if first else "known already")


@itf_cli.command("preflight")
@as_json_option
def preflight(as_json: bool) -> None:
    """Show what is in flight, before ITF_ASYNC_PERCENT is changed. Exits 1 while something needs a human first."""
    upstreams = (ACCOUNTS.upstream, INTENTS_TO_FILE.upstream)
    with transaction() as session:
        found = {
            "itfs": rows(session.execute(STATES)),
            "outstanding": rows(messages.count_by_job(session, [ACCOUNTS.name, INTENTS_TO_FILE.name])),
            "breakers": rows(
                breaker
                for breaker in breakers.all_breakers(session, flows().breaker_limits)
                if breaker.upstream in upstreams
            ),
            "open_cases": rows(session.execute(OPEN_CASES)),
            "refresh": rows(session.execute(REFRESH)),
        }
    in_flight = sum(row["itfs"] for row in found["itfs"] if row["state"] == "pending")
    needs_human = (
        bool(found["open_cases"])
        or any(row["state"] == "parked" for row in found["outstanding"])
        or any(breaker["missing"] for breaker in found["breakers"])
    )
    share = settings().itf_async_percent
    if as_json:
        summary = {"itf_async_percent": share, "in_flight": in_flight, "needs_human": needs_human}
        click.echo(json.dumps({**summary, **found}, default=str, indent=2))
    else:
        print_preflight(share, in_flight, needs_human, found)
    sys.exit(1 if needs_human else 0)


def print_preflight(share: int, in_flight: int, needs_human: bool, found: dict[str, Any]) -> None:
    click.echo(f"ITF_ASYNC_PERCENT is {share}; always synchronous: {', '.join(settings().itf_sync_apps) or 'none'}.")
    click.echo(f"{in_flight} pending: whatever the new share is, each is still created and still shown to its person.")
    for name, section in found.items():
        click.echo(f"\n{name.replace('_', ' ').capitalize()}")
        show(section, as_json=False)
    click.echo(
        "\nFirst take care of the open cases, parked messages and missing breakers."
        if needs_human
        else "\nNothing needs a human."
    )


def init_app(app: Flask) -> None:
    app.cli.add_command(itf_cli)
