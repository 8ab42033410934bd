"""Contact details that mean the same in different forms, and masks that distinguish two and show nothing whole."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from flaskapp.travel_pay.contacts import (
    masked_address,
    masked_email,
    masked_phone,
    plain_address,
    plain_email,
    plain_phone,
)
from flaskapp.upstreams.contact import Contact

HOME = Contact("12 N Old Mill Ave, Apt 4", "Springfield", "IL", "62701", "US", "5555550142", "ada.marlow@example.com")
NOTHING = Contact(None, None, None, None, None, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"street": "12 NORTH OLD MILL AVENUE APARTMENT 4"},
        {"street": " 12 n. old mill ave.,apt 4 ", "city": "SPRINGFIELD "},
        {"street": "12 N Old Mill Avenue", "city": "Apt 4 Springfield"},
        {"zip": "62701-1234"},
        {"state": "il", "country": "USA"},
        {"country": "U.S.A."},
        {"country": "United States"},
        {"country": None},
    ],
)
def test_one_address_can_be_written_in_many_ways(changes: dict[str, str | None]) -> None:
    assert plain_address(replace(HOME, **changes)) == plain_address(HOME)


@pytest.mark.parametrize(
    "changes",
    [
        {"street": "13 N Old Mill Ave, Apt 4"},
        {"street": "12 N Old Mill Ave, Apt 5"},
        {"street": "12 S Old Mill Ave, Apt 4"},
        {"street": None},
        {"city": "Peoria"},
        {"state": "WI"},
        {"zip": "62702"},
        {"zip": None},
        {"country": "CA"},
    ],
)
def test_another_address_stays_different(changes: dict[str, str | None]) -> None:
    assert plain_address(replace(HOME, **changes)) != plain_address(HOME)


@pytest.mark.parametrize(
    "phone",
    ["(555) 555-0142", "+15555550142", "1-555-555-0142", "555.555.0142", " 555 555 0142 "],
)
def test_one_number_can_be_written_in_many_ways(phone: str) -> None:
    assert plain_phone(replace(HOME, phone=phone)) == plain_phone(HOME)


@pytest.mark.parametrize("phone", ["5555550143", "+445555550142", "555-0142", None])
def test_another_number_stays_different(phone: str | None) -> None:
    assert plain_phone(replace(HOME, phone=phone)) != plain_phone(HOME)


def test_an_e_mail_address_is_the_same_with_any_capitals() -> None:
    assert plain_email(replace(HOME, email=" Ada.Marlow@Example.COM ")) == plain_email(HOME)
    assert plain_email(replace(HOME, email="ada.m@example.com")) != plain_email(HOME)


def test_missing_details_are_equal_and_have_no_mask() -> None:
    assert {plain(NOTHING) for plain in (plain_address, plain_phone, plain_email)} == {""}
    assert {mask(NOTHING) for mask in (masked_address, masked_phone, masked_email)} == {None}
    blank = Contact(" ", "", " ", "", "US", "", "  ")
    assert (masked_phone(blank), masked_email(blank)) == (None, None)
    assert plain_address(replace(NOTHING, country="US")) == ""


def test_a_person_recognises_their_own_details_by_the_mask() -> None:
    assert masked_phone(HOME) == "***-***-0142"
    assert masked_email(HOME) == "a***@e***.com"
    assert masked_address(HOME) == "1*** N*** O*** M*** A*** A*** 4*** S***, IL 627**"


def shown(mask: str | None) -> list[str]:
    """The pieces of a masked text that can be read."""
    return [piece for piece in re.split(r"[^A-Za-z0-9]+", mask or "") if piece]


@pytest.mark.parametrize(
    ("email", "phone", "zip_code"),
    [
        ("ada@localhost", "5550142", "62701"),
        ("not an address at all", "12345", "627"),
        ("x", "0", "6270"),
        ("@example.com", "555555014255", "SW1A 1AA"),
        ("ada@mail.example.museum", "ext", "NW1"),
    ],
)
def test_no_mask_shows_a_value_whole_however_odd_it_is(email: str, phone: str, zip_code: str) -> None:
    odd = replace(HOME, email=email, phone=phone, zip=zip_code)
    assert {piece for piece in shown(masked_email(odd)) if len(piece) > 1} <= {"com", "museum"}
    digits = re.sub(r"\D", "", phone)
    assert not digits or digits not in shown(masked_phone(odd))
    assert zip_code not in (masked_address(odd) or "")


def test_an_address_in_part_is_masked_in_part() -> None:
    assert masked_address(replace(NOTHING, state="IL")) == "IL **"
    assert masked_address(replace(NOTHING, city="Peoria", zip="61602")) == "P***, 616**"
