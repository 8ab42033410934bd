"""A person before the pages of `sandbox/site`, in a browser without scripts: follows links, fills in and sends forms.

Every page that comes is checked as a screen reader would meet it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import requests

from tests.pages import check_page


def live_through(url: str, seconds: float) -> None:
    """A claim, an intent to file, a form and travel pay, each through something that goes wrong, to the phone.

    Each ending has so many seconds to come to pass.
    """
    person = Person(url, seconds)
    through_an_outage(person)
    a_date_that_counts(person)
    a_form_with_documents(person)
    travel_pay_while_nobody_answers(person)


def through_an_outage(person: Person) -> None:
    person.go("/").press("Be Ben Okafor")
    assert person.heading == "Check in"
    person.press("Continue", last_name="Somebody-Else")
    assert "We could not match that name" in person.said
    assert person.page.get_element_by_id("last_name").get("value") == "Somebody-Else"
    person.press("Continue", last_name="Okafor").press("Continue", demographicsUpToDate="yes")
    assert person.page.xpath("//*[@id='errors']//a/@href") == ["#nextOfKinUpToDate", "#emergencyContactUpToDate"]
    person.press("Continue", nextOfKinUpToDate="no", emergencyContactUpToDate="yes")
    person.press("Take the travel claim system away")
    person.press("Finish check-in", wants_travel="yes", travelled="yes")
    assert "We have your travel claim" in person.said and "It is broken." not in person.said
    assert "It is broken." in person.page.text_content() and person.phone == "Nothing has arrived yet."
    person.follow("My submissions").follow("For the appointment on").press("Mend the travel claim system")
    person.until(lambda: "We filed your travel claim" in person.phone)
    assert "Your travel claim is filed" in person.said
    person.language = "es"
    assert "Su solicitud de viaje está presentada" in person.go("?lang=es").said
    person.language = "en"
    person.go("?lang=en")


def a_date_that_counts(person: Person) -> None:
    person.go("/").press("Be Pia Sorensen")
    # A page does not wait for a slow look: until it is over, nobody is told of a date.
    person.until(lambda: "Your intent to file is on record." in person.said)
    assert "Days left to send your form: 26" in person.said
    person.go("/").press("Be Tess Moreau").press("Make today the day that counts")
    assert "Call VA at 800-698-2411" in person.said and "keep a note of today's date" in person.said


def a_form_with_documents(person: Person) -> None:
    person.go("/").press("Be Viktor Amsel").press("Make today the day that counts").follow("Go on with form 526")
    person.press("Continue", remarks="Typed once.")
    assert person.page.get_element_by_id("remarks").text == "Typed once."
    person.press("Continue", condition="Hearing loss")
    person.press("Upload this file", files={"file": ("notes.docx", b"PK\x03\x04")}, kind="L023")
    assert "choose another file" in person.said
    person.press("Upload this file", files={"file": ("letter.txt", b"What the doctor wrote.\n")})
    person.follow("Continue")
    assert "letter.txt (Letter or other document)" in person.said and "Typed once." in person.said
    person.press("Send the form")
    person.until(lambda: "VA has your form." in person.said and "letter.txt" in person.said)
    assert "Form 526 for: Hearing loss" in person.follow("My submissions").said


def travel_pay_while_nobody_answers(person: Person) -> None:
    person.go("/").press("Be Xavier Boone").follow("Compare your contact details")
    assert len(person.page.xpath("//main//tbody/tr")) == 2
    [appointment] = person.go("/travel-pay").page.xpath("//section[1]//h3/a/@href")
    person.go(appointment).press("Take the travel pay service away")
    assert "This is how it was when it was last read" in person.said
    person.press("File this claim", agree="yes")
    assert "We have your travel pay claim and are filing it" in person.said
    assert "We have your travel pay claim" in person.follow("Travel pay").said
    person.follow("My submissions").press("Mend the travel pay service")
    person.until(lambda: "We filed your travel claim" in person.phone)


class Person:
    """One browser. `page` is the page that it shows, parsed, and `said` its text in one line."""

    def __init__(self, url: str, seconds: float, language: str = "en") -> None:
        self.url = url
        self.seconds = seconds
        self.language = language
        self.session = requests.Session()
        self.session.trust_env = False
        self.page: Any = None

    @property
    def said(self) -> str:
        return " ".join(self.page.xpath("//main")[0].text_content().split())

    @property
    def heading(self) -> str:
        return " ".join(self.page.findtext(".//h1").split())

    @property
    def phone(self) -> str:
        return " ".join(self.page.get_element_by_id("phone-messages").text_content().split())

    def go(self, place: str) -> Person:
        return self._show(self.session.get(urljoin(self.url, place), timeout=60))

    def follow(self, text: str) -> Person:
        [link, *_] = [each for each in self.page.xpath("//a[@href]") if text in each.text_content()]
        return self.go(link.get("href"))

    def press(self, text: str, files: dict[str, tuple[str, bytes]] | None = None, **fields: str) -> Person:
        """Fill in the form that has this button, and press it. A field that the form does not have is an error."""
        [button, *_] = [each for each in self.page.xpath("//button") if text in each.text_content()]
        form = next(button.iterancestors("form"))
        assert set(fields) <= set(form.fields.keys()), (fields, list(form.fields.keys()))
        sent = {**dict(form.form_values()), **fields}
        if button.get("name"):
            sent[button.get("name")] = button.get("value")
        place = urljoin(self.url, form.get("action") or "")
        origin = {"Origin": "/".join(self.url.split("/")[:3])}
        reply = self.session.request(form.method, place, data=sent, files=files or None, headers=origin, timeout=120)
        return self._show(reply)

    def until(self, condition: Callable[[], bool]) -> None:
        """Reload the page until the condition holds, as often as somebody would who waits for it."""
        deadline = time.monotonic() + self.seconds
        while not condition():
            assert time.monotonic() < deadline, (self.said, self.phone)
            time.sleep(1)
            self.go(self.url)

    def _show(self, reply: requests.Response) -> Person:
        """A page that says that it could not be read just now is read again, as it says."""
        deadline = time.monotonic() + self.seconds
        while reply.status_code == 503 and time.monotonic() < deadline:
            assert check_page(reply.content, self.language).xpath("//*[@id='trouble']")
            time.sleep(1)
            reply = self.session.get(reply.url, timeout=60)
        assert "text/html" in reply.headers["Content-Type"], (reply.status_code, reply.headers)
        assert reply.status_code < 500, (reply.status_code, reply.text[:2000])
        self.url = reply.url
        self.page = check_page(reply.content, self.language)
        return self
