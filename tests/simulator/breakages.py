"""The shipped code, broken on purpose in one place at a time. Each must be caught, or the simulator proves nothing.

Every one is a mistake that somebody could make, and most of them were made before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.db import transaction
from flaskapp.form526 import polling, uploads
from jobs import form526, intent_to_file, ledger, worker
from jobs.engine import runner, settle
from jobs.engine.spec import NotFound
from jobs.registry import spec_of
from outbox import attempts, breakers, grants, parked, registries, relay, repair, rescue, rq_side
from tests.simulator.product import Product

Patch = pytest.MonkeyPatch
Breakage = Callable[[Patch, Product], None]
BREAKAGES: dict[str, Breakage] = {}
REQUEUE = text("""
    UPDATE outbox_messages SET state = 'published', parked_reason = NULL
     WHERE id = :id AND fence = :fence AND state = 'parked' RETURNING job
""")


def breakage(apply: Breakage) -> Breakage:
    BREAKAGES[apply.__name__.replace("_", " ")] = apply
    return apply


def swap(patch: Patch, module: Any, name: str, *changes: tuple[str, str]) -> None:
    """Change a statement's text; fails when the text to be changed is not there."""
    statement = getattr(module, name).text
    for old, new in changes:
        assert old in statement, f"{name} does not say {old!r}"
        statement = statement.replace(old, new)
    patch.setattr(module, name, text(statement))


# -- grant, relay, rescue ---------------------------------------------------------------------------


@breakage
def a_pointer_is_pushed_before_its_claim_is_committed(patch: Patch, product: Product) -> None:
    take = relay.Relay.take

    def take_and_push(self: relay.Relay, db: Any, queue: Any, fence: int, capacity: int, last: Any) -> list[tuple]:
        rows = take(self, db, queue, fence, capacity, last)
        rq_side.push(self.redis, queue.name, [(row[2], row[3]) for row in rows], fence, 600)
        return rows

    patch.setattr(relay.Relay, "take", take_and_push)


@breakage
def fences_are_counted_up(patch: Patch, product: Product) -> None:
    """Each process counts by itself, and from one again after its end."""
    counters: dict[tuple[int, str], Any] = defaultdict(lambda: count(1))

    def next_fence() -> int:
        hub = product.server.hub
        task = hub.current() if hub is not None else None
        return next(counters[id(hub), task.owner if task is not None else ""])

    for module in (relay, parked):
        patch.setattr(module, "draw_fence", next_fence)


@breakage
def missing_pointers_are_not_looked_for(patch: Patch, product: Product) -> None:
    patch.setattr(relay.Relay, "find_missing", lambda self: None)


@breakage
def a_dead_probe_is_never_released(patch: Patch, product: Product) -> None:
    begins, ends = "NOT EXISTS (", ") AS wants_probe"
    statement = breakers.ASK.text
    condition = statement[statement.index(begins) : statement.index(ends) + 1]
    swap(patch, breakers, "ASK", (condition, "b.probe_fence IS NULL"))


@breakage
def rescue_ignores_leases(patch: Patch, product: Product) -> None:
    swap(patch, rescue, "LOST", ("m.lease_expires_at < outbox_now() OR", "false OR"))


@breakage
def rescue_forgets_the_unanswered_writes_of_silent_processes(patch: Patch, product: Product) -> None:
    """A write that was under way when its process died counts as never sent."""
    changes = (
        ("COALESCE(m.unresolved_since, e.started_at)", "m.unresolved_since"),
        ("COALESCE(m.unresolved_why, 'unanswered')", "m.unresolved_why"),
    )
    swap(patch, rescue, "LOST", *changes)


# -- settle -----------------------------------------------------------------------------------------


@breakage
def a_settle_does_not_delete(patch: Patch, product: Product) -> None:
    patch.setattr(attempts, "COMPLETE", text(attempts.FINISH))
    kept = ("DELETE FROM outbox_messages m USING ended e", "SELECT m.id FROM outbox_messages m, ended e")
    swap(patch, attempts, "COMPLETE_HELD", kept, ("RETURNING m.id", ""))


@breakage
def a_settle_does_not_check_its_fence(patch: Patch, product: Product) -> None:
    patch.setattr(attempts, "lock_message", lambda db, grant: True)
    held = ("AND e.message_id IN (SELECT id FROM done)", "")
    fence = ("AND m.fence = e.fence AND m.state || '' IN ('running')", "")
    swap(patch, attempts, "COMPLETE_HELD", fence, held)


@breakage
def a_late_answer_is_dropped(patch: Patch, product: Product) -> None:
    patch.setattr(settle, "settle_late", lambda session, spec, grant, outcome: None)


# -- many together ----------------------------------------------------------------------------------


@breakage
def what_could_not_be_settled_together_is_dropped(patch: Patch, product: Product) -> None:
    def settle_together(answered: Any) -> list[Any]:
        with suppress(SQLAlchemyError):
            return settle.settle_together(answered)
        return []

    patch.setattr(worker, "settle_together", settle_together)


@breakage
def one_whose_fence_is_gone_counts_as_settled_with_the_others(patch: Patch, product: Product) -> None:
    def settle_together(answered: Any) -> list[Any]:
        settle.settle_together(answered)
        return []

    patch.setattr(worker, "settle_together", settle_together)


@breakage
def what_was_begun_is_handed_back_as_if_it_was_not(patch: Patch, product: Product) -> None:
    patch.setattr(runner.Process, "take_unbegun", runner.Process.open_grants)


