"""Who a submission is of, and what a person has with us: for administrators, with a reason that is recorded first."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, render_template
from flask_login import current_user
from sqlalchemy import or_, select
from werkzeug.wrappers import Response

from flaskapp.accounts.models import Account
from flaskapp.crypto import EncryptedJSON, vault
from flaskapp.current import flows
from flaskapp.db import DbSession, transaction
from flaskapp.ops.find import ACCOUNT, Found
from flaskapp.ops.forms import given
from flaskapp.ops.login import guard, operator_name
from flaskapp.ops.story import of_person, row_of
from flaskapp.web import access
from flaskapp.web.errors import Problem
from outbox import write_history

log = logging.getLogger("flaskapp.ops.people")

blueprint = Blueprint("ops_people", __name__, url_prefix="/ops/people")
access.declare(blueprint, "administrators, by log-in")

# What is asked for when somebody has to be reached or recognised. A form and what an upstream said are more than that.
SHOWN = ("icn", "phone", "email", "participant_id", "file_number", "name")


@blueprint.before_request
def administrators_only() -> Response | None:
    response = guard()
    if response is None and not current_user.may_see_people:
        raise Problem(403, detail="Only administrators may see people: OPERATOR_ADMINISTRATORS names them.")
    return response


@blueprint.get("/")
def search_page() -> str:
    return render_template("ops/people.html", found=None)


@blueprint.post("/")
def search() -> str:
    """Everything that a person has with us, by their ICN or by their sign-in account. What is typed is kept nowhere."""
    wanted, reason = given("person"), given("reason")
    with transaction() as session:
        account_ids, digests = known_as(session, wanted)
        found = [Found(ACCOUNT, str(each), "sign-in account") for each in account_ids]
        found += of_person(session, set(account_ids), set(digests))
        detail = {"reason": reason, "found": [f"{each.kind} {each.id}" for each in found]}
        write_history(session, "operator", operator_name(), "person.searched", actor=operator_name(), detail=detail)
    log.info("person searched", extra={"event": "person.searched", "by": operator_name(), "found": len(found)})
    return render_template("ops/people.html", found=found)


def known_as(session: DbSession, wanted: str) -> tuple[list[uuid.UUID], list[str]]:
    """The accounts and digests of the person with this ICN, or of the account with this id."""
    try:
        by = Account.id == uuid.UUID(wanted)
        digests = []
    except ValueError:
        digests = vault().digests(wanted.upper())
        by = Account.icn_digest.in_(digests)
    rows = session.execute(select(Account.id, Account.icn_digest).where(by)).all()
    digests += [row.icn_digest for row in rows if row.icn_digest is not None]
    same = select(Account.id).where(or_(by, Account.icn_digest.in_(digests)))
    return list(session.execute(same).scalars()), digests


@blueprint.post("/<kind>/<subject_id>")
def reveal(kind: str, subject_id: str) -> str:
    """Who it is. The reason is committed before anything is decrypted."""
    reason = given("reason")
    with transaction() as session:
        row = row_of(session, flows().promises.get(kind), subject_id)
        if row is None:
            raise Problem(404, detail="There is no record of it here.")
        write_history(session, kind, subject_id, "person.revealed", actor=operator_name(), detail={"reason": reason})
    log.info("person revealed", extra={"event": "person.revealed", "by": operator_name(), "subject": subject_id})
    with transaction() as session:
        row = row_of(session, flows().promises.get(kind), subject_id)
        shown = dict(personal(session, row)) if row is not None else {}
    return render_template("ops/person.html", kind=kind, subject_id=subject_id, shown=shown)


def personal(session: DbSession, row: Any) -> Iterator[tuple[str, str]]:
    """What the row, and the account that it is of, say about the person."""
    for column in row.__mapper__.columns:
        if isinstance(column.type, EncryptedJSON):
            value = getattr(row, column.key)
            fields = value if isinstance(value, dict) else {column.key: value}
            yield from ((name, str(fields[name])) for name in SHOWN if fields.get(name))
    account = session.get(Account, row.account_id) if hasattr(row, "account_id") else None
    if account is not None:
        yield from personal(session, account)


def init_app(app: Flask) -> None:
    app.register_blueprint(blueprint)
