"""Counting and repair of many broken claims: all are counted and repaired, only the printed list is cut."""

from __future__ import annotations

import json

import pytest

from flaskapp.audit.report import audit_everything
from jobs import housekeeping
from tests.integration.steps import command, file_claim, filed_and_notified
from tests.product import Product

MANY = 150
LOST = """
    WITH requested AS (
        INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state)
        SELECT gen_random_uuid(), person_digest || number, station_digest, appointment_date, identity, 'pending'
          FROM travel_claims, generate_series(1, :many) AS number RETURNING id::text
    )
    INSERT INTO outbox_history (subject_type, subject_id, what, moved_to, actor)
    SELECT 'travel_claim', id, 'travel_claim.requested', 'pending', 'person' FROM requested RETURNING 1
"""
FAULTY = """
    UPDATE outbox_messages SET unresolved_since = outbox_now(), unresolved_why = 'unanswered' RETURNING 1
"""


def test_all_broken_claims_are_counted_and_repaired_however_many(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_claim(product)
    product.rows(LOST, many=MANY)
    report = json.loads(command(product, "audit", "--json").stdout)
    assert (report["broken_count"], report["without_case_count"], len(report["broken"])) == (MANY, MANY, 100)
    housekeeping.audit_all()
    housekeeping.audit_all()
    assert len(product.cases()) == MANY, "each audit opens a hundred more"
    monkeypatch.setattr("flaskapp.ops.commands.audit.REPAIRED_AT_ONCE", 60)
    repaired = command(product, "audit", "--repair")
    assert (repaired.exit_code, repaired.stdout.count("\nrepaired: ") + repaired.stdout.startswith("repaired: ")) == (
        0,
        MANY,
    )
    assert "rules broken: 0" in repaired.stdout
    assert (product.cases(), len(product.messages())) == ([], MANY + 1)
    product.rows(FAULTY)
    faulty = json.loads(command(product, "audit", "--json").stdout)
    assert (faulty["fault_count"], len(faulty["faults"])) == (MANY + 1, 100)
    housekeeping.audit_all()
    assert f"surefile_ledger_faults {MANY + 1}.0" in product.metrics()
    assert command(product, "audit", "--repair").exit_code == 1, "what cannot be repaired is not tried again and again"


def test_a_deleted_claim_is_counted_once_whatever_the_slices(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    filed_and_notified(product)
    claim = file_claim(product, date="2031-03-05")
    gone = file_claim(product, date="2031-03-06")
    product.rows(
        "UPDATE travel_claims SET finished_at = outbox_now() - interval '40 days' WHERE state <> 'pending' RETURNING 1"
    )
    product.rows("DELETE FROM travel_claims WHERE id = :id RETURNING 1", id=gone.id)
    product.rows("DELETE FROM travel_claims WHERE id = :id RETURNING 1", id=claim.id)
    past = "INSERT INTO outbox_history (at, subject_type, subject_id, what, moved_to, actor) SELECT"
    product.rows(
        f"{past} at - interval '41 days', subject_type, subject_id, what, moved_to, actor FROM outbox_history"
        " WHERE subject_id = :id RETURNING 1",
        id=gone.id,
    )
    monkeypatch.setattr("flaskapp.audit.report.SLICE_SIZE", 1)
    report = audit_everything()
    assert sorted(found.rule for found in report.broken) == ["row_gone"] * 2 + ["work_without_subject"] * 2
    assert report.all_broken.count == 4
