"""Commands `flask travel-pay …`: unfinished claims, and contact details that differ between VA Profile and BTSSS."""

from __future__ import annotations

import json

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import select, text

from flaskapp.db import transaction
from flaskapp.ops.commands.arguments import limit_option
from flaskapp.ops.commands.ledger import as_json_option, rows, show
from flaskapp.travel_pay.models import ContactDiscrepancy

travel_pay_cli = AppGroup("travel-pay", help="Travel pay of signed-in people: unfinished claims, contact details.")

UNFINISHED = text("""
    SELECT id::text, state, step, claim_id, unconfirmed, asked_again, requested_at, synthetic_on,
           round((extract(epoch FROM outbox_now() - moved_at) / 3600)::numeric, 1)::float AS hours_since_move
      FROM travel_pay_claims WHERE state IN ('pending', 'failed') ORDER BY requested_at LIMIT :limit
""")


@travel_pay_cli.command("unfinished")
@as_json_option
@limit_option(what="claims")
def list_unfinished(as_json: bool, limit: int) -> None:
    """List claims that BTSSS does not have yet, or not completely, oldest first; `step` is the first one not done."""
    with transaction() as session:
        show(rows(session.execute(UNFINISHED, {"limit": limit})), as_json)


@travel_pay_cli.command("discrepancies")
@as_json_option
@click.option("--all", "everything", is_flag=True, help="Also those that are resolved.")
@limit_option(what="discrepancies")
def list_discrepancies(as_json: bool, everything: bool, limit: int) -> None:
    """List contact details that differ between VA Profile, which counts, and BTSSS. Values are masked."""
    statement = select(ContactDiscrepancy).order_by(ContactDiscrepancy.found_at).limit(limit)
    if not everything:
        statement = statement.where(ContactDiscrepancy.resolved_at.is_(None))
    with transaction() as session:
        listed = [described(row) for row in session.execute(statement).scalars()]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    show(listed, as_json)


def described(row: ContactDiscrepancy) -> dict[str, str]:
    return {
        "account": str(row.account_id),
        "field": row.field,
        "va_profile": row.masked["va_profile"] or "none",
        "btsss": row.masked["btsss"] or "none",
        "found_at": row.found_at.isoformat(timespec="seconds"),
        "resolved_at": row.resolved_at.isoformat(timespec="seconds") if row.resolved_at else "",
    }


def init_app(app: Flask) -> None:
    app.cli.add_command(travel_pay_cli)
