"""Keys of encryption: wrong ones are noticed before anything is written, and every earlier one can be retired."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from werkzeug.security import generate_password_hash

from flaskapp.db import db, transaction
from flaskapp.keys import passes, places
from flaskapp.keys.checks import KeyWatch
from flaskapp.ops.commands import NEED_RIGHT_KEYS
from flaskapp.webhooks import service as webhooks
from jobs import processes
from jobs.engine.runner import Process
from tests.edge_app import csrf_of, log_in
from tests.integration.form526_steps import filer
from tests.integration.itf_steps import sign_in
from tests.integration.key_steps import (
    checked,
    config_of,
    deployed,
    new_key,
    released,
    reseal,
    states,
    under,
    with_newer_encryption_key,
)
from tests.integration.steps import command, file_claim, filed_and_notified
from tests.integration.travel_pay_steps import traveling
from tests.product import Product

OPENS_NOTHING = "the encryption keys do not open what is stored"
FINDS_NOTHING = "the digest keys do not find what is stored"
WRITERS = ("audit --repair", "outbox requeue 1", "breakers lift btsss", "cases list")
# The migration before the one that brings the records.
BEFORE_KEYS = "0012"
# On a busy machine too, a transaction of a test may take its time.
PATIENT = "SET LOCAL idle_in_transaction_session_timeout = 0"
DAMAGE = "UPDATE travel_claims SET identity = 'damaged' WHERE id = '{id}' RETURNING 1"


def stored_everywhere(product: Product) -> None:
    """Something in every place that is encrypted."""
    filed_and_notified(product)
    person = filer(product)
    person.file(person.attach())
    traveling(product).file()
    sign_in(product).ask()
    product.work(until=lambda: product.value("SELECT count(*) FROM form526_document_submissions"))
    product.rows("""
        INSERT INTO contact_discrepancies (id, account_id, field, masked, digest)
        SELECT gen_random_uuid(), a.id, 'phone', c.identity, 'x' FROM accounts a, travel_claims c LIMIT 1 RETURNING 1
    """)
    with transaction() as session:
        webhooks.rotate(session, webhooks.add(session, "https://example.com", ["case.opened"], "test").id, "test")


# -- wrong keys ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason", "advice"),
    [
        ({"encryption_keys": (new_key(),)}, OPENS_NOTHING, "at the end of ENCRYPTION_KEYS"),
        ({"digest_key": "another"}, FINDS_NOTHING, "at EARLIER_DIGEST_KEYS"),
    ],
    ids=["encryption", "digest"],
)
def test_other_keys_than_those_of_what_is_stored_are_refused_everywhere(
    product: Product, changes: dict[str, Any], reason: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = file_claim(product)
    before = product.messages()
    with deployed(product, **changes) as wrong:
        refused = command(wrong, "release")
        assert (refused.exit_code, reason in refused.output, advice in refused.output) == (1, True, True)
        for name in WRITERS:
            act = command(wrong, *name.split())
            assert (act.exit_code, reason in act.output) == (1, True), name
        ready = wrong.app.test_client().get("/healthz/ready")
        assert (ready.status_code, ready.get_json()["reason"]) == (503, reason)
        answer = sign_in(wrong).post()
        assert (answer.status_code, answer.get_json()["errors"][0]["code"]) == (503, "KEYS")
        assert answer.headers["Retry-After"] == "60"
        assert wrong.app.test_client().get("/healthz/live").status_code == 200
        assert wrong.app.test_client().get("/ops/login").status_code == 200
        watch = KeyWatch(wrong.app.extensions["vault"])
        with pytest.raises(SystemExit) as web:
            watch.refuse_start(wrong.app)
        assert (web.value.code, reason in capsys.readouterr().err) == (3, True)
        process = Process("worker-1")
        assert processes.await_keys(wrong.app, process) is False
        assert process.fault is not None and process.fault.startswith(reason) and advice in process.fault
    assert product.messages() == before
    assert claim.state["state"] == "pending"
    assert product.app.test_client().get("/healthz/ready").status_code == 200
    assert released(product)


@pytest.mark.parametrize("changes", [{"encryption_keys": (new_key(),)}, {"digest_key": "another"}])
def test_a_first_record_is_compared_with_what_is_stored(product: Product, changes: dict[str, Any]) -> None:
    """As in a database that is older than the records."""
    file_claim(product)
    product.rows("DELETE FROM key_checks RETURNING 1")
    with deployed(product, **changes) as wrong:
        refused = command(wrong, "release")
        assert (refused.exit_code, "not one of" in refused.output) == (1, True), refused.output
        assert product.rows("SELECT 1 FROM key_checks") == []
    assert product.app.test_client().get("/healthz/ready").get_json()["reason"] == ("no release has recorded the keys")
    released(product)
    assert product.app.test_client().get("/healthz/ready").status_code == 200


def test_a_database_without_the_table_is_released_and_a_process_waits_for_that(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(product, "db", "downgrade", BEFORE_KEYS).exit_code == 0
    monkeypatch.setattr(processes, "BEAT_SECONDS", 0.05)
    process, began = Process("worker-1"), []

    def wait() -> None:
        with product.app.app_context():
            began.append(processes.await_keys(product.app, process))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert product.app.test_client().get("/healthz/ready").status_code == 503
    assert began == []
    released(product)
    waiting.join(30)
    assert began == [True]
    assert product.app.test_client().get("/healthz/ready").status_code == 200


def test_keys_are_looked_at_again_while_a_process_runs(product: Product) -> None:
    """A web process and a worker stop using a key that is being retired."""
    watch: KeyWatch = product.app.extensions["keys"]
    assert sign_in(product).post().status_code in (200, 202)
    with deployed(product, **with_newer_encryption_key(product)) as newer:
        released(newer)
        process = Process("worker-1")
        assert processes.await_keys(newer.app, process)
        vault = product.app.extensions["vault"]
        old = Process("worker-2")
        processes.stop_with_wrong_keys(db.engine, vault, old)
        assert not old.stopping.is_set()
        assert product.app.test_client().get("/healthz/ready").status_code == 200
        reseal(newer)
        processes.stop_with_wrong_keys(db.engine, vault, old)
        assert old.stopping.is_set() and "out of use" in str(old.fault)
        watch._next = 0.0
        assert sign_in(product).post().get_json()["errors"][0]["code"] == "KEYS"
        assert sign_in(newer).post().status_code in (200, 202)
    refused = command(product, "release")
    assert (refused.exit_code, OPENS_NOTHING in refused.output) == (1, True)


# -- what cannot be opened ----------------------------------------------------


def test_a_damaged_row_is_no_500_and_costs_one_attempt(product: Product) -> None:
    claim = file_claim(product)
    product.rows(DAMAGE.format(id=claim.id))
    product.work()
    message = claim.message
    assert (message["state"], message["parked_reason"], product.cases()) == (
        "parked",
        "unsettled: InvalidToken",
        ["unsettled"],
    )
    assert product.value("SELECT count(*) FROM outbox_attempts") == 1
    answer = product.ask(claim.client)
    assert (answer.status_code, answer.get_json()["errors"][0]["code"]) == (503, "KEYS")
    found = checked(product)
    assert (found["exit_code"], under(found["encrypted"], "none_fits")) == (1, 1)
    assert command(product, "keys", "check").exit_code == 1


def test_a_damaged_file_costs_one_attempt_before_anything_of_it_is_sent(product: Product) -> None:
    person = filer(product)
    person.file(person.attach())
    product.rows("UPDATE form526_attachment_chunks SET sealed = 'damaged' RETURNING 1")
    product.work()
    evidence = product.value("SELECT id::text FROM form526_document_submissions WHERE attachment_guid IS NOT NULL")
    attempts = product.rows("SELECT status FROM outbox_attempts WHERE subject_id = :id", id=evidence)
    assert ([row.status for row in attempts], product.cases()) == (["error"], ["unsettled"])


def test_work_sealed_with_a_newer_key_waits_for_a_worker_that_has_it(product: Product) -> None:
    """While a release rolls out, a worker of before meets what a web process of after has accepted."""
    with deployed(product, **with_newer_encryption_key(product)) as newer:
        released(newer)
        claim = file_claim(newer)
    product.work(until=lambda: product.app.extensions["process"].stopping.is_set())
    message = claim.message
    assert (message["state"], message["charged_attempts"], product.cases()) == ("later", 0, [])
    assert product.value("SELECT count(*) FROM outbox_attempts") == 1
    assert OPENS_NOTHING in product.app.extensions["process"].fault
    assert product.ask(product.sign_in()).status_code == 503
    with deployed(product, encryption_keys=newer.app.extensions["config"].encryption_keys) as newer:
        newer.rows("UPDATE outbox_messages SET due_at = outbox_now() RETURNING 1")
        newer.work()
        assert newer.claim_state(newer.sign_in(), claim.id)["state"] == "submitted"


# -- retiring an encryption key -----------------------------------------------


def test_everything_is_sealed_anew_and_the_earlier_key_can_be_dropped(product: Product) -> None:
    stored_everywhere(product)
    changes = with_newer_encryption_key(product)
    with deployed(product, **changes) as newer:
        released(newer)
        before = checked(newer)
        assert before["exit_code"] == 0
        assert {line["place"] for line in before["encrypted"] if line["key_2"]} == {
            place.name for place in places.sealed_places()
        }
        done = reseal(newer)
        assert (done.exit_code, "0 left" in done.output) == (0, True), done.output
        after = checked(newer)
        assert (under(after["encrypted"], "key_1"), under(after["encrypted"], "key_2")) == (
            under(before["encrypted"], "key_2"),
            0,
        )
        assert states(newer, "encryption") == ["gone", "used"]
        assert reseal(newer).exit_code == 0
    with deployed(product, encryption_keys=changes["encryption_keys"][:1]) as only:
        released(only)
        assert only.app.test_client().get("/healthz/ready").status_code == 200
        assert checked(only)["exit_code"] == 0
        only.work()
        assert (
            only.claim_state(only.sign_in(), only.value("SELECT id::text FROM travel_claims"))["state"] == "submitted"
        )
        assert [file["content"] for file in []] == []


def test_a_key_dropped_too_early_is_missed_by_name_and_put_back(product: Product) -> None:
    file_claim(product)
    changes = with_newer_encryption_key(product)
    with deployed(product, **changes) as newer:
        released(newer)
        (earlier,) = newer.app.extensions["vault"].encryption_fingerprints[1:]
    with deployed(product, encryption_keys=changes["encryption_keys"][:1]) as early:
        refused = command(early, "release")
        assert (refused.exit_code, earlier in refused.output) == (1, True)
        assert checked(early)["exit_code"] == 1
        assert command(early, "keys", "reseal").exit_code == 1
        # It is lost: whoever says so may go on without it.
        assert command(early, "keys", "forget", earlier, "--yes").exit_code == 0
        assert command(early, "keys", "forget", earlier, "--yes").exit_code == 1
        released(early)


def test_nobody_reseals_for_a_key_that_is_not_the_newest(product: Product) -> None:
    with deployed(product, **with_newer_encryption_key(product)) as newer:
        released(newer)
    refused = reseal(product)
    assert (refused.exit_code, "is not the newest key" in refused.output) == (1, True)
    assert states(product, "encryption") == ["used", "used"]


def test_a_key_can_be_told_to_all_before_it_is_used(product: Product) -> None:
    """Appended first, it opens everywhere what it seals nowhere yet; so no process ever meets what it cannot open."""
    earlier, key = config_of(product).encryption_keys, new_key()
    with deployed(product, encryption_keys=(*earlier, key)) as told:
        released(told)
        claim = file_claim(told)
    with deployed(product, encryption_keys=(key, *earlier)) as used:
        released(used)
        other = file_claim(used, date="2031-03-05")
        assert reseal(used).exit_code == 0
    with deployed(product, encryption_keys=(key,)) as only:
        released(only)
        only.work()
        client = only.sign_in()
        assert {only.claim_state(client, each.id)["state"] for each in (claim, other)} == {"submitted"}


def test_a_pass_that_was_killed_goes_on_where_it_was(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [f"2031-03-{day:02}" for day in range(4, 10)]
    for day in days:
        file_claim(product, date=day)
    monkeypatch.setattr(places, "ROWS", 2)
    begun: list[Any] = []
    read, keep = places.Columns.read, passes.keep_mark

    def noted(self: places.Columns, session: Any, after: Any) -> list[places.Stored]:
        if self.name == "travel_claims":
            begun.append(after)
        return read(self, session, after)

    def killed(place: Any, *rest: Any) -> None:
        keep(place, *rest)
        if place.name == "travel_claims":
            raise KeyboardInterrupt

    monkeypatch.setattr(places.Columns, "read", noted)
    monkeypatch.setattr(passes, "keep_mark", killed)
    with deployed(product, **with_newer_encryption_key(product)) as newer:
        released(newer)
        assert reseal(newer).exit_code == 1
        assert begun == [None]
        after_kill = under(checked(newer)["encrypted"], "key_2")
        begun.clear()
        monkeypatch.setattr(passes, "keep_mark", keep)
        done = reseal(newer, "--rows-per-second", "100000")
        assert (done.exit_code, after_kill > 0, begun[0] is not None) == (0, True, True), done.output
        assert newer.rows("SELECT 1 FROM key_passes") == []
        newer.work()
        assert newer.value("SELECT count(*) FROM travel_claims WHERE state = 'submitted'") == 6


def test_what_is_written_at_the_same_time_is_not_lost(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has a row locked, writes it and commits: the pass waits for nobody, comes back, and seals what they
    wrote."""
    claim = file_claim(product)
    met = threading.Event()
    find = places.Columns.find

    def noted(self: places.Columns, *args: Any, **options: Any) -> list[places.Stored]:
        found = find(self, *args, **options)
        if self.name == "travel_claims":
            met.set()
        return found

    monkeypatch.setattr(places.Columns, "find", noted)
    with deployed(product, **with_newer_encryption_key(product)) as newer:
        released(newer)
        vault = product.app.extensions["vault"]
        written = {"who": vault.encrypt('{"icn": "written meanwhile"}'), "id": claim.id}
        results: list[Any] = []
        running = threading.Thread(target=lambda: results.append(apart(newer, reseal)))
        with db.engine.connect() as writer:
            writer.execute(text(PATIENT))
            writer.execute(text("UPDATE travel_claims SET identity = :who WHERE id = :id"), written)
            running.start()
            assert met.wait(30)
            writer.commit()
        running.join(60)
        assert results[0].exit_code == 0, results[0].output
        sealed = bytes(newer.value("SELECT identity FROM travel_claims"))
        assert newer.app.extensions["vault"].position_of(sealed) == 0
        assert "written meanwhile" in newer.app.extensions["vault"].decrypt(sealed)


