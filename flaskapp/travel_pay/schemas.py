"""Schemas of what callers of travel pay send: dates and pages in the query, ids in the path, a claim in the body."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from flask import request
from marshmallow import ValidationError, fields, validate

from flaskapp.travel_pay import places, reads, shapes
from flaskapp.travel_pay.service import RequestedAppointment
from flaskapp.upstreams.transport.ids import station_of
from flaskapp.web.errors import Problem
from flaskapp.web.json_body import Body, Truth, believable

WALL_CLOCK = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?)(\.\d+)?(Z|[+-]\d{2}:?\d{2})?")
UTC_ENDINGS = ("Z", "+00:00", "+0000")
DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(T.*)?")
# An empty value counts as left out.
A_DATE = {"type": "string", "anyOf": [{"format": "date"}, {"maxLength": 0}]}
PAGING = [
    {"name": name, "in": "query", "schema": schema, "description": text}
    for name, schema, text in (
        (
            "start_date",
            A_DATE,
            "First day of the appointments, `2031-03-04`; together with `end_date`. A time is dropped.",
        ),
        ("end_date", A_DATE, "Last day of the appointments."),
        ("page_number", {"type": "integer", "minimum": 1}, "One page only, from 1; needs both dates."),
        ("page_size", {"type": "integer", "minimum": 1, "maximum": 100}, "Items on a page; 100 if left out."),
    )
]


WHOSE_TIME = (
    "We could not read whether this is the time of one of your appointments. Send the local time that the appointment"
    " shows, or try again in a minute."
)
CLAIM_ID, DOCUMENT_ID = (
    {"name": name, "in": "path", "schema": {"type": "string", "format": "uuid"}} for name in ("claim_id", "document_id")
)


def requested_range() -> tuple[date | None, date | None, int | None, int]:
    start, end = requested_date("start_date"), requested_date("end_date")
    if (start is None) != (end is None):
        raise bad("start_date and end_date go together.")
    if start is not None and end is not None and start > end:
        raise bad("start_date has to be on or before end_date.")
    page, size = requested_number("page_number", 10_000), requested_number("page_size", reads.PAGE_SIZE)
    if start is None and page is not None:
        raise bad("page_number needs start_date and end_date.")
    return start, end, page, size or reads.PAGE_SIZE


def requested_date(name: str) -> date | None:
    text = request.args.get(name)
    if not text:
        return None
    found = DATE.fullmatch(text)
    try:
        if found:
            return date.fromisoformat(found[1])
    except ValueError:
        pass
    raise bad(f"{name} has to be a date like 2031-03-04.")


def requested_number(name: str, most: int) -> int | None:
    text = request.args.get(name)
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise bad(f"{name} has to be a number from 1 to {most}.")
    return int(text)


def bad(detail: str) -> Problem:
    return Problem(400, "Invalid field value", detail, "103")


def checked_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise bad("The id has to be a UUID.") from None


@dataclass(frozen=True)
class PostedTime:
    """The clock in the text, naive. `is_utc`: it may be the instant that an appointment's `start` is served as."""

    written: datetime
    is_utc: bool


class AppointmentTime(fields.Field):
    """A date and time whose wall clock counts: an offset is dropped, as the front end means it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> PostedTime:
        found = WALL_CLOCK.fullmatch(value) if isinstance(value, str) else None
        try:
            if found:
                return PostedTime(believable(datetime.fromisoformat(found[1])), found[4] in UTC_ENDINGS)
        except ValueError:
            pass
        raise ValidationError("has to be a date and time like 2031-03-04T09:30:00.")


def wall_clock_of(account_id: uuid.UUID, posted: PostedTime, station: str) -> datetime:
    """The wall clock of the person's appointment at this instant and station; else the clock in the text.

    Our pages post local times. Only for what looks like a served `start` is upstream read, while the person waits.
    """
    zone = places.zone_of(station)
    if zone is None:
        return posted.written
    there = posted.written.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    found, whole = reads.appointments(account_id, reads.Limit(account_id))
    clocks = {shapes.starts_at(each) for each in found if station_of(each.facility_id) == station}
    if there not in clocks and not whole:
        raise Problem(502, detail=WHOSE_TIME)
    return there if there in clocks else posted.written


def optional_text() -> fields.String:
    return fields.String(load_default=None, allow_none=True, validate=validate.Length(max=200))


class MileageClaimBody(Body):
    appointment_date_time = AppointmentTime(
        required=True,
        metadata={
            "type": "string",
            "pattern": WALL_CLOCK.pattern,
            "description": "An appointment's `localStartTime` or `start` as it was served. Of any other time the wall"
            " clock counts, and an offset is dropped.",
        },
    )
    facility_station_number = fields.String(
        required=True, validate=validate.Regexp(r"[0-9A-Za-z]{3,8}\Z", error="has to be a station number like 983.")
    )
    facility_name = optional_text()
    appointment_type = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=64))
    appointment_name = optional_text()
    is_complete = Truth(load_default=None, allow_none=True)


def read_request(account_id: uuid.UUID, loaded: dict[str, Any]) -> RequestedAppointment:
    """Raises Problem while Travel Pay cannot say whether a posted UTC time is an appointment's instant."""
    station, posted = loaded["facility_station_number"].upper(), loaded["appointment_date_time"]
    return RequestedAppointment(
        starts_at=wall_clock_of(account_id, posted, station) if posted.is_utc else posted.written,
        station=station,
        facility_name=loaded["facility_name"],
        appointment_type=loaded["appointment_type"],
        appointment_name=loaded["appointment_name"],
        is_complete=loaded["is_complete"],
    )
