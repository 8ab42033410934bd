"""Isolation of the parts of a sweep: one bad row delays no other, and the rest of the sweep is done."""

from __future__ import annotations

from functools import partial

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from flaskapp.db import db
from jobs import housekeeping
from jobs.periodic.isolated import ENOUGH, PartsFailed, run_isolated
from tests.integration.damage_steps import CUT_OFF, cases_of, failing_sweep, in_the_way, overdue
from tests.integration.itf_steps import sign_in
from tests.integration.steps import (
    RequestedClaim,
    command,
    file_claim,
    filed_and_not_notified_yet,
    filed_and_notified,
    sweep,
    texts,
)
from tests.product import ADA, Product

GONE = "DELETE FROM travel_claims WHERE id = '{id}'"
UNKNOWN_JOB = "UPDATE outbox_messages SET job = 'jobs.travel_claims.renamed' WHERE subject_id = '{id}'"
# An answer that an earlier attempt kept, sealed with a key that has been retired since.
SEALED = """
    INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, worker_id, status,
                                 finished_at, upstream_ids)
    SELECT id, 1, subject_type, subject_id, job, upstream, 'write', 'x', 'success', outbox_now(), '{{"answer": "old"}}'
      FROM outbox_messages WHERE subject_id = '{id}'
"""


def two_claims(product: Product) -> tuple[RequestedClaim, RequestedClaim]:
    """Two claims past their limit. The first one is the most overdue, so every sweep takes it first."""
    first, second = file_claim(product, date="2031-03-04"), file_claim(product, date="2031-03-05")
    overdue(product, first.id, hours=2)
    overdue(product, second.id, hours=1)
    return first, second


# -- giving up ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "error"), [(GONE, "NoResultFound"), (UNKNOWN_JOB, "KeyError"), (SEALED, "InvalidToken")]
)
def test_a_claim_that_cannot_be_given_up_goes_to_a_human_and_the_next_is_given_up(
    product: Product, damage: str, error: str
) -> None:
    first, second = two_claims(product)
    product.rows(damage.format(id=first.id) + " RETURNING 1")
    sweep(product)
    message = first.message
    assert (message["state"], message["parked_reason"]) == ("parked", f"unsettled: {error}")
    assert cases_of(product, first.id) == ["unsettled"]
    details = product.value("SELECT details FROM cases WHERE subject_id = :id", id=first.id)
    assert details == {"message": message["id"], "error": error}
    assert (second.state["state"], cases_of(product, second.id)) == ("failed", ["exhausted"])
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE purpose = 'give_up'") == 1
    sweep(product)
    assert (cases_of(product, first.id), first.message["id"]) == (["unsettled"], message["id"])


def test_after_the_damage_is_repaired_a_requeue_goes_on_normally(product: Product) -> None:
    claim = file_claim(product)
    overdue(product, claim.id)
    product.rows(UNKNOWN_JOB.format(id=claim.id) + " RETURNING 1")
    sweep(product)
    assert claim.state["state"] == "pending"
    assert command(product, "audit").exit_code == 0
    product.rows("UPDATE outbox_messages SET job = 'jobs.travel_claims.file_check_in_claim' RETURNING 1")
    assert command(product, "outbox", "requeue", str(claim.message["id"])).exit_code == 0
    product.work()
    assert (claim.state["state"], texts(product), product.cases()) == ("submitted", ["cie.created"], [])
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_connection_lost_over_one_message_does_not_park_it(product: Product) -> None:
    first, second = two_claims(product)
    with in_the_way(product, "UPDATE ON travel_claims", f"NEW.id = '{first.id}'", CUT_OFF):
        message = failing_sweep(product)
    assert message == f"1 failed: give_up, message {first.message['id']}: OperationalError"
    assert (first.message["state"], cases_of(product, first.id)) == ("ready", ["overdue"])
    assert second.state["state"] == "failed"
    sweep(product)
    assert (first.state["state"], "unsettled" in product.cases()) == ("failed", False)


def test_a_message_that_cannot_even_be_parked_is_skipped(product: Product) -> None:
    first, second = two_claims(product)
    product.rows("UPDATE outbox_messages SET subject_type = 'unknown' WHERE subject_id = :id RETURNING 1", id=first.id)
    product.rows(UNKNOWN_JOB.format(id=first.id) + " RETURNING 1")
    assert failing_sweep(product) == f"1 failed: give_up, message {first.message['id']}: KeyError"
    assert (first.message["state"], second.state["state"]) == ("ready", "failed")


def test_a_lost_postgres_is_tried_only_a_few_times(product: Product) -> None:
    waiting = [file_claim(product, date=f"2031-03-{day:02}") for day in range(4, 4 + ENOUGH + 2)]
    for position, claim in enumerate(waiting):
        overdue(product, claim.id, hours=9 - position)
    with in_the_way(product, "UPDATE ON travel_claims", "true", CUT_OFF):
        message = failing_sweep(product)
    assert message.startswith(f"{ENOUGH} failed: give_up, message {waiting[0].message['id']}: OperationalError")
    sweep(product)
    assert {claim.state["state"] for claim in waiting} == {"failed"}


# -- the other parts ----------------------------------------------------------


