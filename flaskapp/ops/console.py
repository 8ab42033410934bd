"""Panels of the operators' home page: unaccounted submissions, outstanding work, breakers, open cases, days at risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app, url_for
from redis.exceptions import RedisError
from sqlalchemy import select, text

from flaskapp.audit.report import FULL_SCOPE, RECENT_DAYS, RECENT_SCOPE
from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.current import flows
from flaskapp.db import transaction
from flaskapp.ops import synthetic
from flaskapp.ops.activity import activity
from flaskapp.ops.health import standing_still
from flaskapp.ops.home import link, panel
from flaskapp.ops.labels import synthetic_among
from flaskapp.ops.redrive import newer_than
from flaskapp.ops.rq_pages import Ledger
from flaskapp.ops.shown import counted
from flaskapp.webhooks import standing as webhooks
from outbox import breakers, holds, leases, messages, rescue, rq_side, tally, timeline

OPEN_CASES_SHOWN = 20
PROCESSES_SHOWN = 50
# The audit runs every minute. If the last one is older than this, the scheduler or the workers are not running.
SILENT_SECONDS = 180
AUDITS = text("SELECT scope, at, extract(epoch FROM outbox_now() - at)::float AS age, report FROM audits")
# Counted up to a bound, in the order of an index: urgent ones first.
OPEN_CASES = text(f"""
    SELECT count(*) AS cases, count(*) FILTER (WHERE priority > 0) AS urgent
      FROM (SELECT priority FROM cases WHERE closed_at IS NULL
             ORDER BY priority DESC, opened_at, id LIMIT {messages.MOST_COUNTED}) AS first
""")
# ITFs whose legal day is running out. `flask itf at-risk` lists them in the order in which they lose it.
# Those past it come first, and are counted up to the same bound.
DAYS_AT_RISK = text(f"""
    SELECT count(*) AS pending, count(*) FILTER (WHERE legal_midnight_at <= outbox_now()) AS past,
           round((extract(epoch FROM (SELECT min(legal_midnight_at) FROM intents_to_file
                                       WHERE state = 'pending' AND legal_midnight_at > outbox_now())
                                     - outbox_now()) / 3600)::numeric, 1)::float AS hours_left
      FROM (SELECT legal_midnight_at FROM intents_to_file WHERE state = 'pending'
             ORDER BY legal_midnight_at LIMIT {messages.MOST_COUNTED}) AS first
