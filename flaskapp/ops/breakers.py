"""Pages of circuit breakers: the state of each, why, how many wait and its past; and hold, lift and try now."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from flaskapp.current import database_now, flows
from flaskapp.db import DbSession, transaction
from flaskapp.ops.durations import read_duration
from flaskapp.ops.forms import given
from flaskapp.ops.login import operator_name, require_operator
from flaskapp.web.errors import Problem
from outbox import breakers, holds, tally, timeline

blueprint = Blueprint("ops_breakers", __name__, url_prefix="/ops/breakers")
require_operator(blueprint)

PAST_SHOWN = 50


@blueprint.get("/")
def overview() -> str:
    with transaction() as session:
        return render_template(
            "ops/breaker_list.html",
            breakers=breakers.all_breakers(session, flows().breaker_limits),
            holds=holds.standing(session),
            waiting=tally.latest(session).by_upstream(),
        )


@blueprint.get("/<upstream>")
def breaker_page(upstream: str) -> str:
    with transaction() as session:
        breaker = next(
            (each for each in breakers.all_breakers(session, flows().breaker_limits) if each.upstream == upstream), None
        )
        if breaker is None:
            raise Problem(404, detail="There is no such breaker.")
        # What opened it, or its last probe.
        attempts = timeline.attempts_at(session, breaker.probe_message_id) if breaker.probe_message_id else []
        return render_template(
            "ops/breaker.html",
            breaker=breaker,
            holds=[each for each in holds.standing(session) if each.upstream == upstream],
            waiting=tally.latest(session).by_upstream().get(upstream, 0),
            last=attempts[-1] if attempts else None,
            past=breakers.lately(session, upstream, PAST_SHOWN),
            acts=reversed(timeline.history_of(session, "breaker", upstream)[-PAST_SHOWN:]),
        )


def known(session: DbSession, upstream: str) -> None:
    if upstream not in breakers.existing(session):
        raise Problem(404, detail="There is no such breaker, or it is missing: `flask audit --repair` makes it again.")


def back_to(upstream: str) -> Response:
    return redirect(url_for("ops_breakers.breaker_page", upstream=upstream), 303)


@blueprint.post("/<upstream>/hold")
def hold(upstream: str) -> Response:
    """Hold it for a while, from now or from a time to come."""
    reason, duration = given("reason"), read_duration(given("duration"))
    if duration is None:
        raise Problem(422, detail="Say for how long: a number and a unit, as in 30s, 90m, 4h or 2d.")
    with transaction() as session:
        known(session, upstream)
        starts_at = max(database_now(session), begin_of_window() or database_now(session))
        ends_at = starts_at + duration
        holds.hold(session, upstream, starts_at=starts_at, ends_at=ends_at, reason=reason, actor=operator_name())
    flash(f"Nothing is sent to {upstream} from {starts_at:%Y-%m-%d %H:%M} until {ends_at:%Y-%m-%d %H:%M} UTC.")
    return back_to(upstream)


def begin_of_window() -> datetime | None:
    """When the hold begins, in UTC, as the form's field writes it; None for now."""
    begins = request.form.get("begins", "").strip()
    if not begins:
        return None
    try:
        return datetime.strptime(begins, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
    except ValueError as error:
        raise Problem(422, detail="Say when it begins like this: 2031-03-04T22:00, in UTC.") from error


@blueprint.post("/<upstream>/lift")
def lift(upstream: str) -> Response:
    """End one hold, or all: without a number all those to come, too."""
    number = request.form.get("hold", type=int)
    with transaction() as session:
        known(session, upstream)
        lifted = holds.lift(session, upstream, actor=operator_name(), hold_id=number)
    flash(f"{lifted} lifted. Its work starts slowly." if lifted else "Nothing was done: it is over or lifted already.")
    return back_to(upstream)


@blueprint.post("/<upstream>/try-now")
def try_now(upstream: str) -> Response:
    reason = given("reason")
    with transaction() as session:
        known(session, upstream)
        done = breakers.probe_now(session, upstream, actor=operator_name(), reason=reason)
    flash("Its probe goes next; the answer decides." if done else "Nothing was done: there is no time to wait for.")
    return back_to(upstream)


def init_app(app: Flask) -> None:
    app.register_blueprint(blueprint)
