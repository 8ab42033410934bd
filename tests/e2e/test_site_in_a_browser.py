"""The person's pages in a real Chromium, through outages that are flipped beside them: with scripts, in Spanish and
English, without a fault that axe-core finds; without scripts; and one flow by the keyboard alone.

One browser and one product serve all of it. The product works when a story says so: what a page says before is what it
says for as long as an outage lasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator

from flaskapp.db import transaction
from jobs import housekeeping
from outbox import breakers
from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedValkey
from sandbox.site.app import create_site
from sandbox.site.serve import serving
from sandbox.site.words import Words
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.serve import Upstreams
from tests.e2e.chromium import BY_SIZE, check_at, give_axe, needs_chromium, opened, reach
from tests.e2e.visit import Visit, named
from tests.integration.restore_steps import product_on
from tests.integration.steps import listening
from tests.product import Product, eventually
from tests.unit.pdfs import LOCKED_PDF, WORD

# On a machine that does five other things.
pytestmark = [needs_chromium, pytest.mark.timeout(900)]

NOBODY_LISTENS = "SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL AND upstream = :upstream"
IDS = re.compile(r"[0-9a-f-]{20,}")
# What the page that sends a file says meanwhile, kept for the page after it.
KEEP_PROGRESS = """() => new MutationObserver(() => sessionStorage.setItem('progress', JSON.stringify(
    [document.querySelector('#upload-progress').value, document.querySelector('[data-progress-words]').textContent])))
    .observe(document.querySelector('[data-progress-words]'), { childList: true })"""
LETTER = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"What the doctor wrote.\n" * 50}
LOCKED = {"name": "locked.pdf", "mimeType": "application/pdf", "buffer": LOCKED_PDF}
NOT_TAKEN = {"name": "notes.docx", "mimeType": "application/msword", "buffer": b"PK\x03\x04"}


@pytest.fixture(scope="module")
def product(
    migrated: TemplateDatabase, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path
) -> Iterator[Product]:
    """The product in this process, for all tests of this file; documents are asked about whenever a story says so."""
    fakes.fakes.reset()
    settings = {"DOCUMENT_POLL_MINUTES": "0.01"}
    with migrated.copied() as url, product_on(url, redis_server.url, fakes, secrets_folder, **settings) as built:
        built.redis.flushall()
        built.control.turn("documents", step_seconds=0)
        yield built


@pytest.fixture(scope="module")
def site(product: Product) -> Iterator[str]:
    with listening(product.app) as url, serving(create_site(url, product.fakes), 0) as pages:
        yield pages


@dataclass
class Story(Visit):
    """A visit with the product behind it. `people` are those who live through the stories, by what these are about."""

    product: Product
    scripts: bool
    people: dict[str, str]
    met: set[str] = field(default_factory=set)

    def again(self) -> None:
        """Without scripts a page that does not wait for anything is looked at again."""
        if not self.scripts:
            self.page.reload()

    def gets(self, person: Veteran, text: str) -> None:
        """It has reached this person, and is beside the page."""
        addresses = (person.phone, person.email)
        eventually(lambda: [each for each in self.product.phone() if each["to"] in addresses and text in said(each)])
        self.again()
        self.hears(text)

    def errors(self) -> Locator:
        found = self.page.locator("#errors, #trouble")
        found.wait_for()
        if self.scripts:
            assert found.evaluate("(each) => each === document.activeElement")
        return found

    def check(self, *, once: bool = False) -> None:
        """No fault; at three widths when this page is met first; and once in English, which takes another look, so not
        when it is something that is said only `once`."""
        if not self.scripts:
            return
        page, place = self.page, self.page.url.split("?")[0]
        give_axe(page)
        check_at(page, 320, {}, (place, self.say.language))
        for width in (390, 1280) if self.first(place) else ():
            check_at(page, width, BY_SIZE, (place, self.say.language))
        if not once and self.first(f"{place}?lang=en"):
            page.goto(f"{place}?lang=en")
            assert page.locator("html").get_attribute("lang") == "en"
            give_axe(page)
            for width, rules in ((1280, {}), (390, BY_SIZE), (320, BY_SIZE)):
                check_at(page, width, rules, (place, "en"))
            page.goto(f"{place}?lang={self.say.language}")

    def first(self, place: str) -> bool:
        """Whether it is met for the first time, whosever page it is."""
        kind, before = IDS.sub("", place), len(self.met)
        self.met.add(kind)
        return len(self.met) > before

    def until_away(self, upstream: str) -> None:
        """The product has met the outage and waits for its end."""
        self.product.work(until=lambda: self.product.value(NOBODY_LISTENS, upstream=upstream))

    def mend(self, upstream: str) -> None:
        """Its refusals asked for a minute of quiet, for which no story waits: an operator has it tried at once."""
        super().mend(upstream)
        with transaction() as session:
            breakers.probe_now(session, upstream, actor="operator", reason="it is back")


def said(message: dict[str, Any]) -> str:
    return f"{message['subject'] or ''} {message['body']}"


SPANISH = {"claim": "Ben Okafor", "form": "Quentin Abara", "pay": "Xavier Boone"}
ENGLISH = {"claim": "Carla Nguyen", "form": "Rosa Delgado", "pay": "Abel Thorne"}


@pytest.fixture(params=["with scripts", "without scripts"], scope="module")
def story(request: pytest.FixtureRequest, site: str, browser: Browser, product: Product) -> Iterator[Story]:
    scripts = request.param == "with scripts"
    with opened(browser, site, java_script_enabled=scripts, viewport={"width": 390, "height": 900}) as page:
        yield Story(page, Words("es" if scripts else "en"), product, scripts, SPANISH if scripts else ENGLISH)


def test_a_check_in_and_its_claim_through_an_outage(story: Story) -> None:
    person = story.become(story.people["claim"], "check_in.identity")
    story.page.locator("#last_name").fill("Somebody-Else")
    story.press("form.continue")
    assert story.say.said("We could not match that name and date of birth.").text in story.errors().inner_text()
    story.check(once=True)
    story.page.locator("#last_name").fill(person.last_name)
    story.press("form.continue", "check_in.details")
    story.answer("demographicsUpToDate")
    story.press("form.continue")
    assert len(story.errors().get_by_role("link").all()) == 2
    story.check(once=True)
    story.answer("nextOfKinUpToDate", "form.no")
    story.answer("emergencyContactUpToDate")
    story.press("form.continue", "check_in.travel")
    story.take_away("btsss")
    story.check()
    story.answer("wants_travel")
    story.answer("travelled", "check_in.travelled_text")
    story.press("check_in.finish", "claim.title")
    story.until_away("btsss")
    story.sees("said.claim.pending", "next.claim.pending", "worry.claim.pending", "step.is_now")
    story.check()
    story.follow("nav.mine")
    story.sees("said.claim.pending", "next.claim.pending")
    story.mend("btsss")
    story.product.work()
    story.again()
    story.sees("said.claim.submitted", "next.claim.submitted")
    story.gets(person, "We filed your travel claim")
    story.check()


def test_a_date_that_counts_and_a_form_whose_documents_are_followed(story: Story) -> None:
    person = story.become(story.people["form"], "itf.title")
    story.sees("itf.none")
    story.check()
    story.take_away("lighthouse")
    story.press("itf.create")
    story.sees("said.itf.unchecked", "itf.end_not_known")
    story.check()
    story.mend("lighthouse")
    story.product.work()
    story.sees("said.itf.confirmed", "itf.file_by")
    story.gets(person, "intent to file")
    story.check()
    add_documents(story)
    story.follow("form.continue", "form.review")
    story.reads("letter.txt")
    story.take_away("form526")
    story.check()
    story.press("form.submit", "form.sent")
    story.until_away("form526")
    story.sees("said.form.pending", "next.form.pending")
    story.check()
    story.mend("form526")
    story.product.work()
    story.sees("said.form.accepted", "said.document.received")
    eventually(lambda: poll(story.product))
    story.sees("said.document.done")
    story.gets(person, "Your claim number: ")
    story.follow("nav.mine")
    story.sees("said.form.accepted", "said.itf.used", "said.document.done")
    story.check()


def add_documents(story: Story) -> None:
    """One that is not taken, one that needs its password, and one that is taken at once."""
    story.follow("itf.go_on", "form.condition")
    story.press("form.continue")
    assert len(story.errors().get_by_role("link").all()) == 1
    story.check(once=True)
    story.page.locator("#condition").fill("Hearing loss")
    story.press("form.continue", "form.documents")
    story.page.locator("#kind").wait_for()
    story.press("form.upload")
    assert len(story.errors().get_by_role("link").all()) == 2
    story.check(once=True)
    story.page.locator("#kind").select_option("L023")
    story.page.locator("#file").set_input_files([NOT_TAKEN])
    story.press("form.upload")
    story.reads(story.say("do.FILE"))
    story.check(once=True)
    story.page.locator("#file").set_input_files([LOCKED])
    story.press("form.upload")
    story.reads(story.say("form.kept", name="locked.pdf"))
    story.check(once=True)
    story.page.locator("#password").fill(WORD)
    story.press("form.upload")
    added(story, "locked.pdf")
    story.page.locator("#kind").select_option("L015")
    story.page.locator("#file").set_input_files([LETTER])
    if story.scripts:
        story.page.evaluate(KEEP_PROGRESS)
    story.press("form.upload")
    added(story, "letter.txt")
    if story.scripts:
        assert story.page.evaluate("JSON.parse(sessionStorage.progress)") == [100, story.say("form.checking")]
    story.check()


def added(story: Story, name: str) -> None:
    """It is in the form. A refused file has the same button."""
    story.page.locator("main ul.usa-list li", has_text=name).wait_for()


def poll(product: Product) -> bool:
    """Ask about the documents; whether each of them is where it has to be."""
    housekeeping.poll_documents()
    product.work()
    return not product.value("SELECT count(*) FROM form526_document_submissions WHERE lighthouse_status <> 'done'")


def test_travel_pay_is_filed_while_its_system_is_away(story: Story) -> None:
    person = story.become(story.people["pay"], "travel.title")
    story.check()
    story.page.locator("section h3 a").first.click()
    story.at("travel.appointment")
    story.press("travel.file")
    assert story.say("missing.agree") in story.errors().inner_text()
    story.check(once=True)
    story.take_away("travel_pay")
    story.sees("travel.as_it_was")
    story.page.locator("label[for='agree']").click()
    story.press("travel.file", "travel.claim")
    story.until_away("travel_pay")
    story.sees("said.pay.pending", "next.pay.pending")
    story.check()
    story.follow("travel.title")
    story.sees("said.pay.pending", "trouble.away")
    story.check()
    story.follow("nav.mine")
    story.sees("said.pay.pending", "next.pay.pending")
    story.mend("travel_pay")
    story.product.work()
    story.again()
    story.sees("status.claim_submitted")
    story.gets(person, "We filed your travel claim")
    story.follow("mine.to_travel", "travel.title")
    story.page.locator("#pay-claims h3 a").first.click()
    story.at("travel.claim")
    story.check()


def test_the_other_pages_in_both_languages(site: str, browser: Browser, product: Product) -> None:
    with opened(browser, site) as page:
        story = Story(page, Words("es"), product, True, {})
        abel = story.become("Abel Thorne", "travel.title")
        paid = page.locator("#pay-claims a[href*='/claims/']").last.get_attribute("href")
        link = f"/check-in/{abel.uuid}"
        for place in (
            "/",
            link,
            "/outside-world",
            "/travel-pay/contact-details",
            paid,
            f"{link}/done",
            "/nothing-here",
        ):
            page.goto(f"{place}?lang=es")
            story.check()


def test_a_claim_by_the_keyboard_alone(site: str, browser: Browser, product: Product) -> None:
    with opened(browser, site) as page:
        story = Story(page, Words("en"), product, True, {})
        ada = named("Ada Marlow")
        type_ = page.keyboard.press
        page.goto("/?lang=en")
        type_("Tab")
        assert page.evaluate("document.activeElement.textContent") == story.say("site.skip")
        type_("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        reach(page, f"form[action$='{ada.uuid}'] button")
        type_("Enter")
        story.at("check_in.identity")
        reach(page, "main form button")
        type_("Enter")
        story.at("check_in.details")
        for question in ("demographicsUpToDate", "nextOfKinUpToDate", "emergencyContactUpToDate"):
            reach(page, f"[name={question}]")
            type_("Space")
        type_("Enter")
        story.at("check_in.travel")
        type_("Enter")
        reach(page, "main form button")
        type_("Enter")
        story.errors()
        reach(page, "#errors a")
        type_("Enter")
        assert page.evaluate("document.activeElement.name") == "wants_travel"
        type_("Space")
        reach(page, "#travelled")
        type_("Space")
        reach(page, "main form button")
        type_("Enter")
        story.at("claim.title")
        product.work()
        story.sees("said.claim.submitted")
        story.gets(ada, "We filed your travel claim")
        reach(page, "main .site-actions a")
        type_("Enter")
        story.at("nav.mine")
