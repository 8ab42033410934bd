"""The pages' date maths in `dates.py` against JavaScript itself, which `dates.js` asks: `Date` and `Intl` of Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import dates

NODE = shutil.which("node")
ZONES = [
    *("America/Chicago", "America/New_York", "America/Denver", "America/Phoenix", "America/Los_Angeles"),
    *("America/Anchorage", "Pacific/Honolulu", "Pacific/Guam", "America/Puerto_Rico", "Asia/Manila", "Asia/Kolkata"),
    *("America/St_Johns", "Pacific/Apia", "UTC"),
]
# Around midnights, the ends of months and years, a leap day, and both changes of the clocks in America.
INSTANTS = [
    *("2026-01-24T01:30:00Z", "2026-01-31T23:59:59.999Z", "2026-02-28T06:00:00Z", "2028-02-29T05:59:59Z"),
    *("2026-03-08T06:30:00Z", "2026-03-08T07:59:00Z", "2026-03-08T09:30:00Z", "2026-05-31T04:00:00Z"),
    *("2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T09:15:00Z", "2026-12-31T22:00:00Z"),
    "2027-01-01T04:59:59.500Z",
]
# How our answers write an instant, and how others do.
TEXTS = [
    *("2026-01-24T01:30:00Z", "2026-01-24T01:30:00.000Z", "2026-01-24T01:30:00.000+00:00", "2026-01-24T01:30Z"),
    *("2026-01-23T17:30:00.000-08:00", "2026-01-24T11:15:00+05:45", "2026-01-24T01:30:00.123456+00:00"),
    *("2026-01-24T01:30:00", "2026-01-24T01:30:00,000Z", "20260124T013000Z", "2026-W04-6T01:30:00Z"),
    *("2026-01-24T01:30:61Z", "2026-13-01T00:00:00Z", "2026-01-24T01:30:00+25:00", "2026-01-24T01:30:00-08"),
    *("", "yesterday", "2026-01-24T01:30:00+00:00:30", "2026-01-24X01:30:00Z"),
]
# JavaScript reads them, but not as they are meant.
NOT_MEANT = ["2026-01-24", "2026-02-30T01:30:00Z"]
STATIONS = ["442", "530", "668", "757GA", "983GC", "999"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def calls() -> Iterator[tuple[str, list[Any], Any]]:
    """Each call by name, as JavaScript is asked, and what `dates.py` answers."""
    for text in TEXTS:
        yield "instant", [text], milliseconds(text)
    for text, zone in product(INSTANTS, ZONES):
        yield "in_zone_of_facility", [text, zone], dates.in_zone_of_facility(text, zone)
        yield "day_shown_by_r2", [text, zone], dates.day_shown_by_r2(text, zone)
        yield "past_three_months", [text, zone], list(dates.past_three_months(moment(text), zone))
    for text, now, zone in product(INSTANTS, INSTANTS, ZONES):
        yield "days_since", [text, now, zone], dates.days_since(text, moment(now), zone)
        yield "is_live_itf", [text, now, zone], dates.is_live_itf(text, moment(now), zone)
    for text, now, station, kind in product([*INSTANTS, None], INSTANTS, STATIONS, ("clinic", "telehealth")):
        for zone in ("Pacific/Guam", "America/Chicago"):
            past = dates.is_past(text, station, kind, moment(now), zone)
            yield "is_past", [text, station, kind, now, zone, dates.STATIONS], past


def milliseconds(text: str) -> int | None:
    """Since 1970; None where `dates.instant` takes the text for no instant."""
    try:
        return int(dates.instant(text).timestamp() * 1000)
    except ValueError:
        return None


@pytest.mark.parametrize("text", NOT_MEANT)
def test_what_javascript_reads_as_something_else_is_refused(text: str) -> None:
    assert milliseconds(text) is None


@pytest.mark.skipif(NODE is None, reason="needs Node.js, which nothing else here does")
def test_the_pages_dates_are_those_of_javascript() -> None:
    made = list(calls())
    asked = json.dumps([[name, values] for name, values, _ in made])
    script = Path(__file__).with_name("dates.js")
    run = subprocess.run([NODE or "", script], input=asked, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    assert len(answers) == len(made)
    differing = [(*call, answer) for call, answer in zip(made, answers, strict=True) if call[2] != answer]
    assert differing == []
    for name in ("is_past", "is_live_itf"):
        assert {expected for called, _, expected in made if called == name} == {True, False}
