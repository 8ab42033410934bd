"""Every allowed and every forbidden move of every flow, and the states that VANotify's words mean."""

from __future__ import annotations

import itertools

import pytest

from flaskapp.form526.states import DOCUMENT, SUBMISSION, SUBMISSION_WORDS
from flaskapp.intent_to_file import states as itf_states
from flaskapp.intent_to_file.states import INTENT_TO_FILE
from flaskapp.notifications.states import NOTIFICATION, STATE_OF_STATUS
from flaskapp.statemachine import IllegalMove, StateMachine
from flaskapp.travel_claims.states import TRAVEL_CLAIM, WORDS
from flaskapp.travel_pay.states import TRAVEL_PAY_CLAIM
from sandbox.upstreams.notification import SENDING_STATUSES
from sandbox.upstreams.notify_lifecycle import BAD_ENDS

ALLOWED = {
    TRAVEL_CLAIM.subject: {
        ("pending", "submitted"),
        ("pending", "duplicate"),
        ("pending", "failed"),
        ("failed", "pending"),
        ("submitted", "duplicate"),
        ("duplicate", "submitted"),
    },
    TRAVEL_PAY_CLAIM.subject: {
        ("pending", "submitted"),
        ("pending", "duplicate"),
        ("pending", "failed"),
        ("failed", "pending"),
        ("duplicate", "pending"),
    },
    INTENT_TO_FILE.subject: {
        ("pending", "confirmed"),
        ("pending", "failed"),
        ("confirmed", "used"),
        ("confirmed", "broken"),
        ("failed", "pending"),
    },
    SUBMISSION.subject: {
        ("pending", "accepted"),
        ("pending", "failed"),
        ("failed", "pending"),
    },
    DOCUMENT.subject: {
        ("pending", "done"),
        ("pending", "failed"),
        ("failed", "pending"),
        ("failed", "done"),
    },
    NOTIFICATION.subject: {
        ("pending", "sent"),
        ("pending", "delivered"),
        ("pending", "undeliverable"),
        ("pending", "withdrawn"),
        ("sent", "delivered"),
        ("sent", "undeliverable"),
        ("delivered", "undeliverable"),
        ("undeliverable", "delivered"),
        ("undeliverable", "pending"),
        ("undeliverable", "withdrawn"),
        ("withdrawn", "sent"),
        ("withdrawn", "delivered"),
    },
}
MACHINES = [TRAVEL_CLAIM, TRAVEL_PAY_CLAIM, INTENT_TO_FILE, SUBMISSION, DOCUMENT, NOTIFICATION]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.subject)
def test_only_the_declared_moves_are_allowed(machine: StateMachine) -> None:
    found = {move for move in itertools.product(machine.states, repeat=2) if machine.allows(*move)}
    assert found == ALLOWED[machine.subject]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.subject)
def test_a_forbidden_move_raises_and_names_both_states(machine: StateMachine) -> None:
    for current, target in itertools.product(machine.states, repeat=2):
        if (current, target) in ALLOWED[machine.subject]:
            machine.check(current, target)
        else:
            with pytest.raises(IllegalMove, match=f"{machine.subject}: {current} → {target}"):
                machine.check(current, target)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.subject)
def test_moves_lead_to_states_that_exist_and_everything_can_end(machine: StateMachine) -> None:
    assert {target for targets in machine.moves.values() for target in targets} <= set(machine.states)
    assert machine.final <= set(machine.states)
    assert all(targets & machine.final or state in machine.final for state, targets in machine.moves.items())


def test_a_broken_itf_stays_broken_and_only_a_failed_one_is_requeued() -> None:
    assert {state for state in INTENT_TO_FILE.states if "pending" in INTENT_TO_FILE.moves[state]} == {"failed"}
    assert INTENT_TO_FILE.moves["broken"] == frozenset()


def test_an_itf_is_valid_while_a_person_may_rely_on_it_and_then_has_words_for_them() -> None:
    assert itf_states.VALID == tuple(itf_states.WORDS) == ("pending", "confirmed")


def test_what_is_filed_stays_filed() -> None:
    """Only `failed` leads back to nothing filed. Late answers decide anew whose a claim on file is."""
    on_file = {"submitted", "duplicate"}
    assert all(TRAVEL_CLAIM.moves[state] <= on_file for state in on_file)
    assert TRAVEL_CLAIM.moves["failed"] == {"pending"}


@pytest.mark.parametrize(("machine", "good"), [(SUBMISSION, "accepted"), (DOCUMENT, "done")])
def test_a_document_that_arrived_stays_arrived_and_only_a_failed_one_is_requeued(
    machine: StateMachine, good: str
) -> None:
    assert machine.moves[good] == frozenset()
    assert {state for state in machine.states if "pending" in machine.moves[state]} == {"failed"}
    assert machine.final == {good, "failed"}


def test_every_state_of_a_form_has_words_for_its_person() -> None:
    assert set(SUBMISSION_WORDS) == set(SUBMISSION.states)


def test_every_state_of_a_claim_has_words_for_its_person() -> None:
    assert set(WORDS) == set(TRAVEL_CLAIM.states)


def test_every_word_of_va_notify_means_a_state_and_none_means_outstanding_again() -> None:
    assert set(STATE_OF_STATUS.values()) == {"sent", "delivered", "undeliverable"}
    assert {word for word, state in STATE_OF_STATUS.items() if state == "undeliverable"} == set(BAD_ENDS)
    assert {word for word, state in STATE_OF_STATUS.items() if state == "sent"} == set(SENDING_STATUSES)
