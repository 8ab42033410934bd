"""The travel pay pages' own calls, replayed unchanged: cookies, the client's headers, the CSRF token it received."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.upstreams.scenarios import with_travel_pay
from sandbox.upstreams.travel_pay_past import PDF
from tests.integration import travel_pay_steps as steps
from tests.integration.steps import listening
from tests.product import Product

PERSON = with_travel_pay("statuses")
# The body as the client's own test has it; vets-api has no parameter `facilityName`.
FORM = {
    "appointmentDateTime": "2031-03-04T09:30:00",
    "facilityStationNumber": "983",
    "facilityName": "Example VA",
    "appointmentType": "Other",
    "isComplete": False,
}


class Page:
    """The platform's API client: all calls have cookies and the same headers; an answer with a token replaces it."""

    def __init__(self, browser: requests.Session, url: str) -> None:
        self.browser, self.url, self.csrf = browser, url, "null"

    def call(self, method: str, path: str, **parts: Any) -> requests.Response:
        headers = {"X-Key-Inflection": "camel", "Source-App-Name": "undefined", "X-CSRF-Token": self.csrf}
        response = self.browser.request(
            method, f"{self.url}{path}", headers=headers, timeout=30, allow_redirects=False, **parts
        )
        self.csrf = response.headers.get("X-CSRF-Token", self.csrf)
        return response

    def read(self, path: str, **query: str) -> Any:
        """What a page reads of a successful answer: parsed only when its type is JSON."""
        response = self.call("GET", path, params=query)
        assert response.ok and "application/json" in response.headers["Content-Type"], response.text
        return response.json()


@pytest.fixture
def page(product: Product) -> Iterator[Page]:
    with requests.Session() as browser, listening(product.app) as url:
        browser.trust_env = False
        signed_in = browser.post(f"{product.fakes['sign_in']}/", data={"account": PERSON.account}, timeout=30)
        assert signed_in.status_code == 200
        yield Page(browser, url)


def test_a_page_lists_opens_downloads_and_finds_the_appointment(product: Product, page: Page) -> None:
    claims = page.read("/travel_pay/v0/claims", start_date="2000-01-01", end_date="2099-12-31")["data"]
    assert page.csrf not in ("null", "")
    paid = next(claim for claim in claims if claim["claimStatus"] == "Claim paid")
    detail = page.read(f"/travel_pay/v0/claims/{paid['id']}")
    assert (detail["claimId"], detail["claimNumber"]) == (paid["id"], paid["claimNumber"])
    letter = next(each for each in detail["documents"] if each["filename"] == "Decision Letter.pdf")
    saved = page.call("GET", f"/travel_pay/v0/claims/{paid['id']}/documents/{letter['documentId']}")
    assert (saved.content, saved.headers["Content-Type"]) == (PDF, "application/pdf")
    day = detail["appointmentDate"][:10]
    around = {"start": f"{day}T02:15:00.000Z", "end": f"{day}T23:15:00.000Z"}
    (found,) = page.read("/vaos/v2/appointments", _include="facilities,travel_pay_claims", **around)["data"]
    assert found["attributes"]["localStartTime"][:23] == detail["appointmentDate"]
    one = page.read(f"/vaos/v2/appointments/{found['id']}", _include="facilities,travel_pay_claims")["data"]
    assert one["attributes"]["travelPayClaim"]["claim"]["id"] == paid["id"]


def test_a_page_files_a_claim_with_the_token_it_received_and_sees_it_listed(product: Product, page: Page) -> None:
    refused = page.call("POST", "/travel_pay/v0/claims", json=FORM)
    assert (refused.status_code, refused.json()["errors"][0]["code"], steps.rows(product)) == (403, "CSRF", [])
    made = page.call("POST", "/travel_pay/v0/claims/", json=FORM)
    assert (made.status_code, made.json()["status"], made.json()["claimId"]) == (202, "Received", None)
    (pending,) = page.read("/travel_pay/v0/claims")["metadata"]["pending"]
    assert pending["id"] == made.json()["id"]
    product.work()
    again = page.call("POST", "/travel_pay/v0/claims", json=FORM)
    assert (again.status_code, again.json()["status"]) == (201, "Claim submitted")
    listed = page.read("/travel_pay/v0/claims", start_date="2031-03-04", end_date="2031-03-04")["data"]
    assert [claim["id"] for claim in listed] == [again.json()["claimId"]]


def test_a_page_with_an_expired_token_must_refresh_it(product: Product, page: Page) -> None:
    over = product.control.call("POST", "sign_in", "tokens", json={"account": PERSON.account, "seconds": -5})
    page.browser.cookies.clear()
    page.browser.cookies.set("vagov_access_token", over["access_token"])
    for method, path in (
        ("GET", "/travel_pay/v0/claims"),
        ("POST", "/travel_pay/v0/claims"),
        ("GET", "/vaos/v2/appointments"),
        ("GET", "/travel_pay/v0/contact_discrepancies"),
    ):
        response = page.call(method, path)
        assert (response.status_code, response.json()) == (403, {"errors": "Access token has expired"})
