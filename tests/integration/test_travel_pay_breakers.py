"""Breakers of Travel Pay: readers and filers obey the same one, and one probe closes it for all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flaskapp.upstreams.errors import Unavailable
from flaskapp.web.passthrough import Bulkhead, enter, report_to_breaker
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import pass_time
from tests.integration.steps import publish, reconfigure, tokens_may_be_replaced
from tests.integration.travel_pay_filing import come_to, file
from tests.integration.travel_pay_reading import APPOINTMENTS_URL, CONTACTS_URL, LIST, mend, reads, refusal
from tests.integration.travel_pay_steps import (
    CLAIMS_URL,
    FIND,
    Traveling,
    received,
    traveling,
)
from tests.product import Product, eventually
from tests.unit.travel_pay import envelope

OPEN_SECONDS = 60
JSON = {"Content-Type": "application/json"}
MANY = DEFAULT_CAST[:3]


def after_a_failed_read(product: Product, **fault: Any) -> Traveling:
    """Somebody whom Travel Pay has just told to slow down; its breaker is open for a minute from here on."""
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    person = traveling(product)
    person.get(CLAIMS_URL)
    product.control.set("travel_pay", **{"kind": "throttle", "times": 1, **fault})
    assert person.get(CLAIMS_URL).status_code == 503
    return person


def test_while_it_is_open_readers_are_refused_at_once_and_filing_waits(product: Product) -> None:
    person = after_a_failed_read(product)
    before = reads(product)
    for path in (CLAIMS_URL, APPOINTMENTS_URL):
        response = person.get(path)
        assert refusal(response) == (503, "503")
        assert 50 <= int(response.headers["Retry-After"]) <= OPEN_SECONDS
        assert "travel pay system is not answering just now" in response.get_json()["errors"][0]["detail"]
    claim_id = person.file()
    assert person.read(f"{CLAIMS_URL}/{claim_id}")["claimStatus"] == "Received"
    for _ in range(3):
        publish(product)
        product.run_queued()
    assert (reads(product), received(product, FIND)) == (before, 0)


def test_one_of_many_readers_is_the_probe_and_closes_it_for_all(product: Product) -> None:
    person = after_a_failed_read(product)
    person.file()
    pass_time(product, seconds=OPEN_SECONDS + 1)
    product.app.extensions["bulkhead"] = Bulkhead(50)
    product.control.set("travel_pay", "hold", operation=LIST)
    before = reads(product)
    with ThreadPoolExecutor(10) as crowd:
        readers = [crowd.submit(person.get, CLAIMS_URL) for _ in range(10)]
        # The probe comes to its end only after the others have theirs.
        eventually(lambda: sum(reader.done() for reader in readers) >= 9)
        product.control.clear("travel_pay")
        responses = [reader.result() for reader in readers]
    # What stands only with us is shown to the others as well.
    assert sorted(response.status_code for response in responses) == [200] + [206] * 9
    limit = product.app.extensions["config"].travel_pay_read_seconds
    waits = [int(response.headers["Retry-After"]) for response in responses if response.status_code == 206]
    assert all(1 <= wait <= limit for wait in waits)
    assert reads(product) == before + 1
    assert person.get(CLAIMS_URL).status_code == 200
    product.work()
    assert person.read(CLAIMS_URL)["metadata"]["pending"] == []


def test_a_failed_probe_keeps_it_open_for_longer(product: Product) -> None:
    person = after_a_failed_read(product, times=2)
    pass_time(product, seconds=OPEN_SECONDS + 1)
    before = reads(product)
    assert (refusal(person.get(CLAIMS_URL))[0], reads(product)) == (503, before + 1)
    response = person.get(CLAIMS_URL)
    assert refusal(response)[0] == 503
    assert OPEN_SECONDS < int(response.headers["Retry-After"]) <= 2 * OPEN_SECONDS
    assert "2 minutes" in response.get_json()["errors"][0]["detail"]


def test_a_failed_filing_opens_it_for_readers_and_a_successful_one_closes_it(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    person = traveling(product)
    person.get(CLAIMS_URL)
    claim_id = person.file()
    product.control.set("travel_pay", "throttle", operation=FIND, times=1)
    publish(product)
    product.run_queued()
    assert received(product, FIND) == 1
    before = reads(product)
    assert refusal(person.get(APPOINTMENTS_URL))[0] == 503
    assert reads(product) == before
    pass_time(product, seconds=OPEN_SECONDS + 1)
    publish(product)
    assert refusal(person.get(APPOINTMENTS_URL))[0] == 503
    product.run_queued()
    assert received(product, FIND) == 2
    assert person.get(CLAIMS_URL).status_code == 200
    product.work()
    assert person.read(f"{CLAIMS_URL}/{claim_id}")["claimStatus"] == "Claim submitted"


def test_a_retry_after_of_travel_pay_is_obeyed(product: Product) -> None:
    person = after_a_failed_read(product, retry_after="80")
    response = person.get(CLAIMS_URL)
    assert refusal(response)[0] == 503
    assert OPEN_SECONDS < int(response.headers["Retry-After"]) <= 80


def test_slow_answers_to_three_people_running_open_it_and_a_refusal_does_not(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    people = [traveling(product, veteran) for veteran in MANY]
    person = people[0]
    for each in people:
        each.get(CLAIMS_URL)
    assert refusal(person.get(f"{CLAIMS_URL}/0c4f6d1e-0000-4000-8000-0000000000aa"))[0] == 404
    product.control.set("travel_pay", "hold", operation=LIST)
    slow = slow_answers(*people[:2])
    assert person.get(APPOINTMENTS_URL).status_code == 200
    slow += slow_answers(*people)
    assert (slow, refusal(person.get(CLAIMS_URL))[0]) == ([504] * 5, 503)


def slow_answers(*people: Traveling) -> list[int]:
    """Each reads with a limit that strikes, after the call to an upstream that is held."""
    product = people[0].product
    patience = product.app.extensions["config"].travel_pay_read_seconds
    reconfigure(product, travel_pay_read_seconds=1.0)
    found = [refusal(person.get(CLAIMS_URL))[0] for person in people]
    reconfigure(product, travel_pay_read_seconds=patience)
    return found


def test_a_fault_in_one_persons_data_opens_it_for_nobody(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    about_one = Unavailable("travel_pay", "the answer cannot be read", http_status=200)
    for number in range(3):
        report_to_breaker(enter("travel_pay", 5.0, str(number)), about_one)
    assert traveling(product).get(CLAIMS_URL).status_code == 200


UNUSABLE: list[tuple[str, dict[str, Any], int]] = [
    ("empty", {"status": 404}, 502),
    ("html", {"status": 403}, 502),
    ("status", {"status": 500}, 500),
    ("status", {"status": 503, "retry_after": "600"}, 503),
    ("down", {}, 502),
    ("half", {}, 502),
]


@pytest.mark.parametrize(("kind", "fault", "told"), UNUSABLE)
def test_one_person_who_never_gets_a_usable_answer_shuts_the_door_for_nobody(
    product: Product, kind: str, fault: dict[str, Any], told: int
) -> None:
    """It may be about an id that this person invented. What several people meet alike is Travel Pay's."""
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    first, second, third = (traveling(product, veteran) for veteran in MANY)
    for each in (first, second, third):
        each.get(CLAIMS_URL)
    product.control.set("travel_pay", kind, **fault, operation=LIST)
    assert {refusal(first.get(CLAIMS_URL))[0] for _ in range(6)} == {told}
    assert second.get(APPOINTMENTS_URL).status_code == 200
    for each in (first, second, third):
        refusal(each.get(CLAIMS_URL))
    assert refusal(first.get(APPOINTMENTS_URL))[0] == 503


