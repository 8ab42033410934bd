"""The legal calendar: days of 23, 24 and 25 hours, leap days and year ends, written as a table.

Reading a row: at `timestamp` (UTC) the clocks of `zone` show the day `legal_date`, which ends at `midnight` (UTC); what
was requested then ends at `year_after` (UTC).
"""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest

from flaskapp.clock import a_year_after, legal_date, next_midnight

TABLE = """\
what,zone,timestamp,legal_date,midnight,year_after
a day in winter,America/Chicago,2031-01-15T12:00:00,2031-01-15,2031-01-16T06:00:00,2032-01-15T12:00:00
a day in summer,America/Chicago,2031-07-15T12:00:00,2031-07-15,2031-07-16T05:00:00,2032-07-15T12:00:00
the last minute of a day,America/Chicago,2031-03-05T05:59:00,2031-03-04,2031-03-05T06:00:00,2032-03-05T05:59:00
its last instant,America/Chicago,2031-03-05T05:59:59.999,2031-03-04,2031-03-05T06:00:00,2032-03-05T05:59:59.999
midnight itself,America/Chicago,2031-03-05T06:00:00,2031-03-05,2031-03-06T06:00:00,2032-03-05T06:00:00
the first minute of a day,America/Chicago,2031-03-05T06:01:00,2031-03-05,2031-03-06T06:00:00,2032-03-05T06:01:00
the day of 23 hours begins,America/Chicago,2031-03-09T06:00:00,2031-03-09,2031-03-10T05:00:00,2032-03-09T06:00:00
before its lost hour,America/Chicago,2031-03-09T07:59:59,2031-03-09,2031-03-10T05:00:00,2032-03-09T07:59:59
after its lost hour,America/Chicago,2031-03-09T08:00:00,2031-03-09,2031-03-10T05:00:00,2032-03-09T09:00:00
the day of 25 hours begins,America/Chicago,2031-11-02T05:00:00,2031-11-02,2031-11-03T06:00:00,2032-11-02T05:00:00
its double hour the first time,America/Chicago,2031-11-02T06:30:00,2031-11-02,2031-11-03T06:00:00,2032-11-02T06:30:00
its double hour the second time,America/Chicago,2031-11-02T07:30:00,2031-11-02,2031-11-03T06:00:00,2032-11-02T06:30:00
the last hour of 25,America/Chicago,2031-11-03T05:30:00,2031-11-02,2031-11-03T06:00:00,2032-11-03T04:30:00
at a time next year has twice,America/Chicago,2031-11-07T07:30:00,2031-11-07,2031-11-08T06:00:00,2032-11-07T06:30:00
at a time next year lacks,America/Chicago,2031-03-14T07:30:00,2031-03-14,2031-03-15T05:00:00,2032-03-14T08:30:00
a leap day,America/Chicago,2028-02-29T18:00:00,2028-02-29,2028-03-01T06:00:00,2029-02-28T18:00:00
the last minute of a leap day,America/Chicago,2028-03-01T05:59:00,2028-02-29,2028-03-01T06:00:00,2029-03-01T05:59:00
the day before a leap day,America/Chicago,2028-02-28T18:00:00,2028-02-28,2028-02-29T06:00:00,2029-02-28T18:00:00
28 February with a leap day ahead,America/Chicago,2027-02-28T18:00:00,2027-02-28,2027-03-01T06:00:00,2028-02-28T18:00:00
new year's eve,America/Chicago,2032-01-01T05:59:59,2031-12-31,2032-01-01T06:00:00,2033-01-01T05:59:59
new year,America/Chicago,2032-01-01T06:00:00,2032-01-01,2032-01-02T06:00:00,2033-01-01T06:00:00
far west,Pacific/Honolulu,2031-03-05T09:59:00,2031-03-04,2031-03-05T10:00:00,2032-03-05T09:59:00
far east,Asia/Manila,2031-03-04T16:01:00,2031-03-05,2031-03-05T16:00:00,2032-03-04T16:01:00
east coast,America/New_York,2031-03-05T04:59:00,2031-03-04,2031-03-05T05:00:00,2032-03-05T04:59:00
a day whose midnight is skipped,America/Havana,2031-03-08T12:00:00,2031-03-08,2031-03-09T05:00:00,2032-03-08T12:00:00
universal time,UTC,2031-03-04T23:59:59,2031-03-04,2031-03-05T00:00:00,2032-03-04T23:59:59
"""
ROWS = list(csv.DictReader(StringIO(TABLE)))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["what"])
def test_a_timestamp_has_its_legal_day_its_midnight_and_its_anniversary(row: dict[str, str]) -> None:
    zone, timestamp = ZoneInfo(row["zone"]), at(row["timestamp"])
    assert legal_date(timestamp, zone) == date.fromisoformat(row["legal_date"])
    assert next_midnight(timestamp, zone) == at(row["midnight"])
    assert a_year_after(timestamp, zone) == at(row["year_after"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["what"])
def test_answers_are_in_utc_and_do_not_depend_on_the_zone_the_timestamp_is_written_in(row: dict[str, str]) -> None:
    zone, timestamp = ZoneInfo(row["zone"]), at(row["timestamp"])
    for of in (next_midnight, a_year_after):
        assert of(timestamp, zone).tzinfo is UTC
        assert of(timestamp.astimezone(ZoneInfo("Australia/Lord_Howe")), zone) == of(timestamp, zone)
    assert legal_date(timestamp.astimezone(ZoneInfo("Asia/Tokyo")), zone) == legal_date(timestamp, zone)


def test_every_hour_of_four_years_belongs_to_the_day_whose_midnight_is_next() -> None:
    """With a leap year among them. Every day has 24 hours, except two in a year."""
    zone, timestamp = ZoneInfo("America/Chicago"), datetime(2027, 1, 1, 6, tzinfo=UTC)
    lengths: dict[date, int] = {}
    while timestamp < datetime(2031, 1, 1, 6, tzinfo=UTC):
        day, midnight = legal_date(timestamp, zone), next_midnight(timestamp, zone)
        assert timestamp < midnight and legal_date(midnight, zone) == day + timedelta(days=1)
        assert legal_date(midnight - timedelta(microseconds=1), zone) == day
        lengths[day] = lengths.get(day, 0) + 1
        timestamp += timedelta(hours=1)
    assert len(lengths) == 1461
    assert [(day.isoformat(), hours) for day, hours in lengths.items() if hours != 24] == [
        ("2027-03-14", 23),
        ("2027-11-07", 25),
        ("2028-03-12", 23),
        ("2028-11-05", 25),
        ("2029-03-11", 23),
        ("2029-11-04", 25),
        ("2030-03-10", 23),
        ("2030-11-03", 25),
    ]
