"""A document whose answer cannot be recorded, or on which Lighthouse fails, delays no other of its batch for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.exceptions import abort

from flaskapp.form526.states import DONE, PENDING
from tests.integration.damage_steps import cases_of
from tests.integration.form526_polling_steps import accepted, deal, outstanding_questions, plant
from tests.integration.form526_steps import questions, statuses
from tests.integration.steps import command, publish
from tests.product import Product


@contextmanager
def sealed_with_an_old_key(product: Product, document_id: str) -> Iterator[None]:
    """Within the block, the document's name cannot be unsealed."""
    named = "UPDATE form526_document_submissions SET name = :name WHERE id = :id RETURNING 1"
    name = product.value("SELECT name FROM form526_document_submissions WHERE id = :id", id=document_id)
    product.rows(named, name=b"x", id=document_id)
    yield
    product.rows(named, name=bytes(name), id=document_id)


def test_only_the_bad_document_of_a_batch_goes_to_a_human(product: Product) -> None:
    accepted(product)
    bad = plant(product, 5)[2]
    query = "SELECT id::text FROM form526_document_submissions WHERE lighthouse_request_id = :request"
    document_id = product.value(query, request=bad)
    with sealed_with_an_old_key(product, document_id):
        deal(product)
        product.work()
        assert sorted(statuses(product)) == [DONE] * 5 + [PENDING]
        assert (cases_of(product, document_id), product.cases(), outstanding_questions(product)) == (
            ["unsettled"],
            ["unsettled"],
            [],
        )
        # Six documents, then the half with the bad one, and so on: no document is queried more often than needed.
        assert [len(ids) for ids in questions(product) if bad in ids] == [6, 3, 2, 1]
        deal(product)
        product.work()
        assert (product.cases(), questions(product)[-1]) == (["unsettled"], [bad])
        assert command(product, "audit").exit_code == 0
    deal(product)
    product.work()
    assert (statuses(product), product.cases()) == ([DONE] * 6, [])


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_a_document_on_which_lighthouse_fails_is_soon_polled_alone(
    product: Product, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Whoever is polled with it would never hear, and each cycle's question is a new one: counted as many people's,
    three of them would stop all uploads."""
    accepted(product)
    bad = plant(product, 5)[2]
    uploads = product.fakes.fakes.documents.uploads
    find = uploads.found

    def find_unless_bad(requested: Any) -> Any:
        return abort(status) if bad in requested else find(requested)

    monkeypatch.setattr(uploads, "found", find_unless_bad)
    for _ in range(4):
        deal(product)
        publish(product)
        product.run_queued()
    assert sorted(statuses(product)) == [DONE] * 5 + [PENDING]
    assert product.value("SELECT opened_at IS NULL FROM outbox_breakers WHERE upstream = 'lighthouse_documents'")
    assert [len(ids) for ids in questions(product) if bad in ids][0] == 6
    assert [bad] in questions(product) and product.cases() == []
