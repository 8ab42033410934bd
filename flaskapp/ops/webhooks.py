"""Pages of receivers of webhooks: how each stands, what it is owed and what it refused; and the acts on it.

Operators pause, resume and redeliver. Who is given a secret can sign as us, and who removes a receiver takes back what
it was owed: both are for administrators.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from flaskapp.db import DbSession, transaction
from flaskapp.ops.find import uuid_bounds
from flaskapp.ops.forms import given
from flaskapp.ops.login import operator_name, require_operator
from flaskapp.requeue import requeue_message
from flaskapp.web.errors import Problem
from flaskapp.webhooks import service, standing
from flaskapp.webhooks.models import DELIVERED, PENDING, REFUSED
from flaskapp.webhooks.service import SUBJECT, NoSuchWebhook
from outbox import messages, timeline

blueprint = Blueprint("ops_webhooks", __name__, url_prefix="/ops/webhooks")
require_operator(blueprint)

LISTED = 50
ACTS_SHOWN = 50
FASTER = "Nothing was done: somebody was faster, and this page did not know it yet."


@blueprint.get("/")
def overview() -> str:
    everything = request.args.get("removed") == "yes"
    with transaction() as session:
        found = standing.receivers(session, everything=everything)
    return render_template("ops/webhook_list.html", receivers=found, everything=everything)


@blueprint.get("/<uuid:webhook_id>")
def receiver_page(webhook_id: uuid.UUID) -> str:
    with transaction() as session:
        found = standing.receiver(session, webhook_id)
        if found is None:
            raise Problem(404, detail="There is no such receiver.")
        return render_template(
            "ops/webhook.html",
            receiver=found,
            webhook=found.owed,
            both_until=found.owed.rotated_at + service.BOTH_SECRETS if found.owed.rotated_at else None,
            lists={
                state: standing.deliveries(session, webhook_id, state, LISTED)
                for state in (REFUSED, PENDING, DELIVERED)
            },
            acts=reversed(timeline.history_of(session, SUBJECT, str(webhook_id))[-ACTS_SHOWN:]),
        )


# -- acts -----------------------------------------------------------------------


def send_again(
    webhook_id: uuid.UUID, actor: str, reason: str, since: datetime | None, deliveries: Sequence[uuid.UUID]
) -> int:
    """Redeliver, and requeue what gave the receiver up. Returns how many are sent once more. Raises NoSuchWebhook."""
    with transaction() as session:
        again = service.redeliver(session, webhook_id, actor, since, deliveries, reason)
        parked = messages.parked_for(session, SUBJECT, str(webhook_id))
    for message_id in parked:
        requeue_message(message_id, actor=actor, reason=reason)
    return again


def act(webhook_id: uuid.UUID, do: Callable[[DbSession], bool], done: str) -> Response:
    """Do it in a transaction and show the receiver again, with what was done, or that somebody was faster."""
    try:
        with transaction() as session:
            changed = do(session)
    except NoSuchWebhook:
        changed = False
    flash(done if changed else FASTER, "done" if changed else "problem")
    return back_to(webhook_id)


def back_to(webhook_id: uuid.UUID) -> Response:
    return redirect(url_for("ops_webhooks.receiver_page", webhook_id=webhook_id), 303)


def administrators_only() -> None:
    if not current_user.is_administrator:
        raise Problem(403, detail="Only administrators may do that: OPERATOR_ADMINISTRATORS names them.")


@blueprint.post("/<uuid:webhook_id>/redeliver")
def redeliver(webhook_id: uuid.UUID) -> Response:
    """The deliveries that were chosen, or all that it refused; what waits goes with them."""
    reason = given("reason")
    chosen = [bounds[0] for each in request.form.getlist("delivery")[: 2 * LISTED] if (bounds := uuid_bounds(each))]
    if request.form.get("only") == "chosen" and not chosen:
        flash("Nothing was chosen.", "problem")
        return back_to(webhook_id)
    try:
        again = send_again(webhook_id, operator_name(), reason, None, chosen)
        with transaction() as session:
            found = standing.receiver(session, webhook_id)
        waits = found is not None and found.state == "paused"
        flash(f"Sent once more: {again}, with what waits, {'when it is resumed' if waits else 'now'}.")
    except NoSuchWebhook:
        flash(FASTER, "problem")
    return back_to(webhook_id)


@blueprint.post("/<uuid:webhook_id>/pause")
def pause(webhook_id: uuid.UUID) -> Response:
    reason, actor = given("reason"), operator_name()
    return act(webhook_id, lambda session: service.pause(session, webhook_id, actor, reason), "Paused.")


@blueprint.post("/<uuid:webhook_id>/resume")
def resume(webhook_id: uuid.UUID) -> Response:
    reason, actor = given("reason"), operator_name()
    return act(webhook_id, lambda session: service.resume(session, webhook_id, actor, reason), "Resumed.")


@blueprint.post("/<uuid:webhook_id>/rotate")
def rotate(webhook_id: uuid.UUID) -> str | Response:
    """The new secret, on this page alone: it is in no session and no address. A form that is sent twice draws one: the
    second knows an earlier secret than there is."""
    administrators_only()
    reason = given("reason")
    try:
        with transaction() as session:
            webhook = service.lock(session, webhook_id)
            if request.form.get("known", "") == as_known(webhook.rotated_at):
                secret = service.rotate(session, webhook_id, operator_name(), reason).secret
                return render_template("ops/webhook_secret.html", webhook_id=webhook_id, secret=secret)
    except NoSuchWebhook:
        pass
    flash(FASTER, "problem")
    return back_to(webhook_id)


def as_known(rotated_at: datetime | None) -> str:
    """How a form says which secret its page knew."""
    return rotated_at.isoformat() if rotated_at is not None else ""


@blueprint.post("/<uuid:webhook_id>/remove")
def remove(webhook_id: uuid.UUID) -> Response:
    administrators_only()
    reason, actor = given("reason"), operator_name()

    def removed(session: DbSession) -> bool:
        service.remove(session, webhook_id, actor, reason)
        return True

    return act(webhook_id, removed, "It is told nothing more.")


def init_app(app: Flask) -> None:
    filters: dict[str, Any] = {"as_known": as_known}
    app.jinja_env.filters.update(filters)
    app.register_blueprint(blueprint)
