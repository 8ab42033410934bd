"""The forms that we make hold every answer of a person, and what is said about an assault is only in its own form."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pikepdf import Operator, Pdf, String, parse_content_stream

from flaskapp.form526.pdf.making import bdd_instructions, form_0781, form_0781a
from flaskapp.form526.pdf.text import composed, humanised, printable
from flaskapp.form526.ptsd import Ptsd, ptsd_parts
from flaskapp.web.inflection import to_snake, with_keys

INCIDENT = {"personalAssault": False, "incidentDescription": "An ambush", "incidentDate": "1992-01-01"}
ASSAULT = {"personalAssault": True, "incidentDescription": "A night in the barracks"}


def words_on(pdf: bytes) -> str:
    """All printed text, without the blanks that line breaks remove or add."""
    with Pdf.open(io.BytesIO(pdf)) as opened:
        shown = [
            bytes(operand).decode("cp1252")
            for page in opened.pages
            for operands, operator in parse_content_stream(page)
            if operator == Operator("Tj")
            for operand in operands
            if isinstance(operand, String)
        ]
    return "".join("".join(shown).split())


def holds(pdf: bytes, text: str) -> bool:
    return "".join(text.split()) in words_on(pdf)


def form(**answers: Any) -> dict[str, Any]:
    return {"form0781": answers}


# -- which forms --------------------------------------------------------------


@pytest.mark.parametrize(
    "given_form",
    [
        {},
        {"form0781": None},
        {"form0781": {}},
        {"form0781": []},
        {"form0781": " "},
        form(incidents=[]),
        form(incidents=[{}, None], remarks="  ", otherInformation=[""], place={"city": None}),
    ],
)
def test_a_form_without_answers_about_ptsd_needs_neither(given_form: dict[str, Any]) -> None:
    assert ptsd_parts(given_form) == Ptsd(None, None)


@pytest.mark.parametrize(
    ("answers", "needs_0781", "needs_0781a"),
    [
        ({"incidents": [INCIDENT]}, True, False),
        ({"incidents": [ASSAULT]}, False, True),
        ({"incidents": [INCIDENT, ASSAULT]}, True, True),
        ({"incidents": [ASSAULT], "remarks": "r"}, False, True),
        ({"remarks": "r"}, True, False),
        ({"incidents": [], "otherInformation": ["o"]}, True, False),
        ({"additionalSecondaryIncidentText": "s"}, False, True),
        ({"incidents": [ASSAULT], "additionalIncidentText": "t"}, True, True),
        ({"incidents": [INCIDENT], "additionalSecondaryIncidentText": "s"}, True, True),
        ({"incidents": [{"personalAssault": "true", "place": "x"}]}, False, True),
        ({"incidents": [{"place": "x"}]}, True, False),
        ({"incidents": ["said in words"]}, True, False),
        ({"incidents": ASSAULT}, False, True),
        ({"events": [{"agency": False}]}, True, False),
    ],
)
def test_the_answers_decide_which_forms_are_made(answers: dict[str, Any], needs_0781: bool, needs_0781a: bool) -> None:
    for spelled in (form(**answers), with_keys(form(**answers), to_snake)):
        parts = ptsd_parts(spelled)
        assert (parts.form_0781 is not None, parts.form_0781a is not None) == (needs_0781, needs_0781a)


def test_answers_that_are_no_object_are_still_printed() -> None:
    parts = ptsd_parts({"form0781": "all in one sentence"})
    assert parts.form_0781 is not None and parts.form_0781a is None
    assert holds(form_0781(parts.form_0781), "all in one sentence")


def test_what_is_said_about_an_assault_is_only_in_its_own_form() -> None:
    parts = ptsd_parts(
        form(
            incidents=[INCIDENT, ASSAULT],
            remarks="Both know this",
            additionalIncidentText="More ambushes",
            additionalSecondaryIncidentText="More nights",
        )
    )
    about_all, about_assault = form_0781(parts.form_0781 or {}), form_0781a(parts.form_0781a or {})
    for here, elsewhere, texts in (
        (about_all, about_assault, ("An ambush", "1992-01-01", "More ambushes")),
        (about_assault, about_all, ("A night in the barracks", "More nights")),
    ):
        for text in texts:
            assert holds(here, text) and not holds(elsewhere, text)
        assert holds(here, "Both know this")


# -- what is printed ----------------------------------------------------------


def test_every_answer_is_printed_under_its_name() -> None:
    pdf = form_0781(
        {
            "incidents": [{"unit_assigned_dates": {"from": "1990", "to": None}, "medals": 0}, {"injured": False}],
            "other_information": ["Restless", "Awake at night"],
            "something_new": {"view:vaFileNumber": True},
            "long": "word " * 3_000 + "the end " + "x" * 5_000,
        }
    )
    for text in (
        "VA Form 21-0781",
        "Incidents (2) No. 1",
        "Unit assigned dates From: 1990 To: (no answer) Medals: 0",
        "Injured: No",
        "Other information (2) No. 1: Restless No. 2: Awake at night",
        "Something new VA file number: Yes",
        "the end " + "x" * 100,
        "page 4",
    ):
        assert holds(pdf, text), text
    assert not holds(pdf, "About this print")
    with Pdf.open(io.BytesIO(pdf)) as opened:
        assert str(opened.docinfo["/CreationDate"]).startswith("D:20240101000000")
        assert str(opened.docinfo["/Title"]).startswith("VA Form 21-0781: Statement")


def test_both_forms_and_the_instructions_have_their_titles() -> None:
    assert holds(
        form_0781a({}), "VA Form 21-0781a Statement in support of claim for service connection for PTSD secondary"
    )
    assert holds(bdd_instructions(), "Separation Health Assessment")


def test_the_same_answers_make_the_same_bytes() -> None:
    answers = {"remarks": "Zoë", "incidents": [{"a": 1}]}
    assert form_0781(answers) == form_0781(dict(answers))
    assert bdd_instructions() == bdd_instructions()
    assert form_0781(answers) != form_0781({**answers, "remarks": "Zoe"})


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Zoë — “quoted” … 5 €", "Zoë — “quoted” … 5 €"),
        ("Zoe\u0308", "Zoë"),
        ("Nguyễn Văn", "Nguyen Van"),
        ("😀", "[grinning face]"),
        ("王", "[U+738B]"),
        ("Łódź, Đurđa", "Lódz, Durda"),
        ("a\u200d\u202eb\x00\x7f\xad", "ab"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree   four"),
        ("\ud800", "[U+D800]"),
        ("**bold** {nb} --x-- \\( \\)", "**bold** {nb} --x-- \\( \\)"),
    ],
)
def test_letters_that_cannot_be_printed_are_replaced(typed: str, shown: str) -> None:
    assert printable(composed(typed)) == shown
    pdf = form_0781({"remarks": typed})
    assert holds(pdf, f"Remarks: {shown}")
    assert holds(pdf, "About this print") == (composed(typed) != shown)


def test_no_depth_of_nesting_stops_a_form() -> None:
    deep: Any = "at the bottom"
    for _ in range(1_100):
        deep = {"a": deep}
    assert holds(form_0781({"deep": deep}), "at the bottom")


@settings(max_examples=12, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=9), st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=20), st.lists)
    )
)
def test_no_answers_stop_a_form(answers: dict[str, Any]) -> None:
    assert form_0781(answers).startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("unitAssignedDates", "Unit assigned dates"),
        ("unit_assigned_dates", "Unit assigned dates"),
        ("view:serviceMember", "Service member"),
        ("vaFileNumber", "VA file number"),
        ("", "(no name)"),
        ("_", "_"),
    ],
)
def test_a_key_becomes_words(key: str, name: str) -> None:
    assert humanised(key) == name
