"""Settle, the third step of a job: one transaction that moves the subject, ends the attempt and deletes, postpones or
parks the message.

All of it happens under the message's fence, or none of it does. An answer whose fence is gone is kept on its own
attempt. A settle that cannot commit keeps the answer in memory and tries again, after reading whether it had landed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.cases.service import close_cases, open_case
from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.current import breaker_settings
from flaskapp.db import DbSession, db, is_outage, is_passing, transaction
from flaskapp.keys.checks import find_missing, recorded
from flaskapp.statemachine import Conflict
from flaskapp.subjects import person_of
from flaskapp.upstreams.errors import (
    ALIVE,
    DOUBTFUL,
    FAILING,
    NO_EMAIL,
    NO_ICN,
    REFUSED,
    Duplicate,
    Unexplained,
    UpstreamError,
    breaker_signal,
)
from jobs.engine.asking import for_request_of
from jobs.engine.outcome import Outcome
from jobs.engine.retry import SECOND_LOOK_SECONDS, jittered, look_up_delay
from jobs.engine.spec import JobSpec, check_nothing
from outbox import BreakerSettings, Ending, Grant, attempts, away, breakers, messages, parked, restores, write_history

log = logging.getLogger("jobs.engine.settle")

UNSETTLED = "unsettled"
KEPT_SECONDS = 30.0
NOT_RECORDED = "attempt.not_recorded"

SETTLE_RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# While Postgres is away, for as long as it takes. Shorter than what the living get after an outage, before a rescue.
AWAY_RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0, 4.0)
STATUS_OF_KIND = {
    "accepted": "success",
    "obsolete": "success",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class Answered:
    """An attempt whose outcome is not recorded yet."""

    spec: JobSpec
    grant: Grant
    outcome: Outcome


def settle(spec: JobSpec, grant: Grant, outcome: Outcome, again: bool = False) -> None:
    """Record an outcome, through deadlocks, restarts and outages of Postgres. Raises what keeps it from being recorded.

    While Postgres is away the answer stays in hand, and its lease is kept, until the process stops. `again`: it was
    tried before, together with others.
    """
    process = current_app.extensions["process"]
    waits, tries = iter(SETTLE_RETRY_SECONDS), int(again)
    while True:
        try:
            with process.turns.take(grant.queue), transaction() as session:
                # A second round may follow a COMMIT whose answer was lost. Then nothing is left to do.
                if not tries or attempts.status_of(session, grant.attempt_id) in ("try", "unknown"):
                    settle_once(session, spec, grant, outcome)
            return
        except SQLAlchemyError as error:
            db.session.remove()
            is_away = away.is_away(error) and not away.is_slow(error) and not process.stopping.is_set()
            wait = AWAY_RETRY_SECONDS[min(tries, len(AWAY_RETRY_SECONDS) - 1)] if is_away else next(waits, None)
            if wait is None or not is_passing(error):
                raise
            tries += 1
            process.keep(grant)
            why = away.reason_of(error)
            extra = {"event": "job.settle_retried", "message_id": grant.message_id, "why": why}
            log.warning("settle retried", extra=extra)
            time.sleep(wait)


def settle_together(answered: Sequence[Answered]) -> list[Answered]:
    """Record first acceptances of one queue in one transaction. Returns those whose fence is gone, with nothing
    recorded.

    Raises what kept it from being committed; then each of them has to be settled by itself, `again`.
    """
    process = current_app.extensions["process"]
    try:
        with process.turns.take(answered[0].grant.queue), transaction() as session:
            return settle_first(session, answered)
    finally:
        db.session.remove()


def settle_once(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """One outcome, in the caller's transaction."""
    answered = Answered(spec, grant, outcome)
    if is_first_acceptance(answered):
        if settle_first(session, [answered]):
            settle_late(session, spec, grant, outcome)
    elif attempts.lock_message(session, grant):
        settle_locked(session, spec, grant, outcome)
    else:
        settle_late(session, spec, grant, outcome)


