"""The served description of travel pay is true: it names each status that a call really answers."""

from __future__ import annotations

from typing import Any

from tests.integration.steps import reconfigure
from tests.integration.travel_pay_reading import ALWAYS, APPOINTMENTS_URL, CONTACTS_URL, STATUSES, book, mend, plant
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling
from tests.product import Product

NOBODYS = "0c4f6d1e-0000-4000-8000-00000000aa01"
ONE, DOCUMENT = f"{CLAIMS_URL}/{{claim_id}}", f"{CLAIMS_URL}/{{claim_id}}/documents/{{document_id}}"
CALL = f"{APPOINTMENTS_URL}/{{appointment_id}}"


def described(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = product.app.test_client().get("/openapi.json").get_json()["paths"]
    return found


def test_the_description_names_every_answer_to_a_read(product: Product) -> None:
    # A breaker that a failure opens must not close again before the next call.
    reconfigure(product, breaker_open_seconds=60.0, breaker_cap_seconds=60.0)
    person, paths = traveling(product, STATUSES), described(product)
    person.read(CLAIMS_URL)
    paid = next(claim for claim in book(product).claims.values() if claim.status == "ClaimPaid")
    own, file = f"{CLAIMS_URL}/{paid.id}", f"{CLAIMS_URL}/{paid.id}/documents/{paid.documents[0].id}"
    odd = plant(product, STATUSES, appointmentDateTime="2031-01-01T10:00:00")
    calls: list[tuple[str, str, dict[str, str], int]] = [
        (CLAIMS_URL, CLAIMS_URL, {}, 200),
        (CLAIMS_URL, CLAIMS_URL, {"start_date": "x"}, 400),
        (ONE, own, {}, 200),
        (ONE, f"{CLAIMS_URL}/1", {}, 400),
        (ONE, f"{CLAIMS_URL}/{NOBODYS}", {}, 404),
        (DOCUMENT, file, {}, 200),
        (DOCUMENT, f"{own}/documents/1", {}, 400),
        (DOCUMENT, f"{own}/documents/{NOBODYS}", {}, 404),
        (APPOINTMENTS_URL, APPOINTMENTS_URL, {"_include": "travel_pay_claims"}, 200),
        (APPOINTMENTS_URL, APPOINTMENTS_URL, {"start": "2031-03-04"}, 400),
        (CALL, f"{APPOINTMENTS_URL}/{NOBODYS}", {}, 404),
        (CONTACTS_URL, CONTACTS_URL, {}, 200),
    ]
    for template, path, query, status in calls:
        response = person.get(path, **query)
        assert response.status_code == status, (path, response.text)
        assert_described(paths, template, "get", response)
    book(product).claims[odd["id"]].status = ""
    assert_described(paths, CLAIMS_URL, "get", person.get(CLAIMS_URL, **ALWAYS), 206)
    failures: list[tuple[str, dict[str, int], int]] = [("html", {}, 502), ("status", {"status": 504}, 504)]
    for kind, fields, status in (*failures, ("throttle", {}, 429)):
        for template, path in ((CLAIMS_URL, CLAIMS_URL), (ONE, own), (DOCUMENT, file), (CONTACTS_URL, CONTACTS_URL)):
            product.control.set("travel_pay", kind, **fields)
            # Of a 4xx of the list, pages say that the person may not read it.
            expected = 503 if (kind, template) == ("throttle", CLAIMS_URL) else status
            assert_described(paths, template, "get", person.get(path), expected)
            if kind == "throttle":
                # This one opens the breaker.
                assert_described(paths, template, "get", person.get(path), 503)
            mend(product)


def test_the_description_names_every_answer_to_a_posted_claim(product: Product) -> None:
    person, paths = traveling(product), described(product)
    assert_described(paths, CLAIMS_URL, "post", person.post(), 202)
    product.work()
    assert_described(paths, CLAIMS_URL, "post", person.post(), 201)
    assert_described(paths, CLAIMS_URL, "post", person.post("soon"), 422)
    plant(product, appointmentDateTime="2031-01-01T10:00:00")
    person.post("2031-01-01T10:00:00")
    product.work()
    assert_described(paths, CLAIMS_URL, "post", person.post("2031-01-01T10:00:00"), 400)


def test_the_query_and_the_body_are_described_by_the_names_that_are_sent(product: Product) -> None:
    document = product.app.test_client().get("/openapi.json").get_json()
    named = {
        path: {each["name"] for each in document["paths"][path]["get"]["parameters"] if each["in"] == "query"}
        for path in (CLAIMS_URL, APPOINTMENTS_URL)
    }
    assert named[CLAIMS_URL] == {"start_date", "end_date", "page_number", "page_size"}
    assert named[APPOINTMENTS_URL] == {"start", "end", "_include"}
    body = document["paths"][CLAIMS_URL]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    assert set(schema["required"]) == {"appointmentDateTime", "facilityStationNumber"}
    assert set(body["example"]) <= set(schema["properties"])
    headers = traveling(product).signed.headers
    assert product.app.test_client().post(CLAIMS_URL, json=body["example"], headers=headers).status_code == 202


def assert_described(paths: dict[str, Any], template: str, method: str, response: Any, status: int = 0) -> None:
    """The status is the expected one, if any, and is described."""
    assert status in (0, response.status_code), (template, response.text)
    described_answers = paths[template][method]["responses"]
    assert str(response.status_code) in described_answers, (template, response.status_code)