def test_every_part_of_a_sweep_runs_whatever_the_others_do(product: Product) -> None:
    claim = filed_and_not_notified_yet(product)
    product.work()
    late = file_claim(product, date="2031-03-05")
    overdue(product, late.id, hours=-1)
    parked = file_claim(product, date="2031-03-06")
    assert command(product, "outbox", "park", str(parked.message["id"]), "--reason", "x").exit_code == 0
    product.redis.flushall()
    product.rows("UPDATE notifications SET state = 'sent', sent_at = outbox_now() - interval '4 days' RETURNING 1")
    with in_the_way(product, "UPDATE ON notifications", f"NEW.subject_id = '{claim.id}'"):
        message = failing_sweep(product)
    assert message == "1 failed: delivery_questions: IntegrityError"
    assert cases_of(product, late.id) == ["overdue"]
    assert command(product, "audit", "--json").stdout.count("parked_not_shown") == 0
    sweep(product)
    assert product.value("SELECT count(*) FROM outbox_messages WHERE job LIKE '%.check_delivery'") == 1


def test_a_case_that_cannot_be_opened_prevents_no_other(product: Product) -> None:
    first, second = (file_claim(product, date=date) for date in ("2031-03-04", "2031-03-05"))
    for number, claim in enumerate((first, second)):
        overdue(product, claim.id, hours=number - 2)
    with in_the_way(product, "INSERT ON cases", f"NEW.subject_id = '{first.id}'"):
        assert failing_sweep(product) == f"1 failed: overdue, message {first.message['id']}: IntegrityError"
    assert (cases_of(product, first.id), cases_of(product, second.id)) == ([], ["overdue"])
    sweep(product)
    assert cases_of(product, first.id) == ["overdue"]


def test_an_impossible_date_prevents_no_case_about_another_midnight(product: Product) -> None:
    person = sign_in(product, ADA)
    person.ask()
    product.rows("UPDATE intents_to_file SET legal_midnight_at = outbox_now() - interval '1 hour' RETURNING 1")
    other = product.value("""
        INSERT INTO intents_to_file (id, account_id, type, path, state, asked_at, effective_date, expires_at,
                                     legal_midnight_at, upstream_created_at)
        SELECT gen_random_uuid(), account_id, 'pension', path, state, asked_at, effective_date, expires_at,
               legal_midnight_at - interval '1 hour', '0001-01-01 00:00Z' FROM intents_to_file RETURNING id::text""")
    assert failing_sweep(product) == f"1 failed: past_midnight, intent_to_file {other}: OverflowError"
    assert (product.cases(), cases_of(product, other)) == (["past_midnight"], [])


def test_a_text_that_cannot_be_unsealed_delays_no_delivery_check(product: Product) -> None:
    filed_and_notified(product)
    file_claim(product, date="2031-03-05")
    product.work()
    product.rows("UPDATE notifications SET state = 'sent', sent_at = outbox_now() - interval '4 days' RETURNING 1")
    product.rows("UPDATE notifications SET recipient = 'x' WHERE id = (SELECT min(id::text)::uuid FROM notifications)"
               " RETURNING 1")  # fmt: skip
    sweep(product)
    assert product.value("SELECT count(*) FROM outbox_messages WHERE job LIKE '%.check_delivery'") == 2
    assert product.value("SELECT count(*) FROM notifications WHERE asked_at IS NULL") == 0


# -- the other periodic jobs --------------------------------------------------


def test_a_finding_that_cannot_become_a_case_prevents_no_other(product: Product) -> None:
    first, second = (file_claim(product, date=date) for date in ("2031-03-04", "2031-03-05"))
    product.rows("DELETE FROM outbox_messages RETURNING 1")
    with in_the_way(product, "INSERT ON cases", f"NEW.subject_id = '{first.id}'"), pytest.raises(PartsFailed):
        housekeeping.audit_all()
    assert (cases_of(product, first.id), "unaccounted" in cases_of(product, second.id)) == ([], True)
    housekeeping.audit_all()
    assert "unaccounted" in cases_of(product, first.id)


def test_a_notification_that_cannot_be_unsealed_is_audited_like_any_other(product: Product) -> None:
    filed_and_notified(product)
    product.rows("UPDATE notifications SET recipient = 'x', state = 'undeliverable', finished_at = now() RETURNING 1")
    housekeeping.audit_all()
    assert {"unaccounted", "contradiction"} & set(product.cases())


def test_a_table_that_cannot_be_cleaned_delays_no_other(product: Product) -> None:
    product.sign_in()
    product.rows("UPDATE check_in_sessions SET expires_at = outbox_now() - interval '2 days' RETURNING 1")
    product.rows("ALTER TABLE idempotency_keys RENAME TO elsewhere; SELECT 1")
    with pytest.raises(PartsFailed, match="1 failed: idempotency_keys: ProgrammingError"):
        housekeeping.retain()
    assert product.value("SELECT count(*) FROM check_in_sessions") == 0


def test_after_several_connection_errors_the_remaining_parts_are_not_tried(product: Product) -> None:
    tried: list[int] = []

    def lose_connection(number: int) -> None:
        tried.append(number)
        with db.engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    parts = {f"part {number}": lambda number=number: lose_connection(number) for number in range(9)}
    with pytest.raises(PartsFailed) as failed:
        run_isolated(parts, enough=ENOUGH)
    assert (tried, str(failed.value).partition(":")[0]) == ([0, 1, 2], "3 failed")
    assert failed.value.__context__ is None


def test_an_outage_of_redis_during_a_sweep_is_a_warning_and_no_error(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    product.app.extensions["redis"] = Redis(port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(PartsFailed) as failed:
        housekeeping.sweep()
    assert failed.value.only_redis_away
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_what_is_wrong_beside_an_outage_of_redis_stays_an_error(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: Exception) -> None:
        raise error

    parts = {"away": partial(fail, RedisConnectionError("gone")), "wrong": partial(fail, KeyError("ours"))}
    with pytest.raises(PartsFailed) as failed:
        run_isolated(parts)
    assert not failed.value.only_redis_away
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
