"""Pages about one thing: the search box, the story of a submission, and what a sign-in account has with us."""

from __future__ import annotations

import uuid

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from flaskapp.accounts.models import Account
from flaskapp.db import transaction
from flaskapp.ops.find import ACCOUNT, CASE, MESSAGE, WEBHOOK, Found, find, uuid_bounds
from flaskapp.ops.login import require_operator
from flaskapp.ops.story import related_to, tell
from flaskapp.web.errors import Problem
from outbox import timeline

blueprint = Blueprint("ops_pages", __name__, url_prefix="/ops")
require_operator(blueprint)

LONGEST = 100
NOWHERE = "There is no record of it here. It may have been removed long after its end."


def address_of(found: Found) -> str:
    """The page of what was found."""
    if found.kind == CASE:
        return url_for("ops_cases.case_page", case_id=found.id)
    if found.kind == MESSAGE:
        return url_for("ops_pages.message_page", message_id=found.id)
    if found.kind == ACCOUNT:
        return url_for("ops_pages.account_page", account_id=found.id)
    return url_for("ops_pages.story_page", kind=found.kind, subject_id=found.id)


@blueprint.post("/find")
def search() -> str | Response:
    """Go to what was found, or list it. A POST, because what people type here must not stand in addresses, which are
    written down on the way."""
    wanted = request.form.get("wanted", "")[:LONGEST].strip()
    with transaction() as session:
        found = find(session, wanted)
    if len(found) == 1:
        return redirect(address_of(found[0]), 303)
    return render_template("ops/found.html", wanted=wanted, found=found)


@blueprint.get("/submissions/<kind>/<subject_id>")
def story_page(kind: str, subject_id: str) -> str | Response:
    if kind == WEBHOOK and (bounds := uuid_bounds(subject_id)):
        return redirect(url_for("ops_webhooks.receiver_page", webhook_id=bounds[0]))
    with transaction() as session:
        story = tell(session, kind, subject_id)
    if story.state is None and not story.events:
        raise Problem(404, detail=NOWHERE)
    return render_template("ops/story.html", story=story)


@blueprint.get("/messages/<int:message_id>")
def message_page(message_id: int) -> Response:
    """A message is shown in the story of its subject."""
    with transaction() as session:
        about = timeline.subject_of(session, message_id) if message_id < 2**63 else None
    if about is None:
        raise Problem(404, detail=NOWHERE)
    return redirect(url_for("ops_pages.story_page", kind=about.subject_type, subject_id=about.subject_id))


@blueprint.get("/accounts/<uuid:account_id>")
def account_page(account_id: uuid.UUID) -> str:
    with transaction() as session:
        account = session.get(Account, account_id)
        if account is None:
            raise Problem(404, detail=NOWHERE)
        found = related_to(session, ACCOUNT, None, account)
    return render_template("ops/found.html", account=account_id, found=found)


def init_app(app: Flask) -> None:
    app.jinja_env.globals["address_of"] = address_of
    app.register_blueprint(blueprint)
