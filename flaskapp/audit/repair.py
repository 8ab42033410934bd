"""Repair for `flask audit --repair`: does what is safe whatever the upstream holds, and nothing else.

If records contradict each other, nobody can know which of them is right: the subject goes to a human, unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import Engine, text

from flaskapp import subjects
from flaskapp.audit.report import Report, known
from flaskapp.audit.rules import AUDIT_KINDS, CLOSED_SILENTLY, Broken, rule_of, still_broken
from flaskapp.cases.kinds import KINDS
from flaskapp.cases.service import close_cases, open_case
from flaskapp.current import flows
from flaskapp.db import DbSession, transaction
from flaskapp.flows import Repair
from flaskapp.notifications.service import SUBJECT as NOTIFICATION_SUBJECT
from flaskapp.notifications.service import about
from flaskapp.notifications.states import PENDING
from flaskapp.requeue import REOPEN_PATH
from outbox import QueueSpec, messages, parked, registries, repair, rq_side, sql, write_history
from outbox import audit as ledger_audit

HISTORY = sql.history(subject_type=":subject_type", subject_id=":subject_id")
LAST_CASE = text(f"""
    SELECT h.detail ->> 'kind' {HISTORY} AND h.what = 'case.opened' AND h.detail ->> 'kind' <> ALL(:audit_kinds)
     ORDER BY h.id DESC LIMIT 1
""")
LAST_NOTIFICATION = text(f"""
    SELECT n.id, n.kind, EXISTS (SELECT 1 FROM notifications there WHERE there.id = n.id) AS is_there
      FROM (SELECT CAST(h.detail ->> 'notification' AS uuid) AS id, h.detail ->> 'kind' AS kind
              {HISTORY} AND h.what = 'notification.enqueued' ORDER BY h.id DESC LIMIT 1) n
""")
SILENT_CASES = text(f"""
    SELECT closed.id, closed.kind FROM (SELECT CAST(:id AS text) AS id) s, LATERAL (SELECT k.* {CLOSED_SILENTLY}) closed
