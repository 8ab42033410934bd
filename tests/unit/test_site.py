"""The words of the person's pages: the same in both languages, for everything that the product says; and pages that
need no product, which every browser, phone and screen reader can use.
"""

from __future__ import annotations

import hashlib
import re
from itertools import product as every
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient

from flaskapp.check_in.routes import SESSION_PROBLEMS
from flaskapp.form526 import states as form526
from flaskapp.form526.words import words_of as words_of_document
from flaskapp.intent_to_file import states as intent_to_file
from flaskapp.travel_claims import states as travel_claims
from flaskapp.travel_pay import contacts, shapes
from flaskapp.travel_pay import states as travel_pay
from flaskapp.travel_pay.models import CONTACT_FIELDS
from sandbox.server import free_port
from sandbox.site import check_in, product, progress, world
from sandbox.site import form526 as form_pages
from sandbox.site.app import create_site
from sandbox.site.people import BEGINNINGS, stories
from sandbox.site.words import FOLDER, LANGUAGES, Words, catalogue
from sandbox.upstreams.cast import EVERYBODY
from sandbox.upstreams.travel_pay_past import STATUSES
from tests.pages import check_page

SITE = FOLDER.parent
ADA = EVERYBODY[0]
# Codes that mean the same wherever they come from are the product's; these are the pages' own.
OWN_CODES = {"CHECK_IN", "CHECK_IN_FAILED", "FILE"}


# -- one catalogue for each language -------------------------------------------------


def test_both_languages_have_the_same_texts_with_the_same_gaps() -> None:
    english, spanish = (catalogue(language) for language in LANGUAGES)
    assert english.keys() == spanish.keys()
    gaps = re.compile(r"{\w+}")
    assert [key for key in english if set(gaps.findall(english[key])) != set(gaps.findall(spanish[key]))] == []
    assert [key for texts in (english, spanish) for key, text in texts.items() if not text.strip()] == []


def test_every_text_is_used_and_every_text_that_is_used_is_there() -> None:
    sources = "\n".join(path.read_text() for path in (*SITE.glob("*.py"), *SITE.glob("templates/*.html")))
    literal = set(re.findall(r"""["']([a-z_]+(?:\.\w+)+)["']""", sources)) & catalogue("en").keys()
    assert catalogue("en").keys() - literal - made_of_parts() == set()
    called = set(re.findall(r"""\b(?:t|say|words\(\))\(["']([\w.]+)["'][,)]""", sources))
    assert (called | made_of_parts()) - catalogue("en").keys() == set()


def made_of_parts() -> set[str]:
    """The keys that the pages put together."""
    said = {f"{flow}.{what}" for flow, drawn in progress.DRAWN.items() for what in drawn}
    kinds = {*product.KINDS.values(), "away", "refused"}
    words = {shapes.humanised(status) for status in STATUSES} | {
        shapes.RECEIVED,
        shapes.NOT_FILED,
        shapes.NOT_CONFIRMED,
        shapes.ON_FILE,
    }
    parts = {
        "said": {*said, "contacts.agree", "contacts.differ", *(f"problem.{name}" for name in SESSION_PROBLEMS)},
        "next": said,
        "worry": said,
        "step": {f"{flow}.{name}" for flow, names in progress.STEPS.items() for name in names}
        | {f"is_{state}" for state in (progress.DONE, progress.NOW, progress.LATER, progress.TROUBLE)},
        "story": {story.key for told in stories().values() for story in told},
        "start": {f"group_{begins}" for _, begins in BEGINNINGS}
        | {f"step_{number}{end}" for number in (1, 2, 3) for end in ("", "_text")},
        "trouble": {*kinds, "too_large", "ours"},
        "do": {*kinds, "too_large", "ours", *codes_with_advice()},
        "kind": set(form_pages.KINDS),
        "contact": set(CONTACT_FIELDS),
        "status": {word.lower().replace(" ", "_") for word in words if word},
        "world": {f"{what}_{upstream}" for what in ("name", "does") for upstream in world.UPSTREAMS},
        "site": {f"language_{language}" for language in LANGUAGES},
        "phone": {"sms", "email"},
        "missing": {*check_in.IDENTITY, *check_in.QUESTIONS, "appointment", "wants_travel", "travelled"}
        | {"condition", "kind", "file", "agree"},
        "check_in": set(check_in.QUESTIONS),
        "date": {f"month_{number}" for number in range(1, 13)},
        "form.step": {"itf", "condition", "documents", "review"},
    }
    return {f"{table}.{name}" for table, names in parts.items() for name in names}


