"""Pages of cases: the inbox with its groups, filters and pages, and a page for each with the acts of its owner."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.cases.service import NoSuchCase, assign_case, close_case, note_case, playbook
from flaskapp.current import flows
from flaskapp.db import DbSession, transaction
from flaskapp.ops.find import uuid_bounds
from flaskapp.ops.forms import LONGEST, given
from flaskapp.ops.labels import synthetic_among
from flaskapp.ops.login import operator_name, require_operator
from flaskapp.ops.redrive import newer_than
from flaskapp.ops.shown import with_code
from flaskapp.ops.story import tell
from flaskapp.requeue import Refused, requeue_message
from flaskapp.web.errors import Problem
from outbox import messages

blueprint = Blueprint("ops_cases", __name__, url_prefix="/ops/cases")
require_operator(blueprint)

ON_A_PAGE = 50
# Pages lead to as many as are counted.
LAST_PAGE = messages.MOST_COUNTED // ON_A_PAGE


@dataclass(frozen=True)
class Filters:
    """Which cases the inbox lists; an empty text does not apply."""

    kind: str = ""
    owner: str = ""
    about: str = ""
    closed: bool = False

    @property
    def order(self) -> tuple[Any, ...]:
        """The order of the list: urgent ones and then the oldest first; of closed ones those closed last."""
        return (Case.closed_at.desc(), Case.id) if self.closed else (Case.priority.desc(), Case.opened_at, Case.id)

    def apply(self, statement: Any) -> Any:
        statement = statement.where(Case.closed_at.is_not(None) if self.closed else Case.closed_at.is_(None))
        chosen = {Case.kind: self.kind, Case.owner: self.owner, Case.subject_type: self.about}
        for column, value in chosen.items():
            statement = statement.where(column == value) if value else statement
        return statement

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What an address says of them, with these changes."""
        said = {"kind": self.kind, "owner": self.owner, "about": self.about, "closed": "yes" if self.closed else ""}
        return {name: value for name, value in (said | changes).items() if value}


def asked_for() -> Filters:
    def text_of(name: str) -> str:
        return request.args.get(name, "")[:LONGEST]

    return Filters(text_of("kind"), text_of("owner"), text_of("about"), request.args.get("closed") == "yes")


@blueprint.get("/")
def inbox() -> str:
    filters = asked_for()
    page = min(max(request.args.get("page", 1, type=int), 1), LAST_PAGE)
    listed = select(Case).where(Case.id.in_(ids_of(filters, page))).order_by(*filters.order)
    with transaction() as session:
        groups = session.execute(groups_of(filters)).all()
        total = sum(group.cases for group in groups)
        owners = session.execute(select(Case.owner).where(Case.closed_at.is_(None)).distinct()).scalars().all()
        found = [(case, KINDS[case.kind]) for case in session.execute(listed).scalars()]
        synthetic = synthetic_among(session, [(case.subject_type, case.subject_id) for case, _ in found])
    pages = max(1, -(-total // ON_A_PAGE))
    choices = {"kinds": KINDS, "owners": sorted({*owners, filters.owner} - {""}), "subjects": flows().subjects}
    shown = {"total": total, "groups": groups, "cases": found, "synthetic": synthetic, "page": page, "pages": pages}
    return render_template("ops/inbox.html", filters=filters, **shown, **choices)


def ids_of(filters: Filters, page: int) -> Any:
    """The ids of a page, found by an index alone: of the cases only those that are shown are read."""
    ids = filters.apply(select(Case.id)).order_by(*filters.order)
    return ids.limit(ON_A_PAGE).offset((page - 1) * ON_A_PAGE)


def groups_of(filters: Filters) -> Any:
    """How many cases there are of each kind and subject, and since when; the largest group first. Of all of them, the
    first `MOST_COUNTED` are counted."""
    columns = (Case.kind, Case.subject_type, Case.opened_at)
    first = filters.apply(select(*columns)).order_by(*filters.order).limit(messages.MOST_COUNTED).subquery()
    counts = (func.count().label("cases"), func.min(first.c.opened_at).label("oldest"))
    grouped = select(first.c.kind, first.c.subject_type, *counts).group_by(first.c.kind, first.c.subject_type)
    return grouped.order_by(func.count().desc())


@blueprint.get("/<case_id>")
def case_page(case_id: str) -> str:
    """One case. As much of its id as is unique will do: people type it from a list."""
    with transaction() as session:
        case = found_case(session, case_id)
        parked = messages.parked_for(session, case.subject_type, case.subject_id)
        story = tell(session, case.subject_type, case.subject_id)
        newer = newer_than(session, case.subject_type, case.subject_id)
        to_do = playbook(case, case.details.get("message") or next(iter(parked), None))
        return render_template(
            "ops/case.html",
            case=case,
            kind=KINDS[case.kind],
            to_do=with_code(to_do),
            parked=parked,
            newer=newer,
            story=story,
        )


def found_case(session: DbSession, case_id: str) -> Case:
    """The case that this is the id of. Raises Problem 404."""
    bounds = uuid_bounds(case_id)
    found = session.execute(select(Case).where(Case.id.between(*bounds)).limit(2)).scalars().all() if bounds else []
    if len(found) != 1:
        raise Problem(404, detail="There is no such case, or more than one begins like this.")
    return found[0]


# -- acts -----------------------------------------------------------------------


def act(case_id: uuid.UUID, do: Callable[[DbSession], None], done: str) -> Response:
    """Do it in a transaction and show the case again, with what was done, or that somebody was faster."""
    try:
        with transaction() as session:
            do(session)
        flash(done)
    except NoSuchCase as error:
        flash(f"Nothing was done: {error}.", "problem")
    return back_to(case_id)


def back_to(case_id: uuid.UUID) -> Response:
    return redirect(url_for("ops_cases.case_page", case_id=case_id), 303)


@blueprint.post("/<uuid:case_id>/note")
def add_note(case_id: uuid.UUID) -> Response:
    note = given("note")
    return act(case_id, lambda session: note_case(session, case_id, operator_name(), note), "Noted.")


@blueprint.post("/<uuid:case_id>/assign")
def assign(case_id: uuid.UUID) -> Response:
    owner = given("owner")
    return act(case_id, lambda session: assign_case(session, case_id, operator_name(), owner), f"Assigned to {owner}.")


@blueprint.post("/<uuid:case_id>/close")
def close(case_id: uuid.UUID) -> Response:
    outcome = given("outcome")
    return act(case_id, lambda session: close_case(session, case_id, operator_name(), outcome), "Closed.")


@blueprint.post("/<uuid:case_id>/requeue")
def requeue(case_id: uuid.UUID) -> Response:
    """Reopen the parked work of the case's subject; it is looked up first where it may have been done."""
    reason = given("reason")
    although = request.form.get("although_superseded") == "yes"
    with transaction() as session:
        case = found_case(session, str(case_id))
        parked = messages.parked_for(session, case.subject_type, case.subject_id)
    done = 0
    for message_id in parked:
        try:
            actor = operator_name()
            done += requeue_message(message_id, actor=actor, although_superseded=although, reason=reason)
        except Refused as refusal:
            flash(f"Message {message_id} stays parked: {refusal}.", "problem")
    flash(f"{done} of {len(parked)} requeued. The case stays open until the work is done.")
    return back_to(case_id)


def init_app(app: Flask) -> None:
    app.register_blueprint(blueprint)
