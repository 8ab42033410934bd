"""A form and its documents, from the upload to the eFolder: received does not mean delivered."""

from __future__ import annotations

from tests.integration.form526_steps import PNG, documents, filer, poll, questions, statuses, uploaded
from tests.integration.itf_steps import mails
from tests.product import Product


def test_a_form_is_accepted_and_each_document_is_tracked_until_it_arrived(product: Product) -> None:
    person = filer(product)
    form = {"form0781": {"incidents": [{"personalAssault": True}, {"incidentLocation": "Camp Example"}]}}
    filed = person.file(person.attach(), person.attach("scan.png", PNG, "L023"), **form)
    assert person.status(filed)["status"] == "try"
    product.work()
    assert person.status(filed)["status"] == "success"
    kinds = ["evidence", "evidence", "form_0781", "form_0781a", "bdd_instructions"]
    assert sorted(row["kind"] for row in documents(product)) == sorted(kinds)
    assert statuses(product) == ["pending"] * 5
    assert {row["doc_type"] for row in uploaded(product)} == {"L015", "L023", "L228", "L229"}
    assert all(each["message"].startswith("VA has received") for each in person.documents(filed))
    poll(product)
    assert statuses(product) == ["done"] * 5
    assert [len(ids) for ids in questions(product)] == [5]
    assert all(each["message"] == "This document is in your file." for each in person.documents(filed))
    assert mails(product) == ["form526.accepted"]
    assert product.cases() == []


def test_the_same_form_posted_twice_is_one_submission(product: Product) -> None:
    person = filer(product)
    attachment = person.attach()
    assert person.file(attachment) == person.file(attachment)
    product.work()
    assert len(product.control.call("GET", "form526", "submissions")) == 1
    assert len(documents(product)) == 2
