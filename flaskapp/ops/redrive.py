"""Redrive: requeue what was parked for the same cause, a few first and then the rest, for the console and the shell."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from flaskapp.current import flows
from flaskapp.db import DbSession, transaction
from flaskapp.flows import nothing_newer
from flaskapp.ops.labels import synthetic_among
from flaskapp.ops.story import row_of, waits_for
from flaskapp.requeue import Refused, requeue_message
from flaskapp.subjects import states_of
from outbox import messages

# How many of a group are looked at for a preview: each may cost a query.
LOOKED_AT = 100
# After so many it is asked again whether the upstream can be called.
AT_ONCE = 10
# So many superseded ones are passed over in one go; then somebody has to go on by hand.
PASSED_OVER = 1_000


@dataclass(frozen=True)
class Preview:
    """What a redrive would meet. Of the first `looked_at` messages, `superseded` have a newer submission, and
    `synthetic` are of ours."""

    job: str
    cause: str
    upstream: str | None
    messages: int
    past: int
    oldest: datetime
    looked_at: int
    superseded: int
    synthetic: int
    shut: str | None

    @property
    def sentence(self) -> str:
        of = f"of the first {self.looked_at}, " if self.looked_at < self.messages else ""
        upstream = self.upstream or "what it needs"
        shut = f"{upstream} cannot be called: {self.shut}" if self.shut else f"{upstream} can be called"
        ours = f" {self.synthetic} synthetic;" if self.synthetic else ""
        more = " or more" if self.messages >= messages.MOST_COUNTED else ""
        return (
            f"{self.messages}{more} parked; {of}{self.superseded} filed again since by the same person;"
            f" {self.past} past their date;{ours} {shut}."
        )


@dataclass
class Redriven:
    """What a redrive did: the ids `requeued`, how many were passed over as superseded, what was refused and why, the
    last id that it came to, and why it `stopped` before its end."""

    requeued: list[int] = field(default_factory=list)
    superseded: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    last: int = 0
    stopped: str | None = None

    @property
    def sentence(self) -> str:
        parts = [f"{len(self.requeued)} requeued"]
        parts += [f"{self.superseded} passed over: the person filed a newer one"] if self.superseded else []
        parts += [f"{number} stays parked: {why}" for number, why in list(self.refused.items())[:5]]
        parts += [f"stopped: {self.stopped}"] if self.stopped else []
        return "; ".join(parts) + "."


def newer_than(session: DbSession, subject_type: str, subject_id: str) -> str | None:
    """The newer submission of the same person that takes this one's place, if there is one."""
    subject = flows().promises.get(subject_type)
    if subject is None or subject.newer is nothing_newer:
        return None
    row = row_of(session, subject, subject_id)
    newer = subject.newer(session, row) if row is not None else None
    return str(newer) if newer is not None else None


def rows_of_all(session: DbSession, listed: Sequence[Any]) -> list[Any]:
    """The rows that these messages are about, in one query for each type; while they are held, the session has them."""
    found: list[Any] = []
    for name in {each.subject_type for each in listed} & flows().promises.keys():
        subject = flows().promises[name]
        if subject.newer is not nothing_newer:
            model = states_of(subject).model
            ids = [uuid.UUID(each.subject_id) for each in listed if each.subject_type == name]
            found += session.execute(select(model).where(model.id.in_(ids))).scalars()
    return found


def preview(session: DbSession, job: str, cause: str) -> Preview | None:
    """What a redrive of this group would meet; None when nothing of it is parked."""
    group = messages.parked_group(session, job, cause)
    if group is None:
        return None
    first = messages.parked_in(session, job, cause, limit=LOOKED_AT)
    held = rows_of_all(session, first)
    superseded = sum(newer_than(session, each.subject_type, each.subject_id) is not None for each in first)
    del held
    shut = waits_for(session, group.upstream)
    return Preview(
        job,
        cause,
        group.upstream,
        group.messages,
        group.past,
        group.oldest,
        looked_at=len(first),
        superseded=superseded,
        synthetic=len(synthetic_among(session, [(each.subject_type, each.subject_id) for each in first])),
        shut=shut[0] if shut else None,
    )


def redrive(
    job: str,
    cause: str,
    *,
    most: int,
    actor: str,
    reason: str,
    although_superseded: bool = False,
    after: int = 0,
    done: Callable[[int], None] = lambda count: None,
) -> Redriven:
    """Requeue at most `most` messages of a group with ids above `after`, each in a transaction of its own.

    Stops when their upstream cannot be called any more. Superseded ones are passed over and stay as they are, unless
    they are wanted. `done` is told how many more were requeued.
    """
    did = Redriven(last=after)
    while len(did.requeued) < most and did.stopped is None:
        with transaction() as session:
            group = messages.parked_group(session, job, cause)
            shut = waits_for(session, group.upstream) if group is not None else None
            wanted = min(AT_ONCE, most - len(did.requeued))
            found = messages.parked_in(session, job, cause, after=did.last, limit=wanted)
            newer = {each.id: newer_than(session, each.subject_type, each.subject_id) for each in found}
        if group is None or not found:
            break
        if shut is not None:
            did.stopped = f"{group.upstream} cannot be called, {shut[0]}"
            break
        for each in found:
            did.last = each.id
            if newer[each.id] is not None and not although_superseded:
                did.superseded += 1
                continue
            requeue_one(did, each.id, actor, reason, although_superseded)
        done(len(found))
        if did.superseded >= PASSED_OVER:
            did.stopped = f"{did.superseded} in a row were filed again since; go on to look behind them"
    return did


def requeue_one(did: Redriven, message_id: int, actor: str, reason: str, although_superseded: bool) -> None:
    try:
        if requeue_message(message_id, actor=actor, although_superseded=although_superseded, reason=reason):
            did.requeued.append(message_id)
    except Refused as refusal:
        did.refused[message_id] = str(refusal)
