"""The submissions of one person of every flow, newest first, a page at a time: read only, and only from our database.

A page begins after a place in that order and not after a number of rows, so what is filed meanwhile moves nothing.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from flaskapp.accounts.service import icn_of
from flaskapp.crypto import vault
from flaskapp.current import flows
from flaskapp.db import DbSession
from flaskapp.flows import Subject
from flaskapp.subjects import states_of

# The newest of one flow after a place: the limit in each keeps a page as cheap as its size.
OF_ONE = """(
    SELECT CAST('{name}' AS text) AS type, id, {began} AS began FROM {table}
     WHERE {of_caller} AND ({began}, id) < (CAST(:began AS timestamptz), CAST(:id AS uuid))
     ORDER BY {began} DESC, id DESC LIMIT :limit)"""


@dataclass(frozen=True)
class Place:
    """The place of a submission in the list: when it began, as ISO 8601, and its id."""

    began: str
    id: str

    def written(self) -> str:
        return base64.urlsafe_b64encode(f"{self.began} {self.id}".encode()).decode().rstrip("=")


FIRST = Place("infinity", str(uuid.UUID(int=0)))


@dataclass(frozen=True)
class Item:
    """One submission. `began` is aware."""

    subject: Subject
    row: Any
    began: datetime

    @property
    def place(self) -> Place:
        return Place(self.began.isoformat(), str(self.row.id))


def read_place(written: str) -> Place:
    """The place that `Place.written` wrote. Raises ValueError for anything else."""
    try:
        began, _, row_id = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)).decode().partition(" ")
    except (binascii.Error, UnicodeError):
        raise ValueError(written) from None
    timestamp = datetime.fromisoformat(began)
    if timestamp.tzinfo is None:
        raise ValueError(began)
    return Place(timestamp.isoformat(), str(uuid.UUID(row_id)))


def submissions_of(session: DbSession, account_id: uuid.UUID, after: Place, limit: int) -> list[Item]:
    """At most so many submissions of the account, and of the person whose it is where we know that."""
    shown = {name: subject for name, subject in flows().submissions.items() if subject.sentence is not None}
    icn = icn_of(session, account_id)
    values = {
        "account": account_id,
        "digests": vault().digests(icn) if icn is not None else [],
        "began": after.began,
        "id": after.id,
        "limit": limit,
    }
    query = f"{' UNION ALL '.join(map(of_one, shown.values()))} ORDER BY began DESC, id DESC LIMIT :limit"
    found = session.execute(text(query), values).all()
    return [
        Item(shown[each.type], session.get_one(states_of(shown[each.type]).model, each.id), each.began)
        for each in found
    ]


def of_one(subject: Subject) -> str:
    states = states_of(subject)
    return OF_ONE.format(name=subject.name, began=states.began, table=states.table, of_caller=states.of_caller)
