"""Giving up of waiting messages past their wall-clock limit: they get their case and their notification even while the
breaker is open."""

from __future__ import annotations

import logging

from flask import current_app

from flaskapp.db import db, is_outage, transaction
from jobs.engine.outcome import Outcome
from jobs.engine.runner import Process
from jobs.engine.settle import park_unsettled, settle_once
from jobs.periodic.isolated import ENOUGH, PartsFailed
from jobs.registry import spec_of
from outbox import Grant, grants, parked

log = logging.getLogger("jobs.periodic.give_up")

# The most in one sweep: what is left stays due for the next.
MOST = 200


def give_up_overdue() -> None:
    """Give up message by message. One that cannot be given up is parked, or passed over until the next sweep: otherwise
    it would come first in every sweep, and the others never.

    Raises PartsFailed at the end for those that were passed over. An error of Postgres while taking one is raised at
    once.
    """
    passed_over: dict[int, Exception] = {}
    away = 0
    for _ in range(MOST):
        taken: list[Grant] = []
        try:
            if not give_up_next(taken, passed_over):
                break
        except Exception as error:
            db.session.remove()
            if not taken:
                raise
            pass_over(taken[0], error, passed_over)
            away = away + 1 if is_outage(error) else 0
        else:
            away = 0
        if away >= ENOUGH:
            break
    if passed_over:
        raise PartsFailed({f"message {message_id}": why for message_id, why in passed_over.items()})


def give_up_next(taken: list[Grant], passed_over: dict[int, Exception]) -> bool:
    """Give up one message in a transaction of its own; it is added to `taken` even if that fails. False when none is
    due."""
    process: Process = current_app.extensions["process"]
    with transaction() as session:
        fence = parked.draw_fence()
        grant = grants.seize_overdue(session, fence=fence, worker_id=process.worker_id, but=list(passed_over))
        if grant is None:
            return False
        taken.append(grant)
        settle_once(session, spec_of(grant.job), grant, Outcome("later", reason="wall-clock limit reached"))
    return True


def pass_over(grant: Grant, error: Exception, passed_over: dict[int, Exception]) -> None:
    """Park a message that its own records keep from being given up. If Postgres may be at fault, it waits for the next
    sweep."""
    extra = {"event": "sweep.not_given_up", "message_id": grant.message_id, "job": grant.job}
    log.error("not given up", extra=extra, exc_info=error)
    if is_outage(error):
        passed_over[grant.message_id] = error
        return
    try:
        park_unsettled(grant.message_id, error)
    except Exception as why:
        db.session.remove()
        log.exception("not parked", extra={"event": "sweep.not_parked", "message_id": grant.message_id})
        passed_over[grant.message_id] = why