def apart(product: Product, act: Callable[[Product], Any]) -> Any:
    with product.app.app_context():
        return act(product)


def test_a_row_that_stays_locked_is_left_and_named_and_done_by_the_next_run(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = file_claim(product)
    monkeypatch.setattr(passes, "TRY_AGAIN_SECONDS", 0.0)
    with deployed(product, **with_newer_encryption_key(product)) as newer:
        released(newer)
        with db.engine.connect() as holder:
            holder.execute(text(PATIENT))
            holder.execute(text("SELECT 1 FROM travel_claims WHERE id = :id FOR UPDATE"), {"id": claim.id})
            left = reseal(newer)
            holder.rollback()
        assert (left.exit_code, "keep all of ENCRYPTION_KEYS" in left.output) == (1, True)
        assert states(newer, "encryption") == ["leaving", "used"]
        assert reseal(newer).exit_code == 0


def test_every_place_with_a_key_is_known_to_the_passes() -> None:
    """Whoever seals or digests something new has to say where it stands."""
    names = {column.name for table in db.metadata.sorted_tables for column in table.columns if "digest" in column.name}
    known = {
        column.name
        for table in db.metadata.sorted_tables
        for column in table.columns
        if {"digest_of", "digest_from"} & column.info.keys()
    }
    assert names == known


def test_every_command_needs_the_right_keys_but_those_that_say_what_is_wrong(product: Product) -> None:
    free = {"db", "release", "keys", "docs", "operators"}
    assert {each.name for each in NEED_RIGHT_KEYS} == product.app.cli.commands.keys() - free


# -- SECRET_KEY ---------------------------------------------------------------


def test_log_ins_and_page_tokens_survive_a_new_secret_key(product: Product) -> None:
    operators = {"ana": generate_password_hash("correct horse", "pbkdf2:sha256:1000")}
    with deployed(product, operators=operators, secret_key="an earlier secret key") as before:
        client = before.app.test_client()
        assert log_in(client, "correct horse").status_code == 303
        token = csrf_of(client.get("/ops/").text)
        cookie = client.get_cookie("surefile_session")
        assert cookie is not None and token
    for earlier, shown, logged_out in ((("another",), 302, 403), (("an earlier secret key",), 200, 303)):
        changes = {"secret_key": "a newer secret key", "earlier_secret_keys": earlier}
        with deployed(product, operators=operators, **changes) as after:
            client = after.app.test_client()
            client.set_cookie("surefile_session", cookie.value)
            assert client.get("/ops/").status_code == shown
            assert client.post("/ops/logout", data={"csrf_token": token}).status_code == logged_out
            ended = after.value("SELECT count(*) FROM operator_log_outs")
            assert ended == (1 if shown == 200 else 0)
