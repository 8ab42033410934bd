"""Labels of what Surefile filed by itself: which of what a list shows is synthetic."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from sqlalchemy import select

from flaskapp.current import flows
from flaskapp.db import DbSession, Markable
from flaskapp.subjects import states_of

About = tuple[str, str]
LABEL = ", synthetic"


def synthetic_among(session: DbSession, about: Iterable[About]) -> set[About]:
    """The synthetic ones of these types and ids: by their primary keys, in one statement for each type that may be."""
    ids: dict[str, set[uuid.UUID]] = defaultdict(set)
    for name, subject_id in about:
        subject = flows().promises.get(name)
        if subject is not None and issubclass(states_of(subject).model, Markable):
            # What is no UUID is the id of no row.
            with suppress(ValueError):
                ids[name].add(uuid.UUID(subject_id))
    found: set[About] = set()
    for name, wanted in ids.items():
        model = states_of(flows().promises[name]).model
        marked = select(model.id).where(model.id.in_(wanted), model.synthetic_on.is_not(None))
        found |= {(name, str(each)) for each in session.execute(marked).scalars()}
    return found


def label(session: DbSession, name: str, subject_id: str) -> str:
    """What to add to the words about one of them."""
    return LABEL if synthetic_among(session, [(name, subject_id)]) else ""
