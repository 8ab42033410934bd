"""Subjects as rows: locking one, moving it, ending it, failing it, reopening it and telling the person, alike in every
flow.

Each function works in the caller's transaction and writes the history of what it changes.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, exists, func, select, text

from flaskapp.accounts.models import Account
from flaskapp.accounts.service import count_alone, is_nobody
from flaskapp.cases.models import Case
from flaskapp.cases.service import note_cases, open_case
from flaskapp.current import flows, settings
from flaskapp.db import DbSession
from flaskapp.flows import States, Subject
from flaskapp.logs import detail_of_request
from flaskapp.notifications.service import enqueue_notification, is_addressed, supersede_notifications
from flaskapp.statemachine import IllegalMove
from flaskapp.upstreams.errors import NO_ICN
from outbox import NOW, write_history

PENDING, FAILED = "pending", "failed"
# What the case says of somebody to whom nothing can be sent.
NOT_INFORMED = {"not_informed": "there is no ICN to write to: reach the person in another way"}


class TooManyOpen(Exception):
    """The account has as many of these being filed as one account may; nothing was accepted."""


def states_of(subject: Subject) -> States:
    assert subject.states is not None, f"{subject.name} has no states"
    return subject.states


def person_of(session: DbSession, subject_type: str, subject_id: str) -> str | None:
    """Whose the subject is, as a digest or an id that says nothing; None for what is nobody's. What is several people's
    is all of one: the same person may be in each."""
    subject = flows().subjects.get(subject_type)
    if subject is not None and subject.of_several:
        return subject.name
    states = subject.states if subject is not None else None
    if states is None:
        return None
    wanted = "subject_type, subject_id" if states.about_another else states.person
    if wanted is None:
        return None
    query = text(f"SELECT {wanted} FROM {states.table} WHERE id = CAST(:id AS uuid)")
    found = session.execute(query, {"id": subject_id}).one_or_none()
    if found is None:
        return None
    return person_of(session, *found) if states.about_another else found[0]


def lock(session: DbSession, subject: Subject, subject_id: str) -> Any:
    """The row as it is now, locked until the transaction ends. Raises NoResultFound where it is gone."""
    model = states_of(subject).model
    statement = select(model).where(model.id == UUID(subject_id)).with_for_update()
    return session.execute(statement.execution_options(populate_existing=True)).scalar_one()


def find_left_without_icn(session: DbSession, subject: Subject, account_id: UUID, *also: Any) -> Any | None:
    """The account's latest failed row that could not be filed without an ICN, as long as there is none and a human has
    its case: another one would end in the same way, so what the person requests meanwhile is noted on that one. `also`
    are further conditions."""
    states = states_of(subject)
    model = states.model
    no_icn = exists().where(Account.id == account_id, Account.identity.is_(None))
    its_case = exists().where(
        Case.subject_type == subject.name,
        Case.subject_id == cast(model.id, Text),
        Case.closed_at.is_(None),
        Case.details["reason"].astext == NO_ICN,
    )
    failed = select(model).where(model.account_id == account_id, getattr(model, states.column) == FAILED, *also)
    latest = failed.where(no_icn, its_case).order_by(getattr(model, states.began).desc()).limit(1)
    return session.execute(latest).scalar_one_or_none()


def is_promised_in_vain(session: DbSession, subject: Subject, account_id: UUID) -> bool:
    """Whether nothing can be filed for the account: there was no ICN when it was last looked up, less than a day ago,
    or a human still has the case of one that failed for that."""
    return is_nobody(session, account_id) or find_left_without_icn(session, subject, account_id) is not None


def is_within_limit(session: DbSession, subject: Subject, row: Any) -> bool:
    """Whether the account of this new pending row has no more of them than one account may. Its own transaction counts,
    and every other that comes to this point waits for its end."""
    count_alone(session, row.account_id, subject.name)
    model = states_of(subject).model
    of_account = select(func.count()).select_from(model).where(model.account_id == row.account_id)
    pending = session.execute(of_account.where(getattr(model, states_of(subject).column) == PENDING)).scalar_one()
    return bool(pending <= settings().open_submissions_per_account)


def note(session: DbSession, subject: Subject, subject_id: Any, what: str, actor: str, **detail: Any) -> None:
    """Write a history row that moves no state: `what` happened, by `actor`."""
    write_history(session, subject.name, str(subject_id), f"{subject.event}.{what}", actor=actor, detail=detail)


def begin(session: DbSession, subject: Subject, row: Any, actor: str = "person") -> None:
    """A row was made: its history begins, in the state that it has, with the id of the request that asked for it."""
    state = getattr(row, states_of(subject).column)
    what = f"{subject.event}.requested"
    write_history(session, subject.name, str(row.id), what, moved_to=state, actor=actor, detail=detail_of_request())


def move(session: DbSession, subject: Subject, row: Any, target: str, actor: str, **detail: Any) -> None:
    """Move a locked row to another state. Raises IllegalMove where its machine does not allow that."""
    states = states_of(subject)
    current = getattr(row, states.column)
    states.machine.check(current, target)
    setattr(row, states.column, target)
    write_history(
        session,
        subject.name,
        str(row.id),
        f"{subject.event}.moved",
        moved_from=current,
        moved_to=target,
        actor=actor,
        detail=detail,
    )


def end(
    session: DbSession,
    subject: Subject,
    row: Any,
    target: str,
    notification: str,
    actor: str = "worker",
    **detail: Any,
) -> None:
    """Move a row to a final state and enqueue the notification that says so."""
    row.finished_at, row.notification = NOW, notification
    move(session, subject, row, target, actor, **detail, notification=notification)
    notify(session, subject, row)


def notify(session: DbSession, subject: Subject, row: Any, notification_id: UUID | None = None) -> None:
    """Enqueue the notification that the row names, once a cycle. A given id is that of one whose row was lost.

    Without anybody to send it to there is none, and a human has to reach the person: by the case that every failure
    opens, else by one of its own.
    """
    assert subject.compose is not None and row.notification is not None
    content = subject.compose(session, row)
    if not is_addressed(content):
        note(session, subject, row.id, "nobody_to_notify", "worker", notification=row.notification)
        if getattr(row, states_of(subject).column) != FAILED:
            details = {"notification": row.notification, **NOT_INFORMED}
            open_case(session, "notification_undeliverable", subject.name, str(row.id), details)
        row.notification = None
        return
    enqueue_notification(
        session,
        subject.name,
        str(row.id),
        row.notification,
        row.cycle,
        content,
        notification_id=notification_id,
        synthetic_on=getattr(row, "synthetic_on", None),
    )


def fail(
    session: DbSession,
    subject: Subject,
    row: Any,
    notification: str,
    kind: str,
    details: dict[str, Any],
    **detail: Any,
) -> None:
    """Given up or refused: the state, the notification that says so and the case, together.

    The case names a newer submission that takes its place.
    """
    end(session, subject, row, FAILED, notification, case=kind, **detail)
    newer = subject.newer(session, row)
    named = {"newer": str(newer)} if newer else {}
    open_case(session, kind, subject.name, str(row.id), {**details, **named, **not_informed(row)})


def not_informed(row: Any) -> dict[str, str]:
    """What the case of a failed row has to say, if its person could not be written to."""
    return NOT_INFORMED if row.notification is None else {}


def reopen_subject(
    session: DbSession, subject: Subject, subject_id: str, actor: str, *, although_superseded: bool = False
) -> None:
    """An operator's move: failed → pending and a new cycle of notifications. Its case stays open until it succeeds.

    A subject that did not fail stays as it is. Raises IllegalMove where a newer one takes its place, unless the
    operator wants it `although_superseded`; Postgres may refuse even that.
    """
    if subject.reopen is not None:
        return subject.reopen(session, subject_id, actor)
    if subject.states is None:
        return None
    row = lock(session, subject, subject_id)
    if getattr(row, subject.states.column) != FAILED:
        return None
    check_whole(row)
    newer = subject.newer(session, row)
    if newer is not None and not although_superseded:
        raise IllegalMove(
            f"a newer one of the same person exists, {newer}, and both would be filed: close the case, or requeue it"
            " from the shell with --although-superseded"
        )
    resume(session, subject, row, actor, "it is taken up again", **({"although": str(newer)} if newer else {}))
    subject.reset(session, row)
    note_cases(session, subject.name, subject_id, "requeued", actor)
    return None


def check_whole(row: Any) -> None:
    """Raises IllegalMove for a row whose content was removed: nothing can be filed or sent from it any more."""
    if getattr(row, "emptied_at", None) is not None:
        raise IllegalMove("what it held was removed long after its end: the person has to request it anew")


def resume(session: DbSession, subject: Subject, row: Any, actor: str, why: str, **detail: Any) -> None:
    """Make a row of a final state pending again, with a new cycle of notifications."""
    # Before the move, which flushes the row: no pending row may have an end.
    row.finished_at, row.notification = None, None
    row.cycle += 1
    move(session, subject, row, PENDING, actor, **detail)
    supersede_notifications(session, subject.name, str(row.id), why, actor)


def correct(session: DbSession, subject: Subject, row: Any, target: str, notification: str, why: str) -> None:
    """A late answer shows that a final state is the wrong one: move the locked row and inform the person anew."""
    move(session, subject, row, target, "worker", why=why, notification=notification)
    tell_again(session, subject, row, notification, why)


def tell_again(session: DbSession, subject: Subject, row: Any, notification: str, why: str) -> None:
    """Withdraw what says otherwise and is not sent yet, and enqueue the notification that is true now."""
    supersede_notifications(session, subject.name, str(row.id), why, "worker")
    row.cycle, row.notification = row.cycle + 1, notification
    notify(session, subject, row)


def note_requested_again(session: DbSession, subject: Subject, row: Any) -> None:
    """The person came back after a failure: the owner of the case should know."""
    row.asked_again = type(row).asked_again + 1
    note(session, subject, row.id, "asked_again", "person")
    note_cases(session, subject.name, str(row.id), "the person requested it again", "person")
