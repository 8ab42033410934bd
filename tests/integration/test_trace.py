"""The trace: it finds the first illegal step of a history, and none in a history made by the product."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from flaskapp.audit.trace import Step, trace
from flaskapp.db import transaction
from tests.integration.steps import RequestedClaim, call, command, file_claim, filed_and_notified, lose, take, undone
from tests.product import Product


def traced(product: Product, claim: RequestedClaim) -> list[Step]:
    with transaction() as session:
        found = trace(session, "travel_claim", claim.id)
    assert found.histories_read == 1
    return found.illegal


def found_by_looking(product: Product) -> RequestedClaim:
    """Sent, its reply lost with its worker, and found upstream: three attempts, the last but one a look-up."""
    claim = file_claim(product)
    granted = take(product, claim)
    call(product, granted)
    lose(product, granted)
    product.work()
    return claim


def failed_and_filed_after_all(product: Product) -> RequestedClaim:
    product.control.play("btsss", "refused")
    claim = filed_and_notified(product)
    product.control.clear("btsss")
    assert command(product, "outbox", "requeue", str(claim.message["id"])).exit_code == 0
    product.work()
    return claim


@pytest.mark.parametrize("stage", [file_claim, filed_and_notified, found_by_looking, failed_and_filed_after_all])
def test_every_history_made_by_the_product_is_legal(product: Product, stage: object) -> None:
    assert callable(stage)
    assert traced(product, stage(product)) == []


SUBMITTED = "WHERE moved_to = 'submitted'"


ILLEGAL = [
    (f"DELETE FROM outbox_history {SUBMITTED}", "it is submitted, and its history ends with pending"),
    ("DELETE FROM outbox_history WHERE moved_to = 'pending'", "moved from pending before it was requested"),
    (f"UPDATE outbox_history SET moved_from = 'failed' {SUBMITTED}", "moved from failed while it was pending"),
    ("UPDATE travel_claims SET state = 'duplicate'", "it is duplicate, and its history ends with submitted"),
    ("DELETE FROM travel_claims", "its row is gone, its history ends with submitted"),
    ("DELETE FROM outbox_attempts", "moved to submitted though no attempt had succeeded"),
    (
        "UPDATE outbox_attempts SET finished_at = finished_at + interval '1 hour' WHERE purpose = 'write'",
        "moved to submitted though no attempt had succeeded",
    ),
    (
        """INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor)
           SELECT subject_type, subject_id, what, 'submitted', 'pending', 'somebody' FROM outbox_history
            WHERE moved_to = 'submitted'""",
        "moved from submitted to pending, which its states do not allow",
    ),
    (
        """INSERT INTO outbox_messages
                  (job, queue, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
           SELECT 'jobs.travel_claims.file_check_in_claim', 'travel_claims', 'travel_claim', id::text, 'later',
                  outbox_now() + interval '1 day', outbox_now(), outbox_now() FROM travel_claims""",
        "still works on it",
    ),
]


def test_the_first_illegal_step_is_named(product: Product) -> None:
    claim = filed_and_notified(product)
    for statement, why in ILLEGAL:
        with undone():
            product.rows(f"{statement} RETURNING 1")
            (step,) = traced(product, claim)
        assert why in step.why
    assert traced(product, claim) == []


def test_an_illegal_step_is_an_error_of_the_audit(product: Product) -> None:
    claim = filed_and_notified(product)
    product.rows(f"{ILLEGAL[0][0]} RETURNING 1")
    result = command(product, "audit", "--trace")
    assert (result.exit_code, f"illegal: travel_claim {claim.id}" in result.stdout) == (1, True)
    assert "histories: 2 read, " in result.stdout


A_SECOND_WRITE = """
    INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, status,
                                 started_at, finished_at, worker_id)
    SELECT message_id, fence + 1, subject_type, subject_id, job, upstream, 'write', 'success',
           started_at + interval '1 us', finished_at, worker_id FROM outbox_attempts WHERE purpose = 'write'
"""
ENDED_AFTERWARDS = """
    UPDATE outbox_attempts SET end_number = nextval('outbox_attempts_id_seq')
     WHERE id = (SELECT min(id) FROM outbox_attempts WHERE purpose = 'write')
"""


def test_two_attempts_at_once_are_detected_by_their_numbers_whatever_the_timestamps_say(product: Product) -> None:
    claim = filed_and_notified(product)
    product.rows(f"{A_SECOND_WRITE} RETURNING 1")
    assert traced(product, claim) == []
    product.rows(f"{ENDED_AFTERWARDS} RETURNING 1")
    (step,) = traced(product, claim)
    assert "began before attempt" in step.why


def test_an_attempt_that_never_ended_overlaps_the_next_one(product: Product) -> None:
    claim = filed_and_notified(product)
    product.rows(f"{A_SECOND_WRITE} RETURNING 1")
    product.rows("""UPDATE outbox_attempts SET status = 'try', finished_at = NULL
                   WHERE id = (SELECT min(id) FROM outbox_attempts WHERE purpose = 'write') RETURNING 1""")
    (step,) = traced(product, claim)
    assert "began before attempt" in step.why


HOUR_AHEAD, BACK = timedelta(hours=1), timedelta(0)
SEEM_TO_OVERLAP = """
    SELECT count(*) FROM outbox_attempts a JOIN outbox_attempts b ON b.message_id = a.message_id AND b.id > a.id
     WHERE b.started_at < a.finished_at
"""


def test_a_clock_set_back_between_two_attempts_makes_nothing_illegal(product: Product) -> None:
    product.move_clock(HOUR_AHEAD)
    claim = file_claim(product)
    granted = take(product, claim)
    call(product, granted)
    lose(product, granted)
    product.move_clock(BACK)
    product.work()
    assert product.value(SEEM_TO_OVERLAP) == 1
    assert traced(product, claim) == []
    ends = product.rows("SELECT id, end_number FROM outbox_attempts ORDER BY id")
    assert all(row.end_number > row.id for row in ends)


def test_sending_again_before_two_look_ups_found_nothing_is_illegal(product: Product) -> None:
    claim = found_by_looking(product)
    product.rows("UPDATE outbox_attempts SET purpose = 'write' WHERE purpose = 'look_up' RETURNING 1")
    (step,) = traced(product, claim)
    assert "sent again what attempt" in step.why


def test_only_an_operator_may_reopen_a_failed_claim(product: Product) -> None:
    claim = failed_and_filed_after_all(product)
    product.rows("UPDATE outbox_history SET actor = 'worker' WHERE moved_from = 'failed' RETURNING 1")
    (step,) = traced(product, claim)
    assert step.why == "taken up again by worker instead of an operator"


def test_of_several_illegal_steps_the_earliest_is_named(product: Product) -> None:
    claim = filed_and_notified(product)
    product.rows("UPDATE travel_claims SET state = 'duplicate' RETURNING 1")
    product.rows("UPDATE outbox_history SET moved_from = 'failed' WHERE moved_to = 'submitted' RETURNING 1")
    found = json.loads(command(product, "audit", "--trace", "--json").stdout)["trace"]
    assert (found["histories_read"], len(found["illegal"])) == (2, 1)
    assert found["illegal"][0]["why"] == "moved from failed while it was pending"
    assert found["illegal"][0]["subject_id"] == claim.id