@pytest.mark.parametrize("body", ['{"error":"invalid_token","error_description":"expired"}', "{}"])
def test_one_person_whose_token_is_refused_shuts_the_door_for_nobody_and_two_show_that_it_is_ours(
    product: Product, body: str
) -> None:
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    first, second, third = (traveling(product, veteran) for veteran in MANY)
    invented = f"{CLAIMS_URL}/0c4f6d1e-0000-4000-8000-0000000000aa"
    refused = {"status": 401, "body": body, "headers": JSON}
    product.control.set("travel_pay", "answer", operation="GET /api/v3/claims/0c4f6d1e", **refused)
    for _ in range(2):
        assert refusal(first.get(invented))[0] == 503
        assert first.get(CLAIMS_URL).status_code == 200
    assert refusal(first.get(invented))[0] == 503
    assert second.get(CLAIMS_URL).status_code == 200
    product.control.set("travel_pay", "answer", operation=LIST, **refused)
    assert {refusal(each.get(CLAIMS_URL))[0] for each in (first, second)} == {503}
    product.control.clear("travel_pay")
    assert (is_open(product), refusal(third.get(CLAIMS_URL))[0]) == (True, 503)


@pytest.mark.parametrize(
    ("body", "fetched"),
    [
        ({"error": "invalid_token"}, (1, 1)),
        ({"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."}, (1, 0)),
        (envelope(None, 401, "The access token is not valid."), (0, 1)),
    ],
)
def test_one_person_whose_token_is_refused_costs_one_token_and_shuts_no_door_while_there_is_no_other(
    product: Product, body: dict[str, Any], fetched: tuple[int, int]
) -> None:
    first, second = (traveling(product, veteran) for veteran in MANY[:2])
    for each in (first, second):
        each.read(CLAIMS_URL)
    invented = f"{CLAIMS_URL}/0c4f6d1e-0000-4000-8000-0000000000aa"
    refused = {"status": 401, "body": json.dumps(body), "headers": JSON}
    product.control.set("travel_pay", "answer", operation="GET /api/v3/claims/0c4f6d1e", **refused)
    before = spent(product)
    assert {first.get(invented).status_code for _ in range(15)} == {503}
    assert tuple(now - then for now, then in zip(spent(product), before, strict=True)) == fetched
    tokens_may_be_replaced(product.redis)
    for service in ("veis", "sts"):
        product.control.set(service, "throttle", retry_after="60")
    assert {first.get(invented).status_code for _ in range(3)} == {503}
    assert second.get(CLAIMS_URL).status_code == 200 and not is_open(product)