def codes_with_advice() -> set[str]:
    """Codes of the product's errors for which the pages have words of their own."""
    codes = {key.removeprefix("do.") for key in catalogue("en") if key.startswith("do.") and key[3:].isupper()}
    sources = "".join(path.read_text() for path in (SITE.parent.parent / "flaskapp").rglob("*.py"))
    assert [code for code in codes - OWN_CODES if f'"{code}"' not in sources] == []
    return codes


# -- everything that the product says --------------------------------------------------


def sentences_of_documents() -> dict[str, str]:
    """Every sentence about a document, by nothing but itself."""
    steps = (form526.CLAIMS_EVIDENCE, form526.BENEFITS_GATEWAY, form526.MISSING, form526.UPLOAD, form526.NO_WORD)
    choices = every(form526.DOCUMENT.states, (None, "at"), steps, (False, True), form526.KINDS)
    names = ("lighthouse_status", "uploaded_at", "failed_step", "unconfirmed", "kind")
    found = {words_of_document(SimpleNamespace(**dict(zip(names, each, strict=True)))) for each in choices}
    return dict.fromkeys(found, "document")


def sentences() -> dict[str, str]:
    """Every sentence that the pages are sent about a state, and the flow that it is about."""
    pay = every(travel_pay.TRAVEL_PAY_CLAIM.states, travel_pay.STEPS, (False, True))
    return {
        **{travel_claims.WORDS[state]: "claim" for state in travel_claims.TRAVEL_CLAIM.states},
        travel_claims.UNCONFIRMED_WORDS: "claim",
        **{intent_to_file.WORDS[state]: "itf" for state in intent_to_file.VALID},
        intent_to_file.UNCHECKED_WORDS: "itf",
        intent_to_file.USED_WORDS: "itf",
        **{form526.SUBMISSION_WORDS[state]: "form" for state in form526.SUBMISSION.states},
        form526.SUBMISSION_UNCONFIRMED: "form",
        **sentences_of_documents(),
        **{travel_pay.words_of(*each): "pay" for each in pay},
        contacts.AGREE: "contacts",
        contacts.DIFFER: "contacts",
        **{detail: "problem" for _, _, _, detail in SESSION_PROBLEMS.values()},
    }


def test_every_sentence_of_the_product_has_words_beside_it_in_both_languages() -> None:
    """A state, or a sentence, that is new in the product fails here until the pages know what to say about it."""
    said = {text: key for key, text in catalogue("en").items() if key.startswith("said.")}
    assert sentences() == {text: key.split(".")[1] for text, key in said.items()}
    spanish = Words("es")
    for sentence, flow in sentences().items():
        shown = spanish.said(sentence)
        assert shown.key is not None and shown.language == "es" and shown.text != sentence
        if flow in progress.DRAWN:
            drawn = progress.progress_of(spanish, flow, sentence, None)
            assert drawn.follows and drawn.worry and len(drawn.steps) == len(progress.STEPS[flow])


def test_a_sentence_that_nobody_knows_is_shown_as_it_is_and_drawn_as_no_more_than_received() -> None:
    drawn = progress.progress_of(Words("es"), "claim", "Something new happened.", "renewed")
    assert (drawn.happened.text, drawn.happened.language) == ("Something new happened.", "en")
    assert [step.state for step in drawn.steps] == ["done", "now", "later", "later"] and drawn.follows == ""