""")


def promises() -> Mapping[str, Any]:
    with transaction() as session:
        audits = {row.scope: row for row in session.execute(AUDITS).all()}
    last = audits.get(RECENT_SCOPE)
    silent = last is None or last.age > SILENT_SECONDS
    return {"last": last, "full": audits.get(FULL_SCOPE), "silent": silent, "days": RECENT_DAYS}


def outstanding() -> Mapping[str, Any]:
    with transaction() as session:
        found = tally.latest(session)
    outlook = {line.queue: line for line in found.lines}
    return {"rows": [(row, outlook.get(row.queue)) for row in found.by_queue()], "age": found.age}


@dataclass(frozen=True)
class Need:
    """Something for a person, in words, and the page on which it is done."""

    words: str
    url: str


def needs() -> Mapping[str, Any]:
    """What somebody has to look at, the most urgent first; nothing of it is counted by reading what is outstanding."""
    with transaction() as session:
        audit = {row.scope: row for row in session.execute(AUDITS).all()}.get(RECENT_SCOPE)
        lines = tally.latest(session).lines
        opened = session.execute(OPEN_CASES).one()
        shut = [each for each in breakers.all_breakers(session, flows().breaker_limits) if each.open_until]
        past = session.execute(DAYS_AT_RISK).one().past
        standing = standing_still(session)
        late = [each.flow.replace("_", " ") for each in synthetic.standings(session) if each.late]
        paused = len(webhooks.paused(session))
    missed = sum(line.missed + line.will_miss for line in lines)
    inbox, list_of_breakers = url_for("ops_cases.inbox"), url_for("ops_breakers.overview")
    found = [
        (audit.report["unaccounted"] if audit else 0, "Unaccounted, somebody was forgotten: {}", "#panel-promises"),
        (len(standing), "Parts of ours that stand still: {}", "#panel-standing"),
        (opened.urgent, "Urgent cases: {}", inbox),
        (opened.cases - opened.urgent, "Open cases: {}", inbox),
        (
            len(late),
            f"Synthetic submissions late: {', '.join(late)}",
            url_for("ops_cases.inbox", kind=synthetic.LATE_KIND),
        ),
        (len(shut), f"Cannot be called: {', '.join(each.upstream for each in shut)}", list_of_breakers),
        (missed, "Deadlines missed, or to be missed at this rate: {}", "#panel-outstanding"),
        (past, "Intents to file past their midnight: {}", "#panel-days"),
        (paused, "Receivers of webhooks paused: {}", url_for("ops_webhooks.overview")),
    ]
    return {"needs": [Need(words.format(counted(number)), url) for number, words, url in found if number]}


def breakers_and_holds() -> Mapping[str, Any]:
    with transaction() as session:
        return {"breakers": breakers.all_breakers(session, flows().breaker_limits), "holds": holds.standing(session)}


def days_at_risk() -> Mapping[str, Any]:
    with transaction() as session:
        return dict(session.execute(DAYS_AT_RISK).one()._mapping)


def cases() -> Mapping[str, Any]:
    """Open cases, urgent ones first, then the oldest, and how many there are in all."""
    statement = select(Case).where(Case.closed_at.is_(None)).order_by(Case.priority.desc(), Case.opened_at, Case.id)
    statement = statement.limit(OPEN_CASES_SHOWN)
    with transaction() as session:
        found = session.execute(statement).scalars().all()
        total = session.execute(OPEN_CASES).one().cases
        marked = synthetic_among(session, [(case.subject_type, case.subject_id) for case in found])
        return {"cases": [(case, KINDS[case.kind]) for case in found], "total": total, "synthetic": marked}


def standing() -> Mapping[str, Any]:
    with transaction() as session:
        seen = {
            "processes": rescue.running(session, PROCESSES_SHOWN),
            "runs": leases.last_runs(session).values(),
            "standing": standing_still(session),
        }
    # Without a connection of Postgres in hand: a hung Redis takes its time.
    return {**seen, "periodic": periodic_runs()}


def periodic_runs() -> list[Any] | None:
    """When each periodic job ran last and runs next; None while Redis is away."""
    try:
        return rq_side.periodic_runs(current_app.extensions["redis"])
    except RedisError:
        return None


def waiting_by_queue() -> dict[str, dict[str, int]]:
    """What waits in Postgres beside RQ's queues."""
    with transaction() as session:
        found = tally.latest(session).by_queue()
    return {each.queue: {"waiting": each.messages - each.parked, "parked": each.parked} for each in found}


def newer_of_jobs(job_ids: Sequence[str]) -> int:
    """Of how many of these failed jobs the person filed a newer one since."""
    known = [pointer for pointer in map(rq_side.read_job_id, job_ids) if pointer is not None]
    with transaction() as session:
        about = [timeline.subject_of(session, message_id) for message_id, _ in known]
        return sum(
            newer_than(session, each.subject_type, each.subject_id) is not None for each in about if each is not None
        )


RQ_LEDGER = Ledger(waiting_by_queue, newer_of_jobs)


def init_app(app: Flask) -> None:
    panel(app, "First", "ops/first.html", needs)
    panel(app, "Promises", "ops/promises.html", promises)
    panel(app, "Oldest outstanding work", "ops/outstanding.html", outstanding)
    panel(app, "Circuit breakers", "ops/breakers.html", breakers_and_holds)
    panel(app, "Open cases", "ops/cases.html", cases)
    panel(app, "Intents to file: days at risk", "ops/days.html", days_at_risk)
    panel(app, "Flows", "ops/activity.html", activity)
    panel(app, "Processes and periodic work", "ops/standing.html", standing)
    link(app, "RQ dashboard", "/rq/", "Parked work shows there as failed jobs; Requeue reopens it.")
    link(app, "API", "/docs", "What the front end may call.")
