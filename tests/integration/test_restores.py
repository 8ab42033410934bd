"""Restores from a backup: a database that was set back is noticed, stands still, and then looks before it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from flaskapp.db import db
from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.upstreams.serve import Upstreams
from tests.integration.form526_steps import documents, filer, submissions, uploaded
from tests.integration.itf_steps import creates, on_file, sign_in
from tests.integration.restore_steps import (
    after_restore,
    dump,
    lift_all,
    product_on,
    received,
    recorded,
    report,
    restore,
)
from tests.integration.steps import command, file_claim, filed_and_not_notified_yet, publish
from tests.integration.travel_pay_filing import CARLA, DOV, ELENA, FRANK, JONAS
from tests.integration.travel_pay_steps import on_file as claims_of
from tests.integration.travel_pay_steps import traveling
from tests.product import Product


@dataclass
class Yesterday:
    """What waited when the backup was made, and what the upstreams and people had when the database was lost."""

    backup: Path
    url: str = ""
    submits: int = 0
    told: list[tuple[str, str]] = field(default_factory=list)
    uploads: int = 0


@pytest.fixture
def restored(
    product: Product,
    postgres: EmbeddedPostgres,
    migrated: TemplateDatabase,
    redis_server: EmbeddedValkey,
    fakes: Upstreams,
    secrets_folder: Path,
    tmp_path: Path,
) -> Iterator[tuple[Product, Yesterday]]:
    """Every flow waited when the backup was made. Then all of it was done and told, and one more claim came and went.
    Then the backup was restored, with the Redis of the time after it."""
    filed_and_not_notified_yet(product)
    file_claim(product, DOV)
    file_claim(product, JONAS)
    sign_in(product, ELENA).ask()
    filer(product, ELENA).file()
    traveling(product, FRANK).file()
    yesterday = Yesterday(dump(postgres, db.engine.url.render_as_string(False).replace("+psycopg2", ""), tmp_path))
    product.work()
    file_claim(product, CARLA)
    traveling(product, CARLA).file()
    filer(product, CARLA).file()
    product.work()
    product.phone(8)
    yesterday.told, yesterday.submits = received(product), len(product.submits())
    yesterday.uploads = len(uploaded(product))
    name = migrated.new_name()
    yesterday.url = restore(postgres, yesterday.backup, name)
    try:
        with product_on(yesterday.url, redis_server.url, fakes, secrets_folder) as other:
            yield other, yesterday
    finally:
        postgres.drop_database(name)


def restores_recorded(product: Product) -> int:
    return int(product.value("SELECT count(*) FROM outbox_restores"))


def assert_stands_still(product: Product) -> None:
    """Nothing is moved, and readiness, release and the preview say what to do."""
    before = product.messages()
    publish(product)
    product.run_queued()
    assert product.messages() == before and product.relay.doubt is not None
    ready, release = product.app.test_client().get("/healthz/ready"), command(product, "release")
    for said in (ready.get_json()["reason"], release.output):
        assert "flask after-restore" in said
    assert (ready.status_code, release.exit_code) == (503, 1)
    preview = after_restore(product)
    assert "Nothing was changed" in preview.output and "jobs.travel_claims.file_check_in_claim" in preview.output
    assert json.loads(after_restore(product, "--json").output)["doubted"]
    assert after_restore(product, "--yes").exit_code == 2, "it needs a reason"
    assert (product.messages(), restores_recorded(product)) == (before, 0)


def test_what_happened_after_the_backup_is_found_and_neither_done_nor_told_again(
    restored: tuple[Product, Yesterday],
) -> None:
    product, yesterday = restored
    assert_stands_still(product)
    recorded(product)
    assert command(product, "release").exit_code == 0
    db.session.remove()
    publish(product)
    assert {row["state"] for row in product.messages()} <= {"ready", "later"}, "every upstream is held"
    lift_all(product)
    product.work()
    # Ada, Dov, Elena and Frank have what they had. Jonas is refused once more, and not told once more. Nobody knows
    # whether Elena's documents arrived: a human does, and she is told that.
    assert states(product) == {
        "travel_claims": ["failed", "submitted", "submitted"],
        "intents_to_file": ["confirmed"],
        "form526_submissions": ["accepted"],
        "travel_pay_claims": ["submitted"],
    }
    assert (len(on_file(product, ELENA)), len(claims_of(product, FRANK))) == (1, 1)
    assert len(submissions(product)) == 2, "Elena's, and the one that was lost"
    assert (len(product.submits()), creates(product)) == (yesterday.submits + 1, 1)
    assert len(uploaded(product)) == yesterday.uploads
    assert [row["lighthouse_status"] for row in documents(product)] == ["failed"]
    told_since = list(received(product))
    for each in yesterday.told:
        told_since.remove(each)
    assert told_since == [(ELENA.email, "form526.document_unconfirmed")]
    assert sorted(product.cases()) == ["may_exist_upstream", "refused"]
    assert command(product, "audit", "--trace").exit_code == 0
    db.session.remove()
    counted = {(row["subject"], row["outcome"]): row["count"] for row in report(product)["counts"]}
    flows = ("form526_submission", "intent_to_file", "notification", "travel_claim", "travel_pay_claim")
    assert counted == {**{(flow, "had happened"): 1 for flow in flows}, ("travel_claim", "parked"): 1}
    # Somebody looked by hand, and the document is not there; an upload of before cannot be on its way any more.
    product.move_clock(timedelta(minutes=5))
    (document,) = documents(product)
    assert command(product, "documents", "upload-again", str(document["id"])).exit_code == 0
    db.session.remove()
    product.work(until=lambda: len(uploaded(product)) == yesterday.uploads + 1)


def states(product: Product) -> dict[str, list[str]]:
    tables = ("travel_claims", "intents_to_file", "form526_submissions", "travel_pay_claims")
    return {table: [row.state for row in product.rows(f"SELECT state FROM {table} ORDER BY state")] for table in tables}


def test_what_was_lost_and_is_filed_again_is_found_and_is_theirs(
    restored: tuple[Product, Yesterday], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carla's two claims and her form came after the backup: nothing of them is left here, and she files them again."""
    product, yesterday = restored
    recorded(product)
    lift_all(product)
    monkeypatch.setattr("sandbox.upstreams.va_notify.PAGE", 2)
    lost = {row["kind"] for row in report(product)["told_of_lost"]}
    assert {"cie.created", "travel_pay.submitted"} <= lost
    claim = file_claim(product, CARLA)
    traveling(product, CARLA).file()
    filer(product, CARLA).file()
    product.work()
    assert claim.state["state"] == "submitted"
    assert states(product)["travel_pay_claims"] == ["submitted", "submitted"]
    assert len(product.submits()) == yesterday.submits + 1, "only Jonas, whom BTSSS refused, was tried again"
    assert len(claims_of(product, CARLA)) == 1
    assert (len(submissions(product)), len(uploaded(product))) == (2, yesterday.uploads)
    told_since = [each for each in received(product) if each not in yesterday.told]
    assert sorted(told_since) == [(who.email, "form526.document_unconfirmed") for who in (CARLA, ELENA)]
    assert sorted(received(product)) == sorted([*yesterday.told, *told_since]), "the same, and nothing twice"
    again = {(row["subject_type"], row["subject_id"]) for row in report(product)["filed_again"]}
    assert ("travel_claim", claim.id) in again


