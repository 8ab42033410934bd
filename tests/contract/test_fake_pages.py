"""The pages of the sandbox: the veteran's phone and the switches, as people and programs read them."""

from __future__ import annotations

import pytest
import requests

from sandbox.faults import UPSTREAMS, Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.templates import EMAILS
from tests.contract.notify_wire import VALUES, Sender
from tests.contract.receiver import eventually


@pytest.fixture
def sender(http: requests.Session, upstreams: Upstreams) -> Sender:
    return Sender(http, upstreams)


@pytest.fixture(params=["control", "va_notify"])
def page(request: pytest.FixtureRequest, upstreams: Upstreams) -> str:
    return f"{upstreams[request.param]}/phone"


def test_an_empty_phone_says_so(http: requests.Session, page: str) -> None:
    assert "Nothing has arrived yet" in http.get(page).text
    assert http.get(f"{page}.json").json() == []


def test_a_text_arrives_as_the_person_reads_it_newest_first(
    http: requests.Session, sender: Sender, control: Control, page: str
) -> None:
    sender.ended(sender.text(personalisation=VALUES | {"claim_number": "1111"}).json()["id"])
    sender.ended(sender.text(personalisation=VALUES | {"claim_number": "2222"}).json()["id"])
    first, second = control.phone()
    assert "2222" in first["body"]
    assert "1111" in second["body"]
    text = http.get(page).text
    assert text.index("2222") < text.index("1111")
    assert with_habit("ok").name in text
    assert "((" not in text


def test_an_email_arrives_with_its_subject(http: requests.Session, sender: Sender, page: str) -> None:
    sender.ended(sender.email().json()["id"])
    assert "Your travel claim for Mar 04" in http.get(page).text


def test_an_email_about_an_intent_to_file_shows_its_subject_and_every_line(
    http: requests.Session, sender: Sender, page: str
) -> None:
    template, dates = EMAILS["itf.confirmed"], {"effective_date": "March 4, 2031", "expiration_date": "March 4, 2032"}
    sent = sender.email(template_id=template.id, personalisation=dates, email_address=with_habit("ok").email)
    sender.ended(sent.json()["id"])
    text = http.get(page).text
    assert f"<strong>{template.subject}</strong>" in text
    assert "Effective date: March 4, 2031\nFile your claim by: March 4, 2032\n" in text
    assert with_habit("ok").name in text


def test_the_phone_of_one_person_can_be_shown(http: requests.Session, sender: Sender, page: str) -> None:
    mine, other = with_habit("ok").phone, "+15555559876"
    for number in (mine, other):
        sender.ended(sender.text(phone_number=number).json()["id"])
    narrowed = http.get(f"{page}.json", params={"to": other}).json()
    assert [message["to"] for message in narrowed] == [other]
    assert str(mine) not in http.get(page, params={"to": other}).text


def test_an_undelivered_message_is_never_shown(sender: Sender, control: Control) -> None:
    ended = sender.ended(sender.text(phone_number=with_habit("blocked").phone).json()["id"])
    assert ended["status"] == "permanent-failure"
    assert control.phone() == []


def test_a_delivered_message_stays_whatever_is_reported_later(sender: Sender, control: Control) -> None:
    sent = sender.text().json()
    sender.ended(sent["id"])
    control.call("POST", "va_notify", "callbacks", json={"id": sent["id"], "status": "permanent-failure"})
    assert [message["status"] for message in control.phone()] == ["permanent-failure"]


def test_markup_in_a_message_is_shown_as_text(http: requests.Session, sender: Sender, page: str) -> None:
    sent = sender.text(personalisation=VALUES | {"claim_number": "<script>alert(1)</script>"}).json()
    sender.ended(sent["id"])
    assert "<script>" not in http.get(page).text


def test_the_switch_page_shows_what_is_broken_and_repairs_it(
    http: requests.Session, upstreams: Upstreams, control: Control
) -> None:
    home = f"{upstreams['control']}/"
    assert [name for name in UPSTREAMS if f"<h2>{name}</h2>" not in http.get(home).text] == []
    answer = http.post(f"{home}scenario", data={"upstream": "btsss", "scenario": "reply lost"})
    assert answer.status_code == 200
    assert "the reply is lost, 1 more" in " ".join(answer.text.split())
    http.post(f"{home}scenario", data={"upstream": "btsss", "scenario": "ok"})
    assert control.faults("btsss") == []
    eventually(lambda: "the reply is lost, 1 more" not in http.get(home).text)


def test_the_switch_page_shows_the_answer_that_is_given(
    http: requests.Session, upstreams: Upstreams, control: Control
) -> None:
    control.set("sts", "answer", status=400, headers={"X-Why": "a test"}, body="<b>" + 100 * "x", times=1)
    shown = " ".join(http.get(f"{upstreams['control']}/").text.split())
    assert f"HTTP 400, “X-Why: a test”, body “&lt;b&gt;{76 * 'x'}…”, 1 more" in shown