def is_first_acceptance(answered: Answered) -> bool:
    """Whether nothing has to be read before this outcome is recorded: the first attempt was accepted."""
    spec, grant = answered.spec, answered.grant
    return answered.outcome.kind == "accepted" and grant.first and not grant.in_doubt and spec.check is check_nothing


def settle_first(session: DbSession, answered: Sequence[Answered]) -> list[Answered]:
    """Record the usual outcome with fewer statements than any other. Returns those whose fence is gone.

    Locks are taken in the order of a single settle: all messages, then what is recorded, and the breaker last.
    """
    troubled = attempts.complete_held(session, [(each.grant, ending(each.spec, each.outcome)) for each in answered])
    held = [each for each in answered if each.grant.attempt_id in troubled]
    held.sort(key=lambda each: each.grant.message_id)
    record_answers(session, held)
    for each in held:
        with for_request_of(each.grant, "settle"):
            end_case_of(session, each.grant)
            log_settled(each.spec, each.grant, each.outcome)
    for each in held:
        report_to_breaker(session, each.grant, each.outcome, troubled=troubled[each.grant.attempt_id])
    return [each for each in answered if each.grant.attempt_id not in troubled]


def record_answers(session: DbSession, held: Sequence[Answered]) -> None:
    """Have their flows record the answers: those of one job together, where its flow can do that."""
    together: dict[str, list[Answered]] = {}
    for each in held:
        if each.spec.record_all is not None:
            together.setdefault(each.spec.work.path, []).append(each)
        else:
            with for_request_of(each.grant, "record"):
                each.spec.record(session, each.grant.subject_id, each.outcome.answer)
    for many in together.values():
        record_all = many[0].spec.record_all
        assert record_all is not None
        record_all(session, [(each.grant.subject_id, each.outcome.answer) for each in many])


