"""Periodic work. Each of these only asks Postgres what is due, so a lost tick loses nothing and two run as one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import current_app
from redis import Redis
from sqlalchemy import text

from flaskapp.audit import Report, audit_and_keep
from flaskapp.cases.service import open_case
from flaskapp.config import Config
from flaskapp.db import DbSession, db, transaction
from flaskapp.form526.intake import purge_files
from flaskapp.form526.polling import BATCH, open_stuck, owe_poll
from flaskapp.form526.service import put_late_pairs_first
from flaskapp.intent_to_file.upkeep import open_past_midnight, owe_refreshes
from flaskapp.notifications.service import about, owe_delivery_questions
from flaskapp.queues import QUEUES
from flaskapp.requeue import REOPEN_PATH
from jobs.registry import SPECS
from jobs.runner import Process
from jobs.settle import Outcome, settle_once
from outbox import attempts, parked, rescue, retention
from outbox.autocommit import connect_autocommit
from outbox.sweep import sweep_queue

log = logging.getLogger("jobs.housekeeping")

OVERDUE = text("""
    SELECT m.id, m.subject_type, m.subject_id FROM outbox_messages m
     WHERE m.state <> 'parked' AND m.deadline_at < outbox_now() AND m.subject_type = ANY(:overdue)
       AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.subject_type = m.subject_type AND c.subject_id = m.subject_id
                          AND c.kind = 'overdue')
     ORDER BY m.deadline_at LIMIT 200
""")
# An ITF that is late has a case of its own kind, and a question that is late nobody was promised.
OVERDUE_SUBJECTS = ("travel_claim", "form526_submission", "form526_document", "travel_pay_claim", "notification")
# A tick's worth: what is left stays due for the next.
MOST_BATCHES = 500
OLD_ROWS = (
    text("DELETE FROM idempotency_keys WHERE created_at < outbox_now() - interval '30 days'"),
    text("DELETE FROM check_in_sessions WHERE expires_at < outbox_now() - interval '1 day'"),
    text("DELETE FROM operator_log_outs WHERE at < outbox_now() - interval '1 day'"),
)


def alone(name: str, work: Callable[[], None]) -> None:
    """Run under an advisory lock that a second runner does not wait for."""
    with connect_autocommit(db.engine) as lock:
        if lock.execute(text("SELECT pg_try_advisory_lock(hashtext(:name))"), {"name": name}).scalar_one():
            try:
                work()
            finally:
                lock.execute(text("SELECT pg_advisory_unlock(hashtext(:name))"), {"name": name})


def sweep() -> None:
    """Rescue lost work, give up what is out of time, and make RQ's registries say what the ledger says."""
    alone("surefile.sweep", sweep_alone)


def sweep_alone() -> None:
    redis: Redis = current_app.extensions["redis"]
    rescue.rescue_lost(db.engine)
    rescue.forget_silent(db.engine)
    give_up_overdue()
    with transaction() as session:
        owe_delivery_questions(session)
        open_past_midnight(session)
        open_stuck(session)
        put_late_pairs_first(session)
        for row in session.execute(OVERDUE, {"overdue": list(OVERDUE_SUBJECTS)}).all():
            open_case(session, "overdue", row.subject_type, row.subject_id, {"message": row.id})
    for queue in QUEUES:
        sweep_queue(db.engine, redis, queue.name, REOPEN_PATH)


def give_up_overdue(limit: int = 200) -> None:
    """What waited behind a closed gate past its wall-clock limit gets its case and its notice all the same."""
    process: Process = current_app.extensions["process"]
    for _ in range(limit):
        with transaction() as session:
            held = attempts.seize_overdue(session, fence=parked.draw_fence(), worker_id=process.worker_id)
            if held is None:
                return
            settle_once(session, SPECS[held.job], held, Outcome("later", reason="wall-clock limit reached"))


def refresh_itfs() -> None:
    """Owe this minute's share of the rolling refresh."""
    with transaction() as session:
        owe_refreshes(session)


def poll_documents() -> None:
    """Deal every document that is due into batches, each with its question; stopped half-way, the rest stays due."""
    for _ in range(MOST_BATCHES):
        with transaction() as session:
            if owe_poll(session) < BATCH:
                return


def audit_all() -> None:
    """Count what nobody accounts for; a submission in that state, or with records in disorder, is a case at once."""
    alone("surefile.audit", audit_alone)


def audit_alone() -> None:
    report = audit_and_keep()
    with transaction() as session:
        open_audit_cases(session, report)
    level = logging.INFO if report.clean else logging.ERROR
    log.log(level, "audited", extra={"event": "audit.done", **report.counts()})


def open_audit_cases(session: DbSession, report: Report) -> None:
    """One case for what went wrong with one submission: that of a lost notice is its submission's."""
    lost = {(finding.subject_type, finding.subject_id) for finding in report.unaccounted}
    for finding in report.unaccounted:
        open_case(session, "unaccounted", finding.subject_type, finding.subject_id, {"why": finding.why})
    for found in report.broken:
        subject = about(session, found.subject_type, found.subject_id)
        if not found.held and subject not in lost:
            details = {"rule": found.rule, "state": found.state}
            open_case(session, "contradiction", found.subject_type, found.subject_id, details)


def retain() -> None:
    """Make next months' history partitions, drop those past keeping, and forget what has served its time."""
    alone("surefile.retention", retain_alone)


def retain_alone() -> None:
    config: Config = current_app.extensions["config"]
    retention.keep(db.engine, config.keep_history_months)
    with transaction() as session:
        for statement in OLD_ROWS:
            session.execute(statement)
    removed = True
    while removed:
        with transaction() as session:
            removed = bool(
                purge_files(session, unclaimed_days=config.attachment_keep_days, kept_days=config.document_keep_days)
            )
