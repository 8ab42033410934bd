"""A document whose answer cannot be recorded keeps no other of its batch waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flaskapp.form526.states import DONE, PENDING
from tests.house import House
from tests.integration.damage_steps import cases_of
from tests.integration.form526_steps import questions, statuses
from tests.integration.polling_steps import accepted, deal, owed_questions, plant
from tests.integration.steps import command


@contextmanager
def sealed_with_an_old_key(house: House, document_id: str) -> Iterator[None]:
    """Its name cannot be unsealed meanwhile."""
    named = "UPDATE form526_document_submissions SET name = :name WHERE id = :id RETURNING 1"
    name = house.value("SELECT name FROM form526_document_submissions WHERE id = :id", id=document_id)
    house.rows(named, name=b"x", id=document_id)
    yield
    house.rows(named, name=bytes(name), id=document_id)


def test_of_a_batch_only_the_one_in_the_way_goes_to_a_human(house: House) -> None:
    accepted(house)
    bad = plant(house, 5)[2]
    query = "SELECT id::text FROM form526_document_submissions WHERE lighthouse_request_id = :request"
    document_id = house.value(query, request=bad)
    with sealed_with_an_old_key(house, document_id):
        deal(house)
        house.work()
        assert sorted(statuses(house)) == [DONE] * 5 + [PENDING]
        assert (cases_of(house, document_id), house.cases(), owed_questions(house)) == (
            ["unsettled"],
            ["unsettled"],
            [],
        )
        # Six, of which one half had it, and so on: nobody is asked after more often than it takes to tell.
        assert [len(ids) for ids in questions(house) if bad in ids] == [6, 3, 2, 1]
        deal(house)
        house.work()
        assert (house.cases(), questions(house)[-1]) == (["unsettled"], [bad])
        assert command(house, "audit").exit_code == 0
    deal(house)
    house.work()
    assert (statuses(house), house.cases()) == ([DONE] * 6, [])
