"""A travel pay claim from the signed-in form to BTSSS: four steps, one claim, and what the person is sent."""

from __future__ import annotations

from tests.integration import travel_pay_steps as steps
from tests.integration.itf_steps import pass_time
from tests.integration.travel_pay_filing import file, tried
from tests.integration.travel_pay_steps import CLAIMS_URL, STARTS_AT, traveling
from tests.product import ADA, Product


def test_a_claim_passes_its_four_steps_and_its_person_is_notified(product: Product) -> None:
    person = traveling(product)
    claim_id = person.file()
    product.work()
    row = steps.row(product)
    assert (row["state"], row["step"], str(row["id"])) == ("submitted", "submit", claim_id)
    (filed,) = steps.on_file(product)
    assert (filed["claimStatus"], len(filed["expenses"])) == ("ClaimSubmitted", 1)
    assert steps.attempts(product) == [
        ("find_appointment", "read", "success"),
        ("begin_claim", "write", "success"),
        ("add_mileage", "write", "success"),
        ("submit_travel_pay_claim", "write", "success"),
    ]
    assert steps.e_mails(product) == ["travel_pay.submitted"]
    (mail,), number = product.phone(), filed["claimNumber"]
    assert (mail["to"], "Mar 4, 2031" in mail["body"], number[-4:] in mail["body"]) == (ADA.email, True, True)
    assert number not in mail["body"]
    again = person.post()
    assert again.status_code == 201
    assert again.get_json()["claimId"] == filed["id"] == row["claim_id"]
    assert again.get_json()["status"] == "Claim submitted"
    assert person.read(f"{CLAIMS_URL}/{claim_id}")["claimStatus"] == "Claim submitted"


def test_no_claim_is_begun_for_an_appointment_of_another_day(product: Product) -> None:
    product.control.turn("travel_pay", find_or_add_answers="another_day")
    filing = file(product)
    product.work(until=tried(filing, 2))
    assert (filing.stands, filing.tries()[-1]) == (("pending", "appointment"), ("find_appointment", "read", "error"))
    product.control.turn("travel_pay", find_or_add_answers="several")
    pass_time(product, hours=1)
    product.work()
    (claim,) = steps.on_file(product)
    assert (filing.stands, claim["wallClock"]) == (("submitted", "submit"), STARTS_AT)
