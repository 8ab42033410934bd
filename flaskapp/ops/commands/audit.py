"""Command `flask audit`: who is unaccounted for, which rules are broken, whether each history is legal; and repair."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from redis.exceptions import RedisError
from sqlalchemy import text

from flaskapp import logs
from flaskapp.audit.repair import Done, repair_broken, repair_faults, repair_redis
from flaskapp.audit.report import Report, audit_everything, some_of
from flaskapp.audit.rules import LIMIT
from flaskapp.audit.trace import Trace, trace
from flaskapp.current import flows
from flaskapp.db import SWEEP, DbSession, alone, db, transaction
from flaskapp.ops.commands.ledger import as_json_option, operator
from outbox import audit as ledger_audit

REDIS_AWAY = "away (nothing is lost: pointers are published again)"
# How many findings of each rule one round of repair looks for.
REPAIRED_AT_ONCE = 10_000
# The report, what Redis holds, and where the two differ.
Seen = tuple[Report, Any, list[ledger_audit.Difference]]
# The histories, attempts and messages of one submission must be read as of one point in time.
ONE_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


@click.command("audit")
@with_appcontext
@click.option("--repair", is_flag=True, help="Repair what is safe to repair, say what was done, and audit again.")
@click.option(
    "--trace", "traced", is_flag=True, help="Check every history too, and name each one's first illegal step."
)
@as_json_option
def audit_command(repair: bool, traced: bool, as_json: bool) -> None:
    """Count the submissions that nobody accounts for, and name every broken rule.

    Exits 0 only if nobody is unaccounted for, the ledger's own rules hold, a human has a case for every other broken
    rule and, with --trace, every history is legal. Otherwise exits 1.
    """
    with logs.on_stderr():
        seen = look(REPAIRED_AT_ONCE if repair else LIMIT)
        done, (report, redis_side, _) = repair_all(seen) if repair else ([], seen)
        found = trace_all() if traced else None
    if as_json:
        shown = {**report.counts(), **report.findings(), "redis": redis_side}
        shown |= {"repaired": [asdict(item) for item in done]} if repair else {}
        shown |= {"trace": asdict(found)} if found is not None else {}
        click.echo(json.dumps(shown, indent=2, default=str))
    else:
        say(report, redis_side, done, found)
    sys.exit(0 if report.clean and not (found is not None and found.illegal) else 1)


def look(limit: int) -> Seen:
    with progress("submissions read") as bar:
        report = audit_everything(bar.update, limit)
    with transaction() as session:
        redis_side, differences = look_at_redis(session)
    return report, redis_side, differences


def look_at_redis(session: DbSession) -> tuple[Any, list[ledger_audit.Difference]]:
    try:
        counts, differences = ledger_audit.compare_redis(session, current_app.extensions["redis"], flows().queues)
    except (RedisError, OSError):
        return REDIS_AWAY, []
    return {**counts, "differences": [asdict(item) for item in differences]}, differences


def repair_all(seen: Seen) -> tuple[list[Done], Seen]:
    """Repair and look again as long as something was repaired: one look may not list everything, and one repair may
    show another fault.

    What Redis has too much or too little of comes and goes with the work, so that is repaired only once.
    """
    done: dict[Done, None] = {}
    while True:
        new = [item for item in repair_once(seen[0], [] if done else seen[2]) if item not in done]
        if new:
            done |= dict.fromkeys(new)
            seen = look(REPAIRED_AT_ONCE)
        if not any(item.repaired for item in new):
            return list(done), seen


def repair_once(report: Report, differences: list[ledger_audit.Difference]) -> list[Done]:
    """Repair while the sweep rests, which may be about to repair the same. Raises ClickException if it never rests."""
    done: list[Done] = []
    if not alone(SWEEP, lambda: done.extend(repair_locked(report, differences)), patient=True):
        raise click.ClickException("a sweep or another repair is at work: try again when it is done")
    return done


def repair_locked(report: Report, differences: list[ledger_audit.Difference]) -> list[Done]:
    done = [*repair_faults(report.faults, operator()), *repair_broken(report, operator())]
    try:
        return done + repair_redis(db.engine, current_app.extensions["redis"], flows().queues, differences)
    except (RedisError, OSError):
        return [*done, Done("Redis", "away", "left: what it forgot is published again when it is back", repaired=False)]


def trace_all() -> Trace:
    with transaction() as session:
        session.execute(ONE_SNAPSHOT)
        with progress("histories read") as bar:
            return trace(session, seen=lambda: bar.update(1))


def progress(label: str) -> Any:
    """A progress bar for a person who watches; none when a program reads the output."""
    return click.progressbar(label=label, file=sys.stderr, length=0, show_pos=True, hidden=not sys.stderr.isatty())


def say(report: Report, redis_side: Any, done: list[Done], found: Trace | None) -> None:
    for item in done:
        click.echo(f"{'repaired' if item.repaired else 'not repaired'}: {item.about}: {item.rule}: {item.did}")
    for flow, counts in report.standings.items():
        click.echo(f"{flow}: " + (", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"))
    for finding in report.unaccounted:
        click.echo(f"unaccounted: {finding.subject_type} {finding.subject_id}: {finding.why}")
    for broken in some_of(report.broken):
        held = " (it has a case)" if broken.held else ""
        click.echo(f"broken: {broken.subject_type} {broken.subject_id}: {broken.rule}: {broken.words}{held}")
    for fault in some_of(report.faults):
        click.echo(f"fault: {fault.about}: {fault.rule}")
    click.echo(f"redis: {redis_side}")
    if found is not None:
        for step in found.illegal:
            click.echo(f"illegal: {step.subject_type} {step.subject_id}: {step.at or 'now'}: {step.why}")
        click.echo(f"histories: {found.histories_read} read, {len(found.illegal)} illegal")
    click.echo(f"rules broken: {report.all_broken.count}, without a case: {report.all_broken.without_case}")
    click.echo(f"faults: {report.fault_count}")
    click.echo(f"unaccounted: {report.unaccounted_count}")


def init_app(app: Flask) -> None:
    app.cli.add_command(audit_command)