def settle_locked(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    if grant.in_doubt:
        restores.pass_on(session)
    original = outcome
    knows_no_better = outcome.kind not in ("obsolete", "unreadable") and not is_own_acceptance(grant, outcome)
    if spec.writes and not grant.first and knows_no_better:
        outcome = answered_meanwhile(session, spec, grant, original) or outcome
    SETTLERS[outcome.kind](session, spec, grant, outcome)
    report_to_breaker(session, grant, original)
    log_settled(spec, grant, outcome)


def log_settled(spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    extra = {"event": "job.settled", "job": spec.work.path, "message_id": grant.message_id, "outcome": outcome.kind}
    error = type(outcome.error).__name__ if outcome.error else None
    log.info("settled", extra={**extra, "upstream": grant.upstream, "error": error})


def is_own_acceptance(grant: Grant, outcome: Outcome) -> bool:
    return outcome.kind == "accepted" and grant.purpose == "write"


def answered_meanwhile(session: DbSession, spec: JobSpec, grant: Grant, original: Outcome) -> Outcome | None:
    """A late answer to an earlier attempt, if there is one: it counts before what this look-up or resend found.

    What a look-up found stays on the attempt, to be compared with it.
    """
    for sibling in attempts.siblings(session, grant.message_id):
        if sibling.status == "success":
            late, found = spec.from_ids(sibling.upstream_ids), original.answer
            return Outcome("accepted", answer=late, found=found, from_upstream=original.answered)
    return None


def ending(spec: JobSpec, outcome: Outcome, status: str | None = None) -> Ending:
    error = outcome.error
    upstream_error = error if isinstance(error, UpstreamError) else None
    return Ending(
        status=status or STATUS_OF_KIND.get(outcome.kind, "error"),
        answered=outcome.answered,
        http_status=upstream_error.http_status if upstream_error else None,
        error_class=type(error).__name__ if error else None,
        error_detail=upstream_error.detail if upstream_error else outcome.reason,
        upstream_ids=spec.ids(outcome.found or outcome.answer) if outcome.kind == "accepted" else {},
    )


def settle_accepted(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    try:
        spec.check(session, grant.subject_id, outcome.answer)
    except Conflict as conflict:
        return reject_conflict(session, spec, grant, outcome, conflict)
    finished = ending(spec, outcome)
    # Complete first: what is recorded may enqueue the same job again, and a job is never enqueued twice.
    attempts.complete(session, grant, finished)
    spec.record(session, grant.subject_id, outcome.answer)
    end_case_of(session, grant)
    if not grant.first:
        compare_answers(session, spec, grant, finished)
    return None


def reject_conflict(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome, conflict: Conflict) -> None:
    """Leave an answer to a human whose id belongs to another submission: it does not show whether the upstream has this
    one as well."""
    doubted = replace(outcome, error=conflict, reason=str(conflict))
    status, why = ("unknown", "unanswered") if grant.purpose == "write" else ("error", None)
    leave_to_human(session, spec, grant, doubted, "conflicting_answers", status, why, **conflict.details)


def compare_answers(session: DbSession, spec: JobSpec, grant: Grant, finished: Ending) -> None:
    """Open a case when two attempts were answered with different upstream ids: it may be on file twice.

    Where two digests differ, they may have been made with different keys: then the other one is made again.
    """
    key = finished.upstream_ids.get("digest")
    for sibling in attempts.siblings(session, grant.message_id):
        other = sibling.upstream_ids.get("digest")
        differ = sibling.id != grant.attempt_id and key and other and other != key
        if differ and spec.ids(spec.from_ids(sibling.upstream_ids)).get("digest") != key:
            details = {"message": grant.message_id, "attempts": [sibling.id, grant.attempt_id]}
            open_case(session, "conflicting_answers", grant.subject_type, grant.subject_id, details)


def settle_obsolete(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    spec.let_go(session, grant.subject_id)
    attempts.complete(session, grant, ending(spec, outcome))
    end_case_of(session, grant)


def end_case_of(session: DbSession, grant: Grant) -> None:
    """Close the cases of a message that was parked, reopened and is now done."""
    if grant.reopened:
        about = (grant.subject_type, grant.subject_id, "the work it put aside is done")
        close_cases(session, *about, kinds=["parked_by_hand", "unsettled"], message_id=grant.message_id)


def settle_refused(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    if grant.purpose == "look_up":
        # The look-up was refused, not the submission: the question stays open.
        return keep_unresolved(session, spec, grant, outcome)
    if not spec.is_final(outcome.error):
        return retry(session, spec, grant, outcome)
    code = outcome.error.code if isinstance(outcome.error, UpstreamError) else None
    reason = {"reason": code} if code in (NO_ICN, NO_EMAIL) else {}
    return leave_to_human(session, spec, grant, outcome, "refused", status="error", **reason)


def leave_to_human(
    session: DbSession,
    spec: JobSpec,
    grant: Grant,
    outcome: Outcome,
    kind: str,
    status: str,
    why: str | None = None,
    **found: Any,
) -> None:
    """Record in one transaction that a human has it: subject, case, notification, attempt and parked message."""
    if spec.disposable:
        settle_obsolete(session, spec, grant, outcome)
        return
    details = {"message": grant.message_id, "attempt": grant.attempt_id, **found}
    spec.give_up(session, grant.subject_id, kind, details)
    charged = is_charged(session, grant, outcome)
    attempts.finish(session, grant.attempt_id, ending(spec, outcome, status), charged=charged)
    fence = parked.draw_fence()
    attempts.park(session, grant, reason_of(kind, outcome), new_fence=fence, charged=charged, unresolved_why=why)


def reason_of(kind: str, outcome: Outcome) -> str:
    name = type(outcome.error).__name__ if outcome.error else outcome.reason
    return f"{kind}: {name}" if name else kind


def leave_doubted(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """It may have been sent in the time that a restore lost. Only a human can find out, and decides about it."""
    leave_to_human(session, spec, grant, outcome, "may_exist_upstream", status="expired")
    restores.hand_over(session, grant.message_id)


def retry(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """Nothing was done upstream: try again later, on the schedule, unless the budget is spent."""
    if grant.unresolved_since is not None:
        return keep_unresolved(session, spec, grant, outcome)
    if is_spent(session, spec, grant):
        kind = "may_exist_upstream" if is_doubted(session, grant, outcome) else "exhausted"
        return leave_to_human(session, spec, grant, outcome, kind, status="expired")
    charged = is_charged(session, grant, outcome)
    attempts.finish(session, grant.attempt_id, ending(spec, outcome), charged=charged)
    asked_for = outcome.error.retry_after if isinstance(outcome.error, UpstreamError) else None
    delay = spec.schedule.wait(grant.charged_attempts, scale(), asked_for)
    return attempts.postpone(session, grant, delay, charged=charged)


def is_doubted(session: DbSession, grant: Grant, outcome: Outcome) -> bool:
    """Whether a write of this message was ever refused in words that may have said that it is there already."""
    now = isinstance(outcome.error, Unexplained)
    return now or attempts.has_ended_with(session, grant.message_id, Unexplained.__name__)


def hand_back(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    attempts.finish(session, grant.attempt_id, ending(spec, outcome))
    attempts.postpone(session, grant, 0.0, look_ups=grant.look_up_count, not_found=grant.not_found_count)


def settle_unreadable(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """Nobody tries again with keys that do not fit. If a key is missing here that was recorded, this process stops, and
    the work waits for one that has it. Otherwise the row itself is damaged, and a human gets it."""
    assert outcome.error is not None
    fault = find_missing(recorded(session), vault())
    if fault is None:
        return leave_unsettled(session, spec, grant, outcome, outcome.error, None, late=False)
    current_app.extensions["process"].stop_for(fault.sentence)
    attempts.finish(session, grant.attempt_id, ending(spec, outcome))
    kept = grant.look_up_count, grant.not_found_count
    return attempts.postpone(session, grant, KEPT_SECONDS, look_ups=kept[0], not_found=kept[1])


def settle_duplicate(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """Upstream has it already: a look-up finds out whose it is, or a human where no look-up can."""
    if spec.searchable:
        return look_up_first(session, spec, grant, outcome)
    return leave_to_human(session, spec, grant, outcome, "duplicate", status="error", why="duplicate")


def look_up_first(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """The write may have happened, or is there already: nothing is sent again before a look-up has answered."""
    if spec.look_up is None:
        return retry(session, spec, grant, outcome)
    why = "duplicate" if outcome.kind == "duplicate" else "unanswered"
    if is_spent(session, spec, grant):
        status = "unknown" if outcome.kind == "unknown" else "expired"
        return leave_to_human(session, spec, grant, outcome, "may_exist_upstream", status=status, why=why)
    charged = is_charged(session, grant, outcome)
    attempts.finish(session, grant.attempt_id, ending(spec, outcome), charged=charged)
    delay = 0.0 if why == "duplicate" else jittered(look_up_delay(0), scale())
    return attempts.postpone(session, grant, delay, charged=charged, unresolved_why=why)


def keep_unresolved(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """The look-up gave no clear answer: the question stays open, and is looked up again."""
    if is_spent(session, spec, grant):
        return leave_to_human(session, spec, grant, outcome, "may_exist_upstream", status="expired")
    attempts.finish(session, grant.attempt_id, ending(spec, outcome))
    look_ups = grant.look_up_count + 1
    return attempts.postpone(session, grant, jittered(look_up_delay(look_ups), scale()), look_ups=look_ups)


def confirm_absent(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """*Not found*, late enough. Twice in a row it means that the write did not happen, and may be made again."""
    if is_spent(session, spec, grant):
        return leave_to_human(session, spec, grant, outcome, "may_exist_upstream", status="expired")
    attempts.finish(session, grant.attempt_id, ending(spec, outcome))
    if grant.not_found_count + 1 < 2:
        look_ups, delay = grant.look_up_count + 1, jittered(SECOND_LOOK_SECONDS, scale())
        return attempts.postpone(session, grant, delay, not_found=1, look_ups=look_ups)
    delay = jittered(spec.schedule.delay(grant.charged_attempts), scale())
    return attempts.postpone(session, grant, delay, resolved=True)


Settler = Callable[[DbSession, JobSpec, Grant, Outcome], None]
SETTLERS: dict[str, Settler] = {
    "accepted": settle_accepted,
    "obsolete": settle_obsolete,
    "refused": settle_refused,
    "later": retry,
    "broken": retry,
    "handed_back": hand_back,
    "unreadable": settle_unreadable,
    "unknown": look_up_first,
    "duplicate": settle_duplicate,
    "unclear": keep_unresolved,
    "not_found": confirm_absent,
    "unsearchable": leave_doubted,
}


def scale() -> float:
    config: Config = current_app.extensions["config"]
    return config.retry_scale


def is_spent(session: DbSession, spec: JobSpec, grant: Grant) -> bool:
    """Whether this message's time is over: closed-breaker time by its schedule, or wall-clock time by its limit."""
    if grant.purpose == "give_up" or session.execute(text("SELECT outbox_now()")).scalar_one() >= grant.give_up_at:
        return True
    return breakers.closed_seconds(session, grant.upstream, grant.budget_from) >= spec.schedule.budget_seconds


def is_charged(session: DbSession, grant: Grant, outcome: Outcome) -> bool:
    return attempts.is_charged(session, grant, doubtful=signal_of(outcome) in (DOUBTFUL, REFUSED))


def signal_of(outcome: Outcome) -> str | None:
    """What the error of this outcome says about its upstream; None where the upstream had no part in it."""
    error = outcome.error
    return breaker_signal(error) if isinstance(error, UpstreamError) and error.from_upstream else None


def report_to_breaker(session: DbSession, grant: Grant, outcome: Outcome, *, troubled: bool = True) -> None:
    """Report to the breaker what this outcome says about the upstream. The breaker comes last in the lock order.

    To one that is not `troubled` an answer says nothing new.
    """
    if grant.upstream is None:
        return
    settings = breaker_settings(current_app.extensions["config"])
    signal, error = signal_of(outcome), outcome.error
    if signal == ALIVE or (outcome.answered and grant.purpose != "give_up"):
        changed, event = troubled and breakers.note_answer(session, grant), "breaker.closed"
    elif not isinstance(error, UpstreamError) or signal is None:
        return
    else:
        changed, event = report_failure(session, grant, error, signal, settings), "breaker.opened"
    if changed:
        log.warning("breaker moved", extra={"event": event, "upstream": grant.upstream, "why": outcome.kind})


def report_failure(
    session: DbSession, grant: Grant, error: UpstreamError, signal: str, settings: BreakerSettings
) -> bool:
    """True when this opened the breaker. What may be about one person counts once for each."""
    if signal == FAILING:
        return breakers.trip(session, grant, type(error).__name__.lower(), settings, error.retry_after)
    person, refused = person_of(session, grant.subject_type, grant.subject_id), signal == REFUSED
    return breakers.note_unanswered(session, grant, settings, error.retry_after, person=person, refused=refused)


def settle_late(session: DbSession, spec: JobSpec, grant: Grant, outcome: Outcome) -> None:
    """Our fence is gone: keep the answer on our own attempt, and open a case if the person was informed otherwise."""
    message = messages.lock_by_id(session, grant.message_id)
    if isinstance(outcome.error, Duplicate) and message is None:
        # It ends nothing any more, and only says that what is on file does not come from this write.
        outcome = Outcome("duplicate", error=outcome.error)
    if outcome.kind not in ("accepted", "refused", "duplicate") or grant.purpose != "write":
        return
    finished = ending(spec, outcome)
    if not attempts.record_late(session, grant, finished):
        return
    log.warning("answered late", extra={"event": "job.answered_late", "message_id": grant.message_id})
    compare_answers(session, spec, grant, finished)
    spec.reconsider(session, grant.subject_id, outcome.answer if outcome.kind == "accepted" else None)
    if message is not None and message.state == "parked" and outcome.kind == "accepted":
        details = {"message": grant.message_id, "attempt": grant.attempt_id}
        open_case(session, "answered_late", grant.subject_type, grant.subject_id, details)


# -- what cannot be settled ---------------------------------------------------
#
# Surefile itself cannot finish such a message, because its own records, keys or code prevent it. It goes to a human as
# it is: parked, with a case that names the error. Its subject keeps its state, because nobody knows better, and the
# person gets no notification. What was sent and what was answered is on the attempts.


def keep_answer(spec: JobSpec, grant: Grant, outcome: Outcome, error: Exception) -> None:
    """Put the answer of a settle that failed on its attempt, and enqueue the work again a little later.

    If that was so the time before as well, a human gets it: there is no reason why the next time should be different.
    An outage of Postgres never counts, however often it happens.
    """
    db.session.rollback()
    with current_app.extensions["process"].turns.take(grant.queue), transaction() as session:
        if not attempts.lock_message(session, grant):
            return
        why = "unanswered" if grant.purpose == "write" else None
        if is_outage(error) or not was_kept_before(session, grant):
            attempts.finish(session, grant.attempt_id, ending(spec, outcome), late=True)
            attempts.postpone(session, grant, KEPT_SECONDS, unresolved_why=why)
            note_not_recorded(session, grant, error)
        else:
            leave_unsettled(session, spec, grant, outcome, error, why)


def note_not_recorded(session: DbSession, grant: Grant, error: Exception) -> None:
    if not is_outage(error):
        detail = {"attempt": grant.attempt_id, "error": type(error).__name__}
        subject = (grant.subject_type, grant.subject_id)
        write_history(session, *subject, NOT_RECORDED, message_id=grant.message_id, detail=detail)


def was_kept_before(session: DbSession, grant: Grant) -> bool:
    return attempts.was_noted_before(session, grant, NOT_RECORDED)


def leave_unsettled(
    session: DbSession,
    spec: JobSpec,
    grant: Grant,
    outcome: Outcome,
    error: Exception,
    why: str | None,
    late: bool = True,
) -> None:
    """Park the message under a new fence with its answer kept, `late` as it is, and open a case.

    Disposable work is deleted instead, and comes again when it is due; history says what went wrong.
    """
    if spec.disposable:
        attempts.complete(session, grant, ending(spec, outcome))
        return note_not_recorded(session, grant, error)
    attempts.finish(session, grant.attempt_id, ending(spec, outcome), late=late)
    attempts.park(session, grant, unsettled_reason(error), new_fence=parked.draw_fence(), unresolved_why=why)
    open_unsettled(session, grant.subject_type, grant.subject_id, grant.message_id, error)
    return None


def unsettled_reason(error: BaseException) -> str:
    return f"{UNSETTLED}: {type(error).__name__}"


def park_unsettled(message_id: int, error: BaseException) -> None:
    """Park a waiting message for a human, with a case. Does nothing when somebody else was faster."""
    with transaction() as session:
        row = parked.park_waiting(session, message_id, reason=unsettled_reason(error), actor="sweep")
        if row is not None:
            open_unsettled(session, row.subject_type, row.subject_id, message_id, error)


def open_unsettled(
    session: DbSession, subject_type: str, subject_id: str, message_id: int, error: BaseException
) -> None:
    """Open the case for a message that was parked. An alert needs none: its subject is an open case."""
    if subject_type != "case":
        details = {"message": message_id, "error": type(error).__name__}
        open_case(session, UNSETTLED, subject_type, subject_id, details)