def test_a_restore_that_nothing_shows_needs_its_time_and_a_recorded_one_is_not_recorded_again(product: Product) -> None:
    def said(*options: str) -> str:
        return after_restore(product, *options, "--reason", "the disk broke").output

    file_claim(product)
    assert "--from" in said("--yes"), "Redis may be flushed, and nothing shows it"
    assert "nothing to do" in said("--nothing-lost", "--yes")
    assert "cannot be before" in said("--from", "2001-02-03T00:00Z", "--until", "2001-02-02T00:00Z")
    assert "Nothing was changed" in said("--from", "2001-02-03T00:00Z")
    assert "1 messages are in doubt since 2001-02-03" in said("--from", "2001-02-03T00:00Z", "--yes")
    assert "is recorded and done" in said("--yes")
    assert "is recorded and done" not in said("--from", "2001-02-03T00:00Z", "--yes", "--again")
    assert restores_recorded(product) == 2
    held = command(product, "breakers", "holds").output
    assert "the database was restored from a backup" in held and "shell:" in held


def test_a_database_that_was_only_moved_goes_on_as_it_was(product: Product) -> None:
    product.relay.run_once()
    product.rows("UPDATE outbox_era SET messages_oid = 1 RETURNING 1")
    claim = file_claim(product)
    assert "Nothing was changed" in after_restore(product, "--nothing-lost").output
    assert product.app.test_client().get("/healthz/ready").status_code == 503
    assert after_restore(product, "--nothing-lost", "--yes", "--reason", "a new server").exit_code == 0
    product.work()
    assert (claim.state["state"], product.app.test_client().get("/healthz/ready").status_code) == ("submitted", 200)
    (noted,) = product.rows("SELECT actor, detail FROM outbox_history WHERE what = 'restore.nothing_lost'")
    assert noted.actor.startswith("shell:") and noted.detail["reason"] == "a new server"
