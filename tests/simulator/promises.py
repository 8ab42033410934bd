"""What must hold at any time, and what must hold once everything has come to rest; and what of it is the clinic's."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import text

from flaskapp.audit.report import audit
from flaskapp.audit.trace import trace
from flaskapp.db import transaction
from flaskapp.requeue import REOPEN_PATH
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.service import Filed
from outbox import QueueSpec, rq_side
from outbox.registries import sweep_queue
from tests.simulator.hub import PromiseBroken
from tests.simulator.product import Product
from tests.simulator.upstreams import BTSSS, VANotify

TRIES = """
    SELECT m.id, m.state, count(a.id) AS tries, coalesce(bool_and(a.fence = m.fence), false) AS own
      FROM outbox_messages m LEFT JOIN outbox_attempts a ON a.message_id = m.id AND a.status = 'try'
     GROUP BY m.id HAVING count(a.id) <> (m.state = 'running')::int
         OR (m.state = 'running' AND NOT coalesce(bool_and(a.fence = m.fence), false))
"""
ORPHANS = """
    SELECT a.message_id FROM outbox_attempts a LEFT JOIN outbox_messages m
        ON m.id = a.message_id AND m.fence = a.fence AND m.state = 'running'
     WHERE a.status = 'try' AND m.id IS NULL
"""
# Written independently of the audit's own rules: pending and worked on, notified, about to be, or in a human's hands.
LOST_CLAIMS = """
    SELECT c.id, c.state FROM travel_claims c
     WHERE NOT EXISTS (SELECT FROM cases k WHERE k.subject_id = c.id::text AND k.closed_at IS NULL)
       AND NOT (c.state = 'pending' AND EXISTS (
            SELECT FROM outbox_messages m WHERE m.subject_id = c.id::text AND m.state <> 'parked'))
       AND NOT (c.state <> 'pending' AND EXISTS (
            SELECT FROM notifications n WHERE n.subject_id = c.id::text AND n.cycle = c.cycle
               AND n.kind = c.notification AND (n.state IN ('sent', 'delivered')
                OR EXISTS (SELECT FROM outbox_messages m WHERE m.subject_id = n.id::text AND m.state <> 'parked')
                OR EXISTS (SELECT FROM cases k WHERE k.subject_id = n.id::text))))
"""
# Of every scene. One statement for all, because it runs between any two steps.
WRONG_IN_LEDGER = f"""
    SELECT format('message %s is %s with %s live attempts, %s', id, state, tries,
                  CASE WHEN own THEN 'its own' ELSE 'none its own' END) FROM ({TRIES}) t
     UNION ALL
    SELECT format('an attempt at message %s goes on, and the message does not know of it', message_id)
      FROM ({ORPHANS}) o
"""
WRONG_AT_THE_CLINIC = f"""
    {WRONG_IN_LEDGER} UNION ALL
    SELECT format('nobody accounts for claim %s, %s', id, state) FROM ({LOST_CLAIMS}) l
"""
PARKED = "SELECT queue, id, fence FROM outbox_messages WHERE state = 'parked'"
NOTIFICATION_KINDS = """
    SELECT n.id::text, n.state, EXISTS (
           SELECT FROM cases k WHERE k.subject_id = n.id::text AND k.closed_at IS NULL)
      FROM notifications n WHERE n.subject_id = %s AND n.kind = %s AND n.cycle = %s
