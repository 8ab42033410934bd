"""Periodic jobs. Each only reads from Postgres what is due, so a lost tick loses nothing, and two runs do it once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flask import current_app
from redis import Redis
from sqlalchemy import text

from flaskapp.audit import retention
from flaskapp.audit.report import Finding, audit_and_keep
from flaskapp.audit.rules import Broken
from flaskapp.cases.service import late_anew, open_case
from flaskapp.config import Config
from flaskapp.current import flows, settings
from flaskapp.db import AUDIT, RETENTION, SWEEP, DbSession, alone, db, long_work, transaction
from flaskapp.form526.attachments.intake import forget_files, purge_files
from flaskapp.form526.documents import SUBJECT as DOCUMENT
from flaskapp.form526.polling import BATCH, enqueue_poll, find_stuck
from flaskapp.form526.service import put_late_pairs_first
from flaskapp.intent_to_file.upkeep import enqueue_refreshes, find_past_midnight, open_past_midnight
from flaskapp.notifications.service import about, enqueue_delivery_checks
from flaskapp.ops import minutes, synthetic
from flaskapp.ops.counters import count_ledger
from flaskapp.ops.exports import tell_statsd
from flaskapp.requeue import REOPEN_PATH
from flaskapp.webhooks.service import fan_out
from jobs.engine.runner import Process
from jobs.periodic.give_up import give_up_overdue
from jobs.periodic.isolated import ENOUGH, in_transaction, one_by_one, run_isolated
from outbox import registries, rescue, sql, tally
from outbox import retention as ledger_retention

log = logging.getLogger("jobs.housekeeping")

LATE_MESSAGE = late_anew("overdue", subject_type="m.subject_type", subject_id="m.subject_id", since="m.deadline_at")
OVERDUE = text(f"""
    SELECT m.id, m.subject_type, m.subject_id {sql.messages()}
       AND m.state <> 'parked' AND m.deadline_at < outbox_now() AND m.subject_type = ANY(:overdue)
       AND {LATE_MESSAGE}
     ORDER BY m.deadline_at LIMIT 200
""")
# The most in one tick: what is left stays due for the next.
MOST_BATCHES = 500
# By table: which of its rows are old. Values are settings.
OLD_ROWS = {
    "idempotency_keys": "created_at < outbox_now() - interval '30 days'",
    "check_in_sessions": "expires_at < outbox_now() - interval '1 day'",
    "check_in_tries": "expires_at < outbox_now()",
    "work_counts": minutes.OLD,
    "operator_log_outs": "at < outbox_now() - interval '1 day'",
    "contact_discrepancies": """
        COALESCE(resolved_at, seen_at) < outbox_now() - make_interval(days => :keep_contact_days)""",
    "webhook_deliveries": """
        COALESCE(finished_at, created_at) < outbox_now() - make_interval(days => :webhook_keep_days)""",
}
DELETE_OLD = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {old} LIMIT :batch FOR UPDATE SKIP LOCKED))
"""
# Within one run, so that it ends before RQ ends it: what is left of an avalanche is still due for the next.
MOST_REMOVALS = 100


def sweep() -> None:
    """Rescue lost work, give up what is out of time, and make RQ's registries show what the ledger says."""
    alone(SWEEP, sweep_locked)


def sweep_locked() -> None:
    redis: Redis = current_app.extensions["redis"]
    run_isolated(
        {
            "rescue": rescue_lost,
            "processes": partial(rescue.forget_silent, db.engine),
            "give_up": give_up_overdue,
            "delivery_questions": in_transaction(enqueue_delivery_checks),
            "past_midnight": one_by_one(past_midnight, open_past_midnight),
            "stuck_documents": one_by_one(stuck_documents, open_found),
            "late_pairs": in_transaction(put_late_pairs_first),
            "overdue": one_by_one(overdue, open_found),
            "webhooks": in_transaction(fan_out),
            "registries": partial(sweep_registries, redis),
            "counters": partial(count_ledger, db.engine),
            "tally": in_transaction(tally.refresh),
            "statsd": tell_statsd,
        }
    )


def rescue_lost() -> None:
    """Beat first: right after an outage this process is the first to know that it is over."""
    process: Process = current_app.extensions["process"]
    rescue.beat(db.engine, process.worker_id, "worker")
    rescue.rescue_lost(db.engine)


def past_midnight(session: DbSession) -> Iterator[tuple[str, str]]:
    return ((f"intent_to_file {itf_id}", itf_id) for itf_id in find_past_midnight(session))


def stuck_documents(session: DbSession) -> Iterator[tuple[str, Any]]:
    for row in find_stuck(session):
        yield row.id, ("document_stuck", DOCUMENT, row.id, {"submission": row.submission})