def spent(product: Product) -> tuple[int, int]:
    """The tokens that VEIS was asked for, and the people that STS was asked for."""
    return len(product.control.received("veis")), len(product.control.received("sts"))


def test_one_persons_claims_that_break_every_answer_open_it_for_nobody(product: Product) -> None:
    """Not by their retries, not as the probe, and not by being three."""
    other = traveling(product, MANY[1])
    claims = [file(product, MANY[0], f"2031-03-0{day}T09:30:00") for day in (1, 2, 3)]
    come_to(product, "appointment", *claims)
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    product.control.set("travel_pay", "half", operation=FIND)
    for _ in range(3):
        before = received(product, FIND)
        publish(product)
        product.run_queued()
        assert (received(product, FIND) - before, is_open(product)) == (3, False)
        pass_time(product, hours=1)
    assert other.get(CLAIMS_URL).status_code == 200
    product.control.set("travel_pay", "throttle", operation=LIST, times=1)
    assert refusal(other.get(CLAIMS_URL))[0] == 503
    pass_time(product, hours=2)
    for tried in (1, 2, 3):
        before = received(product, FIND)
        publish(product)
        product.run_queued()
        assert (received(product, FIND) - before, is_open(product)) == (1, True), tried
    assert other.get(CLAIMS_URL).status_code == 200
    assert not is_open(product)
    product.control.clear("travel_pay")
    pass_time(product, hours=2)
    product.work()
    assert [each.stands[0] for each in claims] == ["submitted"] * 3


def is_open(product: Product) -> bool:
    return bool(product.value("SELECT opened_at IS NOT NULL FROM outbox_breakers WHERE upstream = 'travel_pay'"))


def test_va_profile_has_a_breaker_of_its_own(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=OPEN_SECONDS, breaker_cap_seconds=900)
    person = traveling(product)
    product.control.set("va_profile", "throttle", times=1)
    assert refusal(person.get(CONTACTS_URL))[0] == 429
    response = person.get(CONTACTS_URL)
    assert refusal(response)[0] == 503 and int(response.headers["Retry-After"]) >= 50
    assert "profile service" in response.get_json()["errors"][0]["detail"]
    assert len(product.control.received("va_profile")) == 1
    assert person.get(CLAIMS_URL).status_code == 200
    mend(product, "va_profile")
    assert person.get(CONTACTS_URL).status_code == 200
