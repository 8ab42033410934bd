"""The effective date is law: the time of the request, or an earlier one that upstream holds, never a later one.

Where upstream can only date it later, a human is notified at once, and the person sees the date of the request.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.exc import IntegrityError

from flaskapp.db import db
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import Signed, creates, itfs, mails, on_file, pass_time, row_of, sign_in, travel_to
from tests.integration.steps import command, reconfigure, sweep
from tests.product import ADA, Product

BEN, CARLA = DEFAULT_CAST[1:3]
# 4 March 2031, and its end, in America/Chicago.
EVENING = datetime(2031, 3, 5, 5, 30, tzinfo=UTC)
MIDNIGHT = datetime(2031, 3, 5, 6, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def shown_dates(person: Signed) -> tuple[datetime, datetime]:
    """The first and the last day on the person's page."""
    (shown,) = person.shown()
    return datetime.fromisoformat(shown["creationDate"]), datetime.fromisoformat(shown["expirationDate"])


def whole_milliseconds(timestamp: datetime) -> datetime:
    return timestamp.replace(microsecond=timestamp.microsecond // 1000 * 1000)


def cases_of(product: Product, person: Signed) -> dict[str, Any]:
    """Every case of a person's ITF, by kind: None while it is open, otherwise the reason it was closed."""
    query = "SELECT kind, resolution FROM cases WHERE subject_id = :id"
    return {row.kind: row.resolution for row in product.rows(query, id=str(row_of(product, person)["id"]))}


def body_to(product: Product, person: Signed) -> str:
    """The only e-mail that this person has received."""
    product.phone(2)
    (mail,) = [mail for mail in product.phone() if mail["to"] == person.veteran.email]
    return f"{mail['template']}: {mail['body']}"


@pytest.mark.parametrize(
    ("zone", "late"), [("America/Chicago", True), ("America/Los_Angeles", False), ("UTC", False)], ids=str
)
def test_an_itf_is_dated_late_only_when_created_after_the_legal_midnight(
    product: Product, zone: str, late: bool
) -> None:
    """Requested a minute before midnight in Chicago and created two minutes later: another day in that zone only."""
    reconfigure(product, legal_time_zone=ZoneInfo(zone))
    product.control.set("lighthouse", "refuse")
    travel_to(product, MIDNIGHT - MINUTE)
    before = sign_in(product)
    before.ask()
    travel_to(product, MIDNIGHT + MINUTE)
    product.control.clear("lighthouse")
    after = sign_in(product, BEN)
    after.ask()
    product.work()
    row, (filed,) = row_of(product, before), on_file(product)
    assert (row["state"], row["effective_date"]) == ("confirmed", row["asked_at"])
    assert cases_of(product, before) == ({"dated_late": None} if late else {})
    assert cases_of(product, after) == {}
    begins, ends = shown_dates(before)
    assert begins == whole_milliseconds(row["asked_at"]) < MIDNIGHT
    assert ends <= min(datetime.fromisoformat(filed["expires_at"]), begins.replace(year=2032) + SECOND)
    if late:
        assert "itf.confirmed_late: We received your request for an intent to file on March 4, 2031." in body_to(
            product, before
        )
        assert "recorded on March 5, 2031" in body_to(product, before)
    else:
        assert body_to(product, before).startswith("itf.confirmed: ")
    assert body_to(product, after).startswith("itf.confirmed: ")


def test_a_late_date_is_a_case_with_what_a_human_needs(product: Product) -> None:
    product.control.set("lighthouse", "refuse")
    travel_to(product, MIDNIGHT - MINUTE)
    person = sign_in(product)
    person.ask()
    travel_to(product, MIDNIGHT + timedelta(days=2))
    product.control.clear("lighthouse")
    product.work()
    itf_id = row_of(product, person)["id"]
    (details,) = product.rows("SELECT details FROM cases")[0]
    assert details == {
        "asked_on": "2031-03-04",
        "upstream_dates_it": "2031-03-07",
        "evidence": f"flask itf evidence {itf_id}",
    }
    result = command(product, *details["evidence"].split()[1:])
    assert (result.exit_code, "2031-03-04 in America/Chicago" in result.output) == (0, True)


def test_an_itf_pending_at_its_first_legal_midnight_is_one_case_until_it_is_confirmed(product: Product) -> None:
    """Ada's is created late. Ben's had been filed elsewhere on that day, so his day is kept after all."""
    travel_to(product, EVENING)
    elsewhere = {"icn": BEN.icn, "created_at": (EVENING - MINUTE).isoformat()}
    product.control.call("POST", "lighthouse", "itfs", json=elsewhere)
    product.control.set("lighthouse", "refuse")
    ada, ben = sign_in(product), sign_in(product, BEN)
    ada.ask(), ben.ask()
    travel_to(product, MIDNIGHT - 30 * SECOND)
    sweep(product)
    assert product.cases() == []
    travel_to(product, MIDNIGHT)
    carla = sign_in(product, CARLA)
    carla.ask()
    sweep(product)
    assert product.cases() == ["past_midnight"] * 2
    (case,) = product.rows("SELECT id FROM cases WHERE subject_id = :id", id=str(row_of(product, ben)["id"]))
    assert command(product, "cases", "close", str(case.id), "--resolution", "seen").exit_code == 0
    for _ in range(2):
        sweep(product)
    assert cases_of(product, carla) == {}
    assert product.value("SELECT count(*) FROM cases") == 2
    product.control.clear("lighthouse")
    pass_time(product, minutes=5)
    product.work()
    assert cases_of(product, ada) == {"past_midnight": "confirmed (created)", "dated_late": None}
    assert cases_of(product, ben) == {"past_midnight": "seen"}
    assert sorted(mails(product, 3)) == ["itf.confirmed", "itf.confirmed", "itf.confirmed_late"]
    assert command(product, "audit").exit_code == 0


def test_a_person_may_be_identified_only_after_midnight(product: Product) -> None:
    """The account service was away over midnight: the creation is enqueued late, and done all the same."""
    travel_to(product, EVENING)
    product.control.set("accounts", "refuse")
    person = sign_in(product)
    person.ask()
    travel_to(product, MIDNIGHT + MINUTE)
    sweep(product)
    assert cases_of(product, person) == {"past_midnight": None}
    product.control.clear("accounts")
    product.work()
    assert cases_of(product, person) == {"past_midnight": "confirmed (created)", "dated_late": None}
    assert row_of(product, person)["effective_date"] == row_of(product, person)["asked_at"] < MIDNIGHT


@pytest.mark.parametrize(("age", "left"), [(MINUTE, timedelta(days=365)), (timedelta(days=364), 30 * MINUTE)], ids=str)
def test_an_itf_filed_earlier_elsewhere_is_adopted_with_its_dates(
    product: Product, age: timedelta, left: timedelta
) -> None:
    """It ends when upstream says, even within the hour; then the person may request another one."""
    travel_to(product, EVENING)
    dates = {"created_at": (EVENING - age).isoformat(), "expires_at": (EVENING + left).isoformat()}
    filed = product.control.call("POST", "lighthouse", "itfs", json={"icn": ADA.icn, **dates})
    person = sign_in(product)
    person.ask()
    product.work()
    row = row_of(product, person)
    begins, ends = (datetime.fromisoformat(filed[name]) for name in ("created_at", "expires_at"))
    assert shown_dates(person) == (row["effective_date"], row["expires_at"]) == (begins, ends)
    assert EVENING <= row["asked_at"] < EVENING + MINUTE
    assert (creates(product), product.cases(), mails(product)) == (0, [], ["itf.confirmed"])
    travel_to(product, ends)
    again = sign_in(product)
    assert (again.shown(), again.post().status_code, len(itfs(product))) == ([], 202, 2)


def test_postgres_refuses_an_effective_date_after_the_request(product: Product) -> None:
    sign_in(product).ask()
    later = "UPDATE intents_to_file SET effective_date = asked_at + interval '1 microsecond'"
    with pytest.raises(IntegrityError, match="ck_intents_to_file_effective_only_earlier"), db.engine.begin() as session:
        session.exec_driver_sql(later)
    with db.engine.begin() as session:
        session.exec_driver_sql("UPDATE intents_to_file SET effective_date = asked_at - interval '1 day'")
