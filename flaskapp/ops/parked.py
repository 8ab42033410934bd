"""Pages of parked work: groups by cause, and the redrive of one: a preview, then one, ten, and the rest."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from flaskapp.db import DbSession, transaction
from flaskapp.ops.find import LARGEST_ID
from flaskapp.ops.forms import LONGEST, given
from flaskapp.ops.labels import synthetic_among
from flaskapp.ops.login import operator_name, require_operator
from flaskapp.ops.redrive import Redriven, preview, redrive, requeue_one
from flaskapp.web.errors import Problem
from outbox import messages

blueprint = Blueprint("ops_parked", __name__, url_prefix="/ops/parked")
require_operator(blueprint)

GROUPS_SHOWN = 100
LISTED = 50
# How many each step takes. A click must end long before the router gives up.
STEPS = (1, 10, 500)
# Of the last step, so many are followed before the next.
FOLLOWED = 10


@blueprint.get("/")
def overview() -> str:
    with transaction() as session:
        groups = messages.parked_groups(session, GROUPS_SHOWN)
    return render_template("ops/parked.html", groups=groups, shown=GROUPS_SHOWN)


@blueprint.get("/group")
def group() -> str:
    job, cause = request.args.get("job", "")[:LONGEST], request.args.get("cause", "")[:LONGEST]
    followed = numbers(request.args.get("of", ""))
    with transaction() as session:
        seen = preview(session, job, cause)
        listed = messages.parked_in(session, job, cause, limit=LISTED)
        synthetic = synthetic_among(session, [(each.subject_type, each.subject_id) for each in listed])
        became = what_became_of(session, followed)
    if seen is None and not followed:
        raise Problem(404, detail="Nothing is parked for this cause any more.")
    step_before, after = request.args.get("step", 0, type=int), request.args.get("after", 0, type=int)
    step, why_not = next_step(step_before, became)
    return render_template(
        "ops/redrive.html",
        job=job,
        cause=cause,
        seen=seen,
        listed=listed,
        synthetic=synthetic,
        became=became,
        last={"step": step_before, "after": after, "of": ",".join(map(str, followed))},
        step=step,
        why_not=why_not,
    )


def numbers(text: str) -> list[int]:
    """Ids of messages out of an address or a field; what is none is left out."""
    words = text.split(",")[:FOLLOWED]
    return [int(word) for word in words if word.isascii() and word.isdigit() and int(word) <= LARGEST_ID]


def what_became_of(session: DbSession, message_ids: list[int]) -> dict[str, list[int]]:
    """The messages of the last step by what became of them: `done`, `parked` again, or still `outstanding`."""
    states = messages.states_of(session, message_ids)
    became: dict[str, list[int]] = {"done": [], "parked": [], "outstanding": []}
    for each in message_ids:
        state = states.get(each)
        became["done" if state is None else "parked" if state == "parked" else "outstanding"].append(each)
    return became


def next_step(last: int, became: dict[str, list[int]]) -> tuple[int, str | None]:
    """How many the next step may take, and why it may not be more than one. One is always possible."""
    if became["parked"]:
        return STEPS[0], f"{len(became['parked'])} of the last step is parked again: correct the cause first"
    if became["outstanding"]:
        return STEPS[0], "the last step is not over yet: load this page again"
    if last not in STEPS or not became["done"]:
        return STEPS[0], None
    return STEPS[min(STEPS.index(last) + 1, len(STEPS) - 1)], None


@blueprint.post("/redrive")
def redrive_step() -> Response:
    """One step. How large it may be is decided anew, by what became of the last one."""
    job, cause, reason = given("job"), given("cause"), given("reason")
    with transaction() as session:
        became = what_became_of(session, numbers(request.form.get("of", "")))
    most, _ = next_step(request.form.get("step", 0, type=int), became)
    after = request.form.get("after", 0, type=int)
    did = redrive(
        job,
        cause,
        most=most,
        actor=operator_name(),
        reason=reason,
        although_superseded=request.form.get("although_superseded") == "yes",
        after=after if 0 <= after <= LARGEST_ID else 0,
    )
    flash(did.sentence, "problem" if did.stopped or did.refused else "done")
    return to_group(job, cause, did, most)


@blueprint.post("/chosen")
def requeue_chosen() -> Response:
    """Requeue the messages that were ticked, each for itself."""
    job, cause, reason = given("job"), given("cause"), given("reason")
    chosen = [each for word in request.form.getlist("message")[:LISTED] for each in numbers(word)]
    although = request.form.get("although_superseded") == "yes"
    did = Redriven()
    for message_id in chosen:
        requeue_one(did, message_id, operator_name(), reason, although)
    flash(did.sentence if chosen else "Nothing was chosen.", "problem" if did.refused or not chosen else "done")
    return to_group(job, cause, did, STEPS[0])


def to_group(job: str, cause: str, did: Redriven, step: int) -> Response:
    """Back to the group, which follows what was requeued; to all of them where there is nothing to follow."""
    said: dict[str, Any] = {"job": job, "cause": cause, "step": step, "after": did.last}
    followed = ",".join(map(str, did.requeued[-FOLLOWED:]))
    with transaction() as session:
        left = messages.parked_group(session, job, cause)
    if left is None and not followed:
        return redirect(url_for("ops_parked.overview"), 303)
    return redirect(url_for("ops_parked.group", **said, of=followed), 303)


def init_app(app: Flask) -> None:
    app.register_blueprint(blueprint)
