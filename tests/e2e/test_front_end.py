"""The front end's pages against the running product: every flow to its success page.

The pages are in `pages.py`, the browser in `browser.py`; both know the written contract and nothing of the server.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO

import pikepdf
import pytest

from tests.e2e import dates, pages
from tests.e2e.browser import NetworkError, Rejected, SignedOut
from tests.e2e.front_end import FOREIGN_ORIGIN, PATIENCE_SECONDS, FrontEnd
from tests.e2e.pages import READY, Form526Page, ITFPage, TravelPayPage

pytestmark = pytest.mark.processes


def locked_pdf(password: str) -> bytes:
    kept, document = BytesIO(), pikepdf.new()
    document.add_blank_page()
    document.save(kept, encryption=pikepdf.Encryption(owner="owner", user=password))
    return kept.getvalue()


# -- every flow to its success page ---------------------------------------------


def test_day_of_check_in_ends_with_a_claim_and_the_text_that_the_page_promises(site: FrontEnd) -> None:
    veteran = site.newcomer()
    page = site.check_in(veteran)
    page.last_name = "Somebody-Else"
    assert page.walk() == "no-match"
    page.last_name = f" {veteran.last_name} "
    assert page.walk() == pages.PROCESSING
    site.promised(page.accepted["data"]["id"])
    # Another device, or the same after the browser's storage was cleared.
    again = site.check_in(veteran)
    assert again.walk() == pages.PROCESSING and again.accepted["data"]["id"] == page.accepted["data"]["id"]
    site.until_kept()
    assert [each["to"] for each in site.mail(veteran)] == [veteran.phone]


@pytest.mark.parametrize(
    ("zone", "start", "day", "sent"),
    [
        # The UTC day is the next one, and in Guam the one before.
        ("America/Los_Angeles", "17:30", "2026-01-23", "2026-01-23T17:30:00.000-08:00"),
        ("Pacific/Guam", "08:15", "2026-01-24", "2026-01-24T08:15:00.000+10:00"),
    ],
)
def test_travel_only_files_the_day_of_the_facility(site: FrontEnd, zone: str, start: str, day: str, sent: str) -> None:
    appointment = {"station": "757", "start": start, "time_zone": zone, "day": day}
    veteran = site.newcomer(facility_type="oh", appointments=[appointment])
    page = site.check_in(veteran)
    assert page.walk() == pages.TRAVEL_ONLY_SENT
    assert page.appointment_date() == sent and not page.appointment["startTime"].startswith(day)
    site.promised(page.accepted["data"]["id"])
    site.until_kept()
    [filed] = site.control.call("GET", "btsss", "claims", params={"icn": veteran.icn})
    assert day in json.dumps(filed)


@pytest.mark.parametrize(
    ("generation", "first", "reload"),
    [
        ("R1", "already have one", "already have one"),
        ("R2", "itf-created", "itf-found"),
        ("R3", "created", "found"),
    ],
)
def test_each_generation_of_the_itf_page_records_one(site: FrontEnd, generation: str, first: str, reload: str) -> None:
    veteran = site.newcomer()
    browser = site.signed_in(veteran)
    page = ITFPage(browser, generation)
    assert page.load() == first
    site.promised_itf(veteran)
    site.until_kept()
    assert page.load() == reload
    screen, listed = pages.itf_list(browser)
    assert (screen, [each["type"] for each in listed]) == ("list", ["compensation"])
    assert dates.instant(listed[0]["expirationDate"]) == dates.instant(page.expires or "")
    assert len(site.mail(veteran)) == 1


@pytest.mark.parametrize(
    ("type", "screens", "listed"),
    [
        ("pension", ["created", "found"], ["pension"]),
        # Refused by Lighthouse: the one who asks is the veteran.
        ("survivor", ["failed", "failed"], []),
    ],
)
def test_pensions_and_survivors_benefits_use_the_shared_page(
    site: FrontEnd, type: str, screens: list[str], listed: list[str]
) -> None:
    browser = site.signed_in(site.newcomer())
    assert [ITFPage(browser, "R3", type).load() for _ in screens] == screens
    assert [each["type"] for each in pages.itf_list(browser)[1]] == listed


def test_the_526_form_goes_from_a_locked_file_to_a_claim_number_and_saves_itself_on_the_way(site: FrontEnd) -> None:
    veteran = site.newcomer()
    page = Form526Page(site.signed_in(veteran))
    assert page.save() == "saved"
    assert page.attach("letter.txt", b"What the doctor wrote.\n") == "uploaded"
    for password in (None, "wrong"):
        assert "password" in page.attach("locked.pdf", locked_pdf("right"), password=password)
    assert page.attach("locked.pdf", locked_pdf("right"), password="right") == "uploaded"
    assert page.save() == "saved"
    assert page.submit(veteran={"remarks": "I am new."}) == "submitted"
    site.promised(page.accepted["attributes"]["submissionId"])
    assert page.poll(PATIENCE_SECONDS) == "success" and page.claim_id
    assert page.save() == "saved"
    site.until_kept()
    path = f"/v0/disability_compensation_form/{page.accepted['attributes']['submissionId']}/documents"
    listed = [each["attributes"] for each in page.browser.api(path)["data"]]
    assert [each["name"] for each in listed][:2] == ["letter.txt", "locked.pdf"]
    assert {each["status"] for each in listed} == {"done"}


def test_travel_pay_shows_claims_details_and_documents(site: FrontEnd) -> None:
    veteran = site.newcomer(travel_pay="statuses")
    page = TravelPayPage(site.signed_in(veteran))
    screen, items = page.claims()
    assert screen == "list" and items
    found = [page.details(each["id"]) for each in items]
    assert {screen for screen, _ in found} == {"details"}
    documents = [(claim["claimId"], each) for _, claim in found for each in claim["documents"] if each["mimetype"]]
    assert {page.document(claim_id, each["documentId"])[0] for claim_id, each in documents} == {"downloaded"}
    assert page.details("0c4f6d1e-0000-4000-8000-0000000000aa")[0] == "error"
    assert page.claims(datetime(1999, 1, 1, tzinfo=UTC)) == ("list", [])


def test_travel_pay_is_filed_from_an_appointment_that_is_over(site: FrontEnd) -> None:
    veteran = site.newcomer()
    page = TravelPayPage(site.signed_in(veteran))
    screen = open_appointment(page)
    assert (screen, page.file()) == (READY, "confirmation")
    site.promised(veteran.account, lambda: page.accepted["id"])
    site.until_kept()
    assert open_appointment(page) == "already filed"


def open_appointment(page: TravelPayPage) -> str:
    [appointment_id] = page.list_appointments()
    return page.open_appointment(appointment_id)


# -- the rules of the platform ----------------------------------------------------


def test_a_token_that_has_ended_is_refreshed_once_and_the_call_repeated(site: FrontEnd) -> None:
    veteran = site.newcomer()
    # The page believes it good for half an hour more, or is about to find out that it is not.
    for session in ({"seconds": -1, "told": 1800}, {"seconds": -1, "told": 10}):
        assert pages.itf_list(site.signed_in(veteran, **session)) == ("list", [])
        form = Form526Page(site.signed_in(veteran, **session))
        assert form.attach("letter.txt", b"What the doctor wrote.\n") == "uploaded"


def test_somebody_who_is_not_signed_in_is_led_to_the_log_in(site: FrontEnd) -> None:
    browser = site.browser()
    browser.signed_in = True
    with pytest.raises(SignedOut):
        browser.api("/v0/intents_to_file")


def test_a_page_of_another_host_can_neither_ask_nor_write(site: FrontEnd) -> None:
    veteran = site.newcomer()
    browser = site.signed_in(veteran, FOREIGN_ORIGIN)
    for method, path in (("GET", "/v0/intents_to_file"), ("POST", "/v0/intent_to_file/compensation")):
        with pytest.raises(Rejected) as rejected:
            browser.api(path, method)
        assert isinstance(rejected.value.value, NetworkError)
    # Without a header that needs permission, the request itself is sent, and its answer not shown.
    with pytest.raises(NetworkError):
        browser.fetch("POST", "/v0/intent_to_file/compensation", {})
    assert site.running.value("SELECT count(*) FROM intents_to_file WHERE account_id::text = %s", veteran.account) == 0


def test_an_address_that_does_not_exist_is_an_error_that_pages_can_read(site: FrontEnd) -> None:
    for path in ("/check_in/v2/nothing/", "/travel_pay/v0/nothing", "/v0/nothing"):
        with pytest.raises(Rejected) as rejected:
            site.browser().api(path)
        assert rejected.value.status_read_without_a_guard() == "404"


def test_nobody_is_unaccounted_for_at_the_end(site: FrontEnd) -> None:
    """The last test of this file."""
    audit = site.running.audit()
    assert (audit.returncode, site.broken_promises()) == (0, []), audit.stdout