@breakage
def what_was_handed_back_unbegun_is_begun(patch: Patch, product: Product) -> None:
    patch.setattr(runner.Process, "begin", lambda self, grant: True)


# -- what may have happened -------------------------------------------------------------------------


@breakage
def a_failed_look_up_clears_the_question(patch: Patch, product: Product) -> None:
    def forget(session: Any, spec: Any, grant: Any, outcome: Any) -> None:
        attempts.finish(session, grant.attempt_id, settle.ending(spec, outcome))
        attempts.postpone(session, grant, 15.0, resolved=True)

    patch.setattr(settle, "keep_unresolved", forget)
    patch.setitem(settle.SETTLERS, "unclear", forget)


@breakage
def not_found_is_trusted_too_early(patch: Patch, product: Product) -> None:
    earlier_writes = runner.earlier_writes
    patch.setattr(runner, "earlier_writes", lambda *args: replace(earlier_writes(*args), confirmable=True))


@breakage
def not_found_is_trusted_at_once(patch: Patch, product: Product) -> None:
    def believe(session: Any, spec: Any, grant: Any, outcome: Any) -> None:
        attempts.finish(session, grant.attempt_id, settle.ending(spec, outcome))
        attempts.postpone(session, grant, 15.0, resolved=True)

    patch.setitem(settle.SETTLERS, "not_found", believe)


# -- what Redis holds -------------------------------------------------------------------------------


@breakage
def a_pointer_is_turned_back_though_it_was_granted(patch: Patch, product: Product) -> None:
    changes = (
        ("state = 'ready'", "state = 'ready', worker_id = NULL, lease_expires_at = NULL"),
        ("IN ('published')", "IN ('published', 'running')"),
    )
    swap(patch, grants, "TURN_BACK", *changes)
    patch.setattr(rescue, "TURN_BACK", grants.TURN_BACK)


@breakage
def a_job_that_ended_is_shown_as_begun(patch: Patch, product: Product) -> None:
    patch.setattr(worker.Fetcher, "end", lambda self, runs: self.free(runs))


@breakage
def a_job_that_ended_keeps_its_thread(patch: Patch, product: Product) -> None:
    patch.setattr(worker.Fetcher, "free", lambda self, runs: None)


@breakage
def a_handled_pointer_deletes_what_is_shown_of_its_message(patch: Patch, product: Product) -> None:
    """It looks at the message's number only, and deletes only the jobs: their entries among the failed stay."""
    note_ended = rq_side.note_ended

    def note_all_ended(pipe: Any, queue: Any, runs: Any, of: Any) -> None:
        note_ended(pipe, queue, runs, of)
        handled = {job.id.partition("-")[0] for job, _ in runs}
        for shown in rq_side.failed_ids(queue.connection, queue.name):
            if shown.partition("-")[0] in handled:
                pipe.delete(rq_side.LedgerJob.key_for(shown))

    patch.setattr(rq_side, "note_ended", note_all_ended)


@breakage
def what_dead_workers_left_is_never_dropped(patch: Patch, product: Product) -> None:
    patch.setattr(registries, "drop_dead", lambda engine, redis, queue: None)


# -- operators --------------------------------------------------------------------------------------


@breakage
def a_requeue_grants(patch: Patch, product: Product) -> None:
    def requeue_and_run(message_id: int, fence: int) -> None:
        with transaction() as session:
            row = session.execute(REQUEUE, {"id": message_id, "fence": fence}).one_or_none()
        if row is not None:
            runner.run(spec_of(row.job), message_id, fence)

    patch.setattr(ledger, "requeue_from_dashboard", requeue_and_run)


# -- intents to file, forms and their documents -----------------------------------------------------


def not_found(call: Any, work: Any, earlier: Any) -> NotFound:
    return NotFound()


def create_unseen(call: Any, work: Any) -> Any:
    made = call.upstreams.lighthouse_claims.create_itf(work.icn, work.type, call.before_write)
    return intent_to_file.Confirmation(made, "created")


@breakage
def an_itf_is_created_without_a_look(patch: Patch, product: Product) -> None:
    """Neither after an unanswered creation nor before the next: each of the two looks would do by itself."""
    patch.setitem(vars(intent_to_file.CREATE), "look_up", not_found)
    patch.setitem(vars(intent_to_file.CREATE), "act", create_unseen)


@breakage
def an_unanswered_form_is_sent_again_unseen(patch: Patch, product: Product) -> None:
    patch.setitem(vars(form526.SUBMIT), "look_up", not_found)


@breakage
def uploads_of_a_document_are_not_counted(patch: Patch, product: Product) -> None:
    patch.setattr(uploads, "copies", lambda session, document_id, beside: 1)


@breakage
def a_poll_whose_message_is_lost_is_never_made_again(patch: Patch, product: Product) -> None:
    swap(patch, polling, "ASSIGN_BATCH", ("outbox_now() + make_interval(secs => 60 * :minutes)", "NULL"))


@breakage
def a_failed_document_is_not_asked_about_again(patch: Patch, product: Product) -> None:
    again = "outbox_now() + make_interval(days => CAST(:first_day AS int))"
    swap(patch, polling, "RECORD_STATUSES", (again, "NULL"))


# -- repair -----------------------------------------------------------------------------------------


@breakage
def a_repaired_message_knows_nothing_of_the_lost_one(patch: Patch, product: Product) -> None:
    patch.setattr(repair, "take_up_again", lambda session, subject_type, subject_id: None)