def test_what_is_final_is_never_drawn_as_under_way_and_a_text_never_as_arrived() -> None:
    final = {f"claim.{state}" for state in travel_claims.TRAVEL_CLAIM.final}
    final |= {f"form.{state}" for state in form526.SUBMISSION.final}
    final |= {f"pay.{state}" for state in travel_pay.TRAVEL_PAY_CLAIM.final}
    assert final & progress.UNDER_WAY == set()
    assert {drawn[-1] for drawn in progress.DRAWN["claim"].values()} == {progress.LATER, progress.NOW}


# -- pages ------------------------------------------------------------------------------


@pytest.fixture
def alone() -> FlaskClient:
    """The pages with nothing behind them: no product, no outside world."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    upstreams = dict.fromkeys(("sign_in", "va_notify", "control"), nowhere)
    return create_site(nowhere, upstreams).test_client()


def test_pages_can_be_used_by_everybody_and_say_what_to_do_when_nothing_answers(alone: FlaskClient) -> None:
    for language in LANGUAGES:
        page = check_page(alone.get(f"/?lang={language}").data, language)
        assert len(page.xpath("//button")) == len(EVERYBODY)
        assert {person.name for person in EVERYBODY} == set(page.xpath("//h3/text()"))
        check_page(alone.get("/outside-world").data, language)
    assert check_page(alone.get("/nothing-here").data, "es").findtext(".//h1") == Words("es")("trouble.title")
    place, typed = f"/check-in/{ADA.uuid}", {"last_name": "O'Dell", "month": "2", "day": "30", "year": "1951"}
    page = check_page(alone.post(place, data=typed, follow_redirects=True).data, "es")
    assert page.xpath("//*[@id='errors']//a/@href") == ["#day"]
    page = check_page(alone.post(place, data=typed | {"day": "3"}, follow_redirects=True).data, "es")
    assert Words("es")("trouble.away") in page.xpath("string(//*[@id='trouble'])")
    assert page.xpath("//input[@id='last_name']/@value") == ["O'Dell"]


def test_a_look_for_news_takes_nothing_from_the_page_that_a_person_reads(alone: FlaskClient) -> None:
    place, look = f"/check-in/{ADA.uuid}", {"X-Requested-With": "fetch"}
    alone.get("/?lang=es")
    assert alone.post(place, data={}).status_code == 303
    seen = check_page(alone.get(f"{place}?lang=en", headers=look).data, "en")
    assert seen.xpath("//*[@id='errors']") == []
    assert check_page(alone.get(place).data, "es").xpath("//*[@id='errors']")


def test_headers_are_strict_and_forms_of_other_pages_are_refused(alone: FlaskClient) -> None:
    page = alone.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "data:" not in policy
    cookie = page.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert not re.search(rb"<style|style=|<script>|\son\w+=", page.data)
    assert alone.post("/outside-world", headers={"Origin": "http://evil.example"}).status_code == 403
    assert alone.post("/outside-world", data={"upstream": "btsss", "scenario": "format the disk"}).status_code == 400
    sent = {"upstream": "btsss", "scenario": "ok", "next": "//evil.example"}
    assert alone.post("/outside-world", data=sent).headers["Location"] == "/outside-world"


def test_the_design_system_is_the_one_that_is_named() -> None:
    folder = SITE / "static" / "uswds"
    stylesheet = (folder / "css" / "uswds.min.css").read_bytes()
    assert hashlib.sha256(stylesheet).hexdigest() in (folder / "VENDORED.md").read_text()
    left_out = {"hero.jpg"}
    named = {Path(name.decode()) for name in re.findall(rb"url\(\.\./(img/[^)]+)\)", stylesheet)}
    assert {name.name for name in named if not (folder / name).exists()} == left_out