def overdue(session: DbSession) -> Iterator[tuple[str, Any]]:
    for row in session.execute(OVERDUE, {"overdue": flows().overdue_subjects}).all():
        yield f"message {row.id}", ("overdue", row.subject_type, row.subject_id, {"message": row.id})


def open_found(session: DbSession, case: tuple[str, str, str, dict[str, Any]]) -> None:
    open_case(session, *case)


def sweep_registries(redis: Redis) -> None:
    sweep_one = partial(registries.sweep_queue, db.engine, redis, reopen_path=REOPEN_PATH)
    queues = {queue.name: partial(sweep_one, queue.name) for queue in flows().queues}
    run_isolated(queues, enough=ENOUGH)


def refresh_itfs() -> None:
    """Enqueue this minute's share of the rolling refresh of ITFs."""
    with long_work(), transaction() as session:
        enqueue_refreshes(session)


def poll_documents() -> None:
    """Put every document that is due into batches, and enqueue a poll for each. After a stop, the rest is still due."""
    for _ in range(MOST_BATCHES):
        with long_work(), transaction() as session:
            if enqueue_poll(session) < BATCH:
                return


def audit_all() -> None:
    """Count what is unaccounted for. A submission in that state, or whose records contradict each other, gets a case at
    once."""
    alone(AUDIT, audit_locked)


def audit_locked() -> None:
    report = audit_and_keep()
    level = logging.INFO if report.clean else logging.ERROR
    log.log(level, "audited", extra={"event": "audit.done", **report.counts()})
    lost = {(finding.subject_type, finding.subject_id) for finding in report.unaccounted}
    parts = {f"unaccounted {item.subject_id}": in_transaction(open_unaccounted, item) for item in report.unaccounted}
    for found in report.broken:
        parts[f"{found.rule} {found.subject_id}"] = in_transaction(open_contradiction, found, lost)
    run_isolated(parts, enough=ENOUGH)


def count_minutes() -> None:
    """Count the last minutes for the console's plots."""
    with long_work(), transaction() as session:
        minutes.count_minutes(session)


def file_synthetic() -> None:
    """File the synthetic submissions that are due today, and open or close the cases of those that are late."""
    filed = {flow: in_transaction(synthetic.file_of_today, flow) for flow in settings().synthetic_flows}
    with long_work():
        run_isolated({**filed, "late": in_transaction(synthetic.keep_cases)})


def open_unaccounted(session: DbSession, finding: Finding) -> None:
    open_case(session, "unaccounted", finding.subject_type, finding.subject_id, {"why": finding.why})


def open_contradiction(session: DbSession, found: Broken, lost: set[tuple[str, str]]) -> None:
    """One case for each submission: a lost notification has that of its submission."""
    if not found.held and about(session, found.subject_type, found.subject_id) not in lost:
        details = {"rule": found.rule, "state": found.state}
        open_case(session, "contradiction", found.subject_type, found.subject_id, details)


def retain() -> None:
    """Make history partitions for the coming months, and remove history, files, personal data and rows whose use has
    ended."""
    alone(RETENTION, retain_locked)


def retain_locked() -> None:
    config: Config = current_app.extensions["config"]
    history = partial(ledger_retention.keep, db.engine, config.keep_history_months)
    rows = {table: partial(delete_old, table=table) for table in OLD_ROWS}
    removals: dict[str, Callable[[DbSession], int]] = {
        **rows,
        "records of files": forget_old_files,
        **retention.parts(),
    }
    parts = {name: partial(in_batches, remove) for name, remove in removals.items()}
    run_isolated({"history": history, "files": purge_old_files, **parts})


def in_batches(remove: Callable[[DbSession], int]) -> None:
    """Remove batch by batch, each in a transaction of its own, until nothing is left or enough was done for once."""
    for _ in range(MOST_REMOVALS):
        with transaction() as session:
            if not remove(session):
                return


def delete_old(session: DbSession, table: str) -> int:
    config: Config = current_app.extensions["config"]
    values = {
        "batch": retention.BATCH,
        "keep_contact_days": config.keep_contact_days,
        "webhook_keep_days": config.webhook_keep_days,
    }
    result: Any = session.execute(text(DELETE_OLD.format(table=table, old=OLD_ROWS[table])), values)
    return int(result.rowcount)


def forget_old_files(session: DbSession) -> int:
    config: Config = current_app.extensions["config"]
    return forget_files(session, days=config.keep_ended_days, batch=retention.BATCH)


def purge_old_files() -> None:
    config: Config = current_app.extensions["config"]
    removed = True
    while removed:
        with transaction() as session:
            removed = bool(
                purge_files(session, unclaimed_days=config.attachment_keep_days, kept_days=config.document_keep_days)
            )