""")


@dataclass(frozen=True)
class Done:
    """What was done about a finding; `repaired` is False where it was left to a human."""

    about: str
    rule: str
    did: str
    repaired: bool = True


# What was done, and whether that repairs it.
RepairAction = tuple[str, bool]
NO_LONGER: RepairAction = ("it is no longer broken", False)


def subject_of(found: Broken) -> dict[str, str]:
    return {"subject_type": found.subject_type, "subject_id": found.subject_id}


def enqueue_again(session: DbSession, found: Broken, actor: str) -> RepairAction:
    """Enqueue the lost message again, under its own id if it was ever tried: it looks up before it sends anything."""
    subject = flows().subjects[found.subject_type]
    assert subject.enqueue is not None
    subject.enqueue(session, subjects.lock(session, subject, found.subject_id))
    if not messages.waiting_for(session, found.subject_type, found.subject_id):
        return "it is due to be polled again", True
    return f"enqueued again as message {repair.take_up_again(session, found.subject_type, found.subject_id)}", True


def notify_again(session: DbSession, found: Broken, actor: str) -> RepairAction:
    """Enqueue the lost notification again under its own id, by which VANotify knows it if it was sent.

    One that is there, or was of another kind, was not lost: then the records disagree about what the person was sent.
    """
    subject = flows().subjects[found.subject_type]
    row = subjects.lock(session, subject, found.subject_id)
    last = session.execute(LAST_NOTIFICATION, subject_of(found)).one_or_none()
    if last is None:
        subjects.notify(session, subject, row)
        return "its notification is enqueued", True
    if last.is_there or last.kind != row.notification:
        return leave_to_human(session, found, actor)
    # Its sending may still be outstanding; the message that is enqueued now replaces it.
    repair.drop_idle(session, NOTIFICATION_SUBJECT, str(last.id))
    subjects.notify(session, subject, row, last.id)
    repair.take_up_again(session, NOTIFICATION_SUBJECT, str(last.id))
    write_history(session, NOTIFICATION_SUBJECT, str(last.id), "notification.restored", moved_to=PENDING, actor=actor)
    return "its notification is enqueued again, and is looked up at VANotify before it is sent", True


def give_case(session: DbSession, found: Broken, actor: str) -> RepairAction:
    """Open a case like the last one in its history; without any, nobody knows what was wrong with it."""
    values = {**subject_of(found), "audit_kinds": list(AUDIT_KINDS)}
    kind = session.execute(LAST_CASE, values).scalar_one_or_none()
    if kind not in KINDS:
        return leave_to_human(session, found, actor)
    open_case(session, kind, found.subject_type, found.subject_id, {"rule": found.rule})
    return f"it has a case again: {kind}", True


def reopen_case(session: DbSession, found: Broken, actor: str) -> RepairAction:
    """Record the case as closed, and open it again: nobody said that they were done with it."""
    kinds = []
    for case in session.execute(SILENT_CASES, {"subject": found.subject_type, "id": found.subject_id}).all():
        detail = {"case": str(case.id), "kind": case.kind}
        write_history(session, found.subject_type, found.subject_id, "case.closed", actor=actor, detail=detail)
        open_case(session, case.kind, found.subject_type, found.subject_id, {"rule": found.rule})
        kinds.append(case.kind)
    return f"it has a case again: {', '.join(kinds)}", True


def leave_to_human(session: DbSession, found: Broken, actor: str) -> RepairAction:
    details = {"rule": found.rule, "state": found.state}
    open_case(session, "contradiction", found.subject_type, found.subject_id, details)
    return "left to a human: its case names the rule", False


def stop_work(session: DbSession, found: Broken, actor: str) -> RepairAction:
    """Work without its subject would only fail: park it until a human knows what became of the subject."""
    for message_id in messages.waiting_for(session, found.subject_type, found.subject_id):
        parked.park_waiting(session, message_id, reason=found.rule, actor=actor)
    did, repaired = leave_to_human(session, found, actor)
    return f"its work is parked, and {did}", repaired


ACTIONS: dict[Repair, Callable[[DbSession, Broken, str], RepairAction]] = {
    Repair.ENQUEUE: enqueue_again,
    Repair.NOTIFY: notify_again,
    Repair.GIVE_CASE: give_case,
    Repair.REOPEN_CASE: reopen_case,
    Repair.LEAVE_TO_HUMAN: leave_to_human,
    Repair.STOP_WORK: stop_work,
}
DOUBTFUL = (Repair.LEAVE_TO_HUMAN, Repair.STOP_WORK)
LEDGER_RULES = {
    rule.name: rule for rule in (*ledger_audit.MESSAGE_RULES, *ledger_audit.BREAKER_RULES, *ledger_audit.WORK_RULES)
}


def repair_of(found: Broken) -> Repair:
    return rule_of(found)[1].repair


def repair_broken(report: Report, actor: str) -> list[Done]:
    """Repair each finding in a transaction of its own. Subjects that contradict their history are left unchanged."""
    doubtful = {(each.subject_type, each.subject_id) for each in report.broken if repair_of(each) in DOUBTFUL}
    done = []
    for found in report.broken:
        doubted = (found.subject_type, found.subject_id) in doubtful
        kind = repair_of(found)
        act = leave_to_human if doubted and kind not in DOUBTFUL else ACTIONS[kind]
        with transaction() as session:
            did, repaired = why_not(session, found) or act(session, found, actor)
            if repaired:
                note(session, found.subject_type, found.subject_id, found.rule, did, actor)
                own = (found.subject_type, found.subject_id)
                for subject in {own, about(session, *own)}:
                    close_cases(session, *subject, f"repaired: {did}", kinds=list(AUDIT_KINDS), actor=actor)
        done.append(Done(f"{found.subject_type} {found.subject_id}", found.rule, did, repaired))
    return done


def why_not(session: DbSession, found: Broken) -> RepairAction | None:
    """Why a finding is not repaired, or None: a worker has it, or it no longer holds. Its rule is checked again, under
    the locks that a settle takes, in the same order."""
    last = session.execute(LAST_NOTIFICATION, subject_of(found)).one_or_none()
    notification = [(NOTIFICATION_SUBJECT, str(last.id))] if last is not None else []
    if any(repair.is_running(session, *subject) for subject in [(found.subject_type, found.subject_id), *notification]):
        return "left: a worker has it right now", False
    return None if still_broken(session, found) else NO_LONGER


def note(session: DbSession, subject_type: str, subject_id: str, rule: str, did: str, actor: str) -> None:
    detail = {"rule": rule, "did": did}
    write_history(session, subject_type, subject_id, "audit.repaired", actor=actor, detail=detail)


def repair_faults(faults: list[ledger_audit.Fault], actor: str) -> list[Done]:
    done, application = [], known()
    for fault in faults:
        did, repaired = repair_fault(fault, application, actor)
        if repaired:
            subject_type, subject_id = fault.about.split(" ", 1)
            with transaction() as session:
                note(session, subject_type, subject_id, fault.rule, did, actor)
        done.append(Done(fault.about, fault.rule, did, repaired))
    return done


def repair_fault(fault: ledger_audit.Fault, application: ledger_audit.Known, actor: str) -> RepairAction:
    rule = {**LEDGER_RULES, **{rule.name: rule for rule in application.rules}}[fault.rule]
    if rule.repair is None:
        return f"left to a human: {rule.then}", False
    key = next(each for each in (fault.message_id, fault.upstream, fault.work) if each is not None)
    with transaction() as session:
        if rule.repair(session, key, application):
            return rule.then, True
        if fault.rule == "unserved" and fault.message_id is not None:
            return park_unserved(session, fault.message_id, actor)
    return NO_LONGER


def park_unserved(session: DbSession, message_id: int, actor: str) -> RepairAction:
    """Park a message whose job no worker does; a human gets its subject."""
    row = messages.lock_by_id(session, message_id)
    if row is None:
        return NO_LONGER
    if row.job in flows().works or parked.park_waiting(session, message_id, reason="unserved", actor=actor) is None:
        return "left: a worker has it right now", False
    if row.subject_type in flows().subjects and row.subject_type != "case":
        open_case(session, "contradiction", row.subject_type, row.subject_id, {"rule": "unserved", "job": row.job})
    return "no worker does this job: it is parked, and a human has it", True


OF_REDIS: dict[str, RepairAction] = {
    "pointer_missing": ("left to the relay, which publishes it again under a fresh fence", False),
    "pointer_stale": ("removed: it would have been refused at its grant", True),
    "parked_not_shown": ("shown on the dashboard again", True),
    "shown_not_parked": ("removed from the dashboard", True),
}


def repair_redis(
    engine: Engine, redis: Redis, queues: tuple[QueueSpec, ...], differences: list[ledger_audit.Difference]
) -> list[Done]:
    """Make Redis agree with the ledger. Raises RedisError."""
    for queue in queues:
        stale = [item.job_id for item in differences if item.queue == queue.name and item.rule == "pointer_stale"]
        rq_side.forget_pointers(redis, queue.name, stale)
        registries.sweep_queue(engine, redis, queue.name, REOPEN_PATH)
    return [Done(f"{item.queue} {item.job_id}", item.rule, *OF_REDIS[item.rule]) for item in differences]
