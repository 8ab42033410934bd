"""Synthetic submissions: one a day through each chosen flow, filed for a test person just as a person's is; whether the
last one was told in time; and the case of one that was not.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import exists, select, text

from flaskapp import subjects
from flaskapp.cases.models import Case
from flaskapp.cases.service import close_cases, open_case
from flaskapp.check_in.service import Identity
from flaskapp.config import SYNTHETIC_DAY, Config
from flaskapp.current import database_now, flows, settings
from flaskapp.db import DbSession
from flaskapp.form526 import service as forms
from flaskapp.intent_to_file import service as itfs
from flaskapp.intent_to_file.states import COMPENSATION
from flaskapp.subjects import FAILED, states_of
from flaskapp.travel_claims import service as travel_claims
from flaskapp.travel_pay import service as travel_pay
from flaskapp.web.json_body import parse

LATE_KIND = "synthetic_late"
# On the facility's clock, the day before: by the time it is filed, that appointment is over everywhere.
APPOINTMENT_AT = time(9, 30)

# Only a row that this transaction made: what the person had before is a submission of their own.
MARK = "UPDATE {table} SET synthetic_on = :day WHERE id = :id AND {began} = outbox_now() AND synthetic_on IS NULL"
# The last day whose submission came to a good end that its person was told of; when that of the day that was due last
# was filed; and the last one whose time is over.
STANDING = """
    WITH told AS (
        SELECT s.synthetic_on, COALESCE(n.sent_at, n.finished_at) AS told_at
          FROM {table} s JOIN notifications n ON n.subject_type = '{name}' AND n.subject_id = s.id::text
               AND n.kind = s.notification AND n.cycle = s.cycle AND n.state IN ('sent', 'delivered')
         WHERE s.synthetic_on IS NOT NULL AND s.{column} = ANY(:ends) ORDER BY s.synthetic_on DESC LIMIT 1
    ), past AS (
        SELECT synthetic_on, id::text FROM {table} WHERE synthetic_on IS NOT NULL AND {began} <= :until
         ORDER BY synthetic_on DESC LIMIT 1
    )
    SELECT told.synthetic_on AS told_of, told.told_at, past.synthetic_on AS past, past.id,
           EXISTS (SELECT 1 FROM {table} WHERE synthetic_on = :owed AND {began} > :until) AS has_time
      FROM (SELECT) AS always LEFT JOIN told ON true LEFT JOIN past ON true
"""


class NobodyToFileFor(Exception):
    """The configured account is nobody in VA's records: no flow promises it anything."""


@dataclass(frozen=True)
class Standing:
    """Where a flow stands: `told_at` is when the last person was told of a good end (aware; None: never), `late`
    whether the last one that is due was not, and `subject_id` that one, where it was filed at all."""

    flow: str
    told_at: datetime | None
    late: bool
    subject_id: str | None


# -- filing -------------------------------------------------------------------


def person(config: Config) -> dict[str, str]:
    assert config.synthetic_person is not None
    return config.synthetic_person


def account(config: Config) -> uuid.UUID:
    return uuid.UUID(person(config)["account"])


def request_travel_claim(session: DbSession, config: Config, day: date) -> Any:
    who = person(config)
    identity = Identity(who["icn"], who.get("phone"), who["station"], who.get("facility_type", "vista"))
    return travel_claims.request_check_in_claim(session, identity, day - timedelta(days=1))


def request_travel_pay_claim(session: DbSession, config: Config, day: date) -> Any:
    starts_at = datetime.combine(day - timedelta(days=1), APPOINTMENT_AT)
    who = person(config)
    requested = travel_pay.RequestedAppointment(starts_at, who["station"], who.get("facility_name"))
    return travel_pay.request_travel_pay_claim(session, account(config), requested)


def request_itf(session: DbSession, config: Config, day: date) -> Any:
    """Nobody has two valid ones, so that of the day before makes way."""
    itfs.expire_synthetic(session, account(config))
    return itfs.request_itf(session, account(config), COMPENSATION)


def request_form(session: DbSession, config: Config, day: date) -> Any:
    form = parse(json.dumps(config.synthetic_form).replace(SYNTHETIC_DAY, day.isoformat()).encode())
    return forms.request_submission(session, account(config), form)


REQUESTS: dict[str, Callable[[DbSession, Config, date], Any]] = {
    travel_claims.SUBJECT: request_travel_claim,
    travel_pay.SUBJECT: request_travel_pay_claim,
    itfs.SUBJECT: request_itf,
    forms.SUBJECT: request_form,
}


def file_of_today(session: DbSession, flow: str) -> bool:
    """File the day's submission of this flow, once its time has come and unless it was filed: however often, and by
    however many at once. False where nothing was filed. Raises NobodyToFileFor, or as the request itself does."""
    config, now = settings(), database_now(session)
    day, subject = now.date(), flows().submissions[flow]
    states = states_of(subject)
    filed = exists().where(states.model.synthetic_on == day)
    if now.time() < time.fromisoformat(config.synthetic_at) or session.execute(select(filed)).scalar_one():
        return False
    row = REQUESTS[flow](session, config, day)
    if row is None:
        raise NobodyToFileFor(flow)
    session.flush()
    mark = text(MARK.format(table=states.table, began=states.began))
    marked: Any = session.execute(mark, {"day": day, "id": row.id})
    if marked.rowcount:
        subjects.note(session, subject, row.id, "synthetic", "scheduler", day=day.isoformat())
    return bool(marked.rowcount)


# -- whether it works ---------------------------------------------------------


def standings(session: DbSession) -> Iterator[Standing]:
    """Where each chosen flow stands."""
    config, now = settings(), database_now(session)
    until = now - timedelta(hours=config.synthetic_late_hours)
    owed = last_due(until, time.fromisoformat(config.synthetic_at))
    for flow in config.synthetic_flows:
        states = states_of(flows().submissions[flow])
        query = STANDING.format(table=states.table, name=flow, column=states.column, began=states.began)
        ends = sorted(states.machine.final - {FAILED})
        found = session.execute(text(query), {"ends": ends, "owed": owed, "until": until}).one()
        # One that was filed later than it was due, after an outage or when this was switched on, has its time, too.
        expected = found.past if found.has_time else owed
        late = expected is not None and (found.told_of is None or found.told_of < expected)
        yield Standing(flow, found.told_at, late, found.id if found.past == expected else None)


def last_due(now: datetime, at: time) -> date:
    """The day of the last submission that was due by then."""
    return now.date() if now.time() >= at else now.date() - timedelta(days=1)


def keep_cases(session: DbSession) -> None:
    """Open a case for each that is late, once; close those of flows that are late no more."""
    for standing in standings(session):
        about = select(Case).filter_by(kind=LATE_KIND, subject_type=standing.flow)
        if standing.late and standing.subject_id is not None:
            if session.execute(about.filter_by(subject_id=standing.subject_id)).first() is None:
                owner = settings().synthetic_owner
                open_case(session, LATE_KIND, standing.flow, standing.subject_id, owner=owner)
        elif not standing.late:
            close_all(session, session.execute(about.where(Case.closed_at.is_(None))).scalars())


def close_all(session: DbSession, cases: Iterable[Case]) -> None:
    for case in cases:
        resolution = "its person was told, or that of a later one"
        close_cases(session, case.subject_type, case.subject_id, resolution, kinds=[LATE_KIND])