"""
CYCLES = "SELECT id::text, cycle, state FROM notifications WHERE subject_id = %s"


def check_now(product: Product, query: str) -> None:
    """Between any two steps: one live attempt for a running message and none for any other, and nobody is forgotten."""
    for (wrong,) in product.server.look_again(query):
        raise PromiseBroken(wrong)


def check_audit(product: Product) -> None:
    """At rest: the audit is clean, and every history is legal."""
    with product.apps["product"].app_context(), transaction() as session:
        # Sweeps come by chance here: the last one may be long ago.
        session.execute(text("DELETE FROM outbox_leases"))
        report = audit(session)
        if not report.clean:
            raise PromiseBroken(f"the audit: {report.unaccounted} {report.faults} {report.broken}")
        for step in trace(session).illegal:
            raise PromiseBroken(f"the trace, {step.subject_type}: {step.why}")


def check_claims(product: Product, accepted: dict[str, str], btsss: BTSSS, va_notify: VANotify) -> None:
    """At rest: the notifications say what the upstream holds."""
    with product.apps["product"].app_context(), transaction() as session:
        for icn, claim_id in accepted.items():
            claim = session.get(TravelClaim, claim_id)
            if claim is None:
                raise PromiseBroken("a claim that was accepted does not exist")
            check_claim(product, claim, icn, btsss)
            if claim.state != "pending":
                reference = check_notified(product, claim, va_notify)
                check_number(claim, va_notify.holds.get(reference, {}))
            check_order(product, claim, va_notify)


def check_redis(product: Product, redis: Any, queues: Iterable[QueueSpec]) -> None:
    """Once it was swept, Redis shows what is parked as failed, nothing else as failed, and nothing as begun.

    A requeue that died while it ran is forgotten by one sweep, and shown again by the next.
    """
    for queue in [each.name for each in queues]:
        wrong = wrong_in_redis(product, redis, queue)
        for _ in range(2):
            if wrong is not None:
                sweep_queue(product.engine, redis, queue, REOPEN_PATH)
                wrong = wrong_in_redis(product, redis, queue)
        if wrong is not None:
            raise PromiseBroken(f"Redis, though it was swept: {wrong}")


def wrong_in_redis(product: Product, redis: Any, queue: str) -> str | None:
    shown = rq_side.failed_ids(redis, queue)
    parked = {rq_side.job_id(*row) for name, *row in product.server.look_again(PARKED) if name == queue}
    if shown != parked:
        return f"{sorted(parked)} are parked, and {sorted(shown)} shown"
    for identifier in sorted(shown):
        job = redis.hgetall(rq_side.LedgerJob.key_for(identifier))
        if job.get(b"status") != b"failed" or REOPEN_PATH.encode() not in zlib.decompress(job[b"data"]):
            return f"{identifier} is shown, and cannot be requeued"
    left = [*rq_side.started_entries(redis, queue), *rq_side.intermediate_ids(redis, queue)]
    return f"nobody is at {left}" if left else None


def check_claim(product: Product, claim: Any, icn: str, btsss: BTSSS) -> None:
    held = product.server.look("SELECT count(*) FROM cases WHERE subject_id = %s AND closed_at IS NULL", str(claim.id))[
        0
    ][0]
    ours = any(write.took_effect for write in btsss.writes if write.key == icn)
    if claim.state in ("pending", "failed"):
        if not held:
            raise PromiseBroken(f"the claim of {icn} is {claim.state}, and nobody holds its case")
        if ours and claim.state == "failed" and not claim.unconfirmed:
            raise PromiseBroken(f"{icn} was notified that it failed, though it was filed")
        return
    number = claim.filed["claim_number"]
    if number is None and claim.state != "duplicate":
        raise PromiseBroken(f"{icn} was given no number, though BTSSS said one")
    if claim.state == "duplicate" and icn not in btsss.holds:
        raise PromiseBroken(f"{icn} was notified of a duplicate, and BTSSS holds none")
    if number is not None and number != getattr(btsss.holds.get(icn), "claim_number", None):
        raise PromiseBroken(f"{icn} was given another number than BTSSS holds")
    if ours and claim.state != "submitted":
        raise PromiseBroken(f"{icn} was notified {claim.state}, though we filed it")


def check_notified(product: Product, subject: Any, va_notify: VANotify) -> str:
    """The reference of the one notification that says what became of it."""
    notifications = product.server.look(NOTIFICATION_KINDS, str(subject.id), subject.notification, subject.cycle)
    if len(notifications) != 1:
        raise PromiseBroken(
            f"{len(notifications)} notifications say {subject.notification} of {type(subject).__name__} {subject.id}"
        )
    ((reference, state, held),) = notifications
    if state in ("sent", "delivered") and reference not in va_notify.holds:
        raise PromiseBroken(f"a notification is {state}, and VANotify never had it")
    if state in ("pending", "undeliverable") and not held:
        raise PromiseBroken(f"a notification is {state}, and nobody holds its case")
    return str(reference)


def check_number(claim: Any, text: dict[str, str]) -> None:
    named = text.get("claim_number")
    if claim.filed and named is not None and named != Filed(**claim.filed).last_four:
        raise PromiseBroken("a text names another number than the claim has")


def check_order(product: Product, subject: Any, va_notify: VANotify) -> None:
    """An older text never arrives after a newer one, and a withdrawn text never arrives."""
    order = {reference: place for place, reference in enumerate(va_notify.holds)}
    taken = [row for row in product.server.look(CYCLES, str(subject.id)) if row[0] in order]
    cycles = [cycle for _, cycle, _ in sorted(taken, key=lambda row: order[row[0]])]
    if cycles != sorted(cycles):
        raise PromiseBroken(f"texts of the cycles {cycles} came in this order")
    if any(state == "withdrawn" for _, _, state in taken):
        raise PromiseBroken("a text that was withdrawn went out")
