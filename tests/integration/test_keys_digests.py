"""Digest keys: while one changes, the same is found under either, and nothing is filed twice by processes of either."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.keys import retire
from flaskapp.keys.digests import stored_digests
from flaskapp.keys.models import DIGEST
from flaskapp.travel_claims.service import load_claim
from jobs.engine import runner
from tests.integration.form526_steps import filer
from tests.integration.key_steps import (
    checked,
    deployed,
    released,
    states,
    under,
    with_newer_digest_key,
)
from tests.integration.steps import SUBMIT, call, command, file_claim, lose, take
from tests.integration.travel_pay_steps import traveling
from tests.product import ADA, Product, eventually

COUNTS = ("travel_claims", "travel_pay_claims", "form526_submissions")
OLD_SESSIONS = "DELETE FROM check_in_sessions RETURNING 1"
OLD_KEYS = "DELETE FROM idempotency_keys RETURNING 1"


def counts(product: Product) -> list[int]:
    return [product.value(f"SELECT count(*) FROM {table}") for table in COUNTS]


def file_everything(product: Product) -> list[str]:
    """One of each that a digest keeps from being filed twice; returns what they are known by."""
    claim = product.ask(product.sign_in(), **{"Idempotency-Key": "one"})
    assert claim.status_code == 202, claim.text
    travel_pay = traveling(product).post()
    assert travel_pay.status_code == 202, travel_pay.text
    form = filer(product).file()
    return [claim.get_json()["data"]["id"], travel_pay.get_json()["id"], form["jobId"]]


def together(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all at once, each in a thread and an application context of its own."""
    start, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(position: int, act: Callable[[], Any]) -> None:
        start.wait(30)
        results[position] = act()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_what_was_filed_under_either_key_is_found_before_during_and_after_a_change(product: Product) -> None:
    filed = file_everything(product)
    changes = with_newer_digest_key(product)
    with deployed(product, **changes) as newer:
        released(newer)
        assert file_everything(newer) == filed
        # Processes of both settings run: what the newer one files, the earlier one finds.
        later = file_claim(newer, date="2031-03-05")
    assert file_claim(product, date="2031-03-05").id == later.id
    with deployed(product, **changes) as newer:
        assert states(newer, "digest") == ["used", "used"]
        # As `flask keys redigest` that is killed before it has made the first digest anew.
        retire.begin(DIGEST)
        assert (states(newer, "digest"), under(checked(newer)["digests"], "key_1")) == (["left", "used"], 0)
        assert file_everything(newer) == filed
        assert newer.ask(newer.sign_in(ADA, "2031-03-05"), date="2031-03-05").get_json()["data"]["id"] == later.id
        assert counts(newer) == [2, 1, 1]
        left = command(newer, "keys", "redigest")
        assert (left.exit_code, "are removed with time" in left.output) == (1, True), left.output
        assert (states(newer, "digest"), under(checked(newer)["digests"], "key_2")) == (["left", "used"], 0)
        assert file_everything(newer) == filed
        assert file_claim(newer, date="2031-03-05").id == later.id
        newer.rows(OLD_SESSIONS)
        newer.rows(OLD_KEYS)
        assert command(newer, "keys", "redigest").exit_code == 0
        assert states(newer, "digest") == ["gone", "used"]
    with deployed(product, digest_key=changes["digest_key"]) as only:
        released(only)
        assert checked(only)["exit_code"] == 0
        assert file_everything(only) == filed
        assert counts(only) == [2, 1, 1]


def test_whoever_does_not_know_the_key_in_use_writes_nothing(product: Product) -> None:
    """A process that was left over, of settings from before the change."""
    client = product.sign_in()
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        command(newer, "keys", "redigest")
    answer = product.ask(client)
    assert (answer.status_code, answer.get_json()["errors"][0]["code"]) == (503, "KEYS")
    assert traveling(product).post().status_code == 503
    assert filer(product).submit().status_code == 503
    assert counts(product) == [0, 0, 0]
    assert product.app.test_client().get("/healthz/ready").get_json()["reason"] == "DIGEST_KEY is out of use"


@pytest.mark.parametrize("moved", ["before", "while", "after"])
def test_the_same_claims_are_filed_once_however_processes_of_both_settings_race(product: Product, moved: str) -> None:
    """Two processes, of earlier and of newer settings or both of newer ones, get the same posts at the same time,
    before, while and after the key that is written with changes."""
    days = [f"2031-03-{day:02}" for day in range(4, 10)]
    changes = with_newer_digest_key(product)
    with ExitStack() as stack:
        newer = stack.enter_context(deployed(product, **changes))
        released(newer)
        other = product if moved == "before" else stack.enter_context(deployed(product, **changes))
        if moved == "after":
            command(newer, "keys", "redigest")

        def ask(each: Product, day: str) -> Callable[[], Any]:
            return partial(each.ask, each.sign_in(ADA, *days), date=day)

        acts = [ask(each, day) for day in days for each in (newer, other)]
        if moved == "while":
            acts.insert(len(acts) // 2, partial(command_apart, newer, "keys", "redigest"))
        answers = [answer for answer in together(acts) if hasattr(answer, "get_json")]
        assert [answer.status_code for answer in answers] == [202] * len(days) * 2
        ids = [answer.get_json()["data"]["id"] for answer in answers]
        assert ids[::2] == ids[1::2]
        assert counts(product)[0] == len(days)
        assert product.value("SELECT count(*) FROM outbox_messages") == len(days)
        newer.work()
        assert len(newer.filed()) == len(days)


def command_apart(product: Product, *args: str) -> Any:
    with product.app.app_context():
        return command(product, *args)


def test_the_key_changes_only_when_nobody_is_writing_under_the_earlier_one(product: Product) -> None:
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        changing = threading.Thread(target=lambda: command_apart(newer, "keys", "redigest"))
        with transaction() as session:
            earlier = stored_digests(session).of("x")
            changing.start()
            eventually(lambda: session.execute(text(waits)).scalar_one() or not changing.is_alive())
            assert changing.is_alive()
        changing.join(60)
        with transaction() as session:
            assert stored_digests(session).of("x") != earlier


def test_an_idempotency_key_keeps_its_meaning(product: Product) -> None:
    first = product.ask(product.sign_in(), **{"Idempotency-Key": "k"})
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        for act in (lambda: retire.begin(DIGEST), lambda: command(newer, "keys", "redigest")):
            client = newer.sign_in(ADA, "2031-03-05")
            again = newer.ask(client, **{"Idempotency-Key": "k"})
            assert again.get_json()["data"]["id"] == first.get_json()["data"]["id"]
            refused = newer.ask(client, date="2031-03-05", **{"Idempotency-Key": "k"})
            assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
            act()
        assert counts(newer)[0] == 1


def test_a_check_in_session_lives_through_a_change(product: Product) -> None:
    client = product.sign_in()
    cookie = client.get_cookie("cie_session")
    assert cookie is not None
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        command(newer, "keys", "redigest")
        other = newer.app.test_client()
        other.set_cookie(cookie.key, cookie.value, path=cookie.path)
        assert newer.ask(other).status_code == 202


def file_beside(product: Product, station: str, position: int) -> None:
    """Another claim of Ada's for her day, with digests under the key of this position."""
    vault = product.app.extensions["vault"]
    product.rows(
        """INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state)
           SELECT gen_random_uuid(), :person, :station, appointment_date, identity, 'pending' FROM travel_claims
           RETURNING 1""",
        person=vault.digests(ADA.icn)[position],
        station=vault.digests(station)[position],
    )


def test_two_claims_of_one_day_are_two_under_two_keys(product: Product) -> None:
    """BTSSS's submit names no station, so a job has to know of the other claim, whatever key it is digested with."""
    claim = file_claim(product)
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        command(newer, "keys", "redigest")
        load = partial(load_claim, db.session, claim.id)
        assert load().only_one
        file_beside(newer, "another", 1)
        assert not load().only_one


def test_a_claim_that_stands_under_both_keys_is_named_and_left_to_a_human(product: Product) -> None:
    """From a change of the key without its earlier one, as it was possible before."""
    claim = file_claim(product)
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        identity = newer.value("SELECT identity FROM travel_claims")
        station = json.loads(newer.app.extensions["vault"].decrypt(bytes(identity)))["station"]
        file_beside(newer, station, 0)
        left = command(newer, "keys", "redigest")
        assert (left.exit_code, "Stored twice" in left.output, claim.id in left.output) == (1, True, True), left.output
        assert newer.ask(newer.sign_in()).get_json()["data"]["id"] == claim.id
        newer.rows("DELETE FROM travel_claims WHERE id <> :id RETURNING 1", id=claim.id)
        command(newer, "keys", "redigest")
        assert under(checked(newer)["digests"], "key_2") == 0
        assert newer.ask(newer.sign_in()).get_json()["data"]["id"] == claim.id


def test_two_answers_under_two_keys_are_compared_by_what_they_say(product: Product) -> None:
    """The first was answered late, under the earlier key; what the second records under the newer one is the same."""
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    lose(product, granted)
    runner.finish(SUBMIT, granted, outcome)
    with deployed(product, **with_newer_digest_key(product)) as newer:
        released(newer)
        newer.work()
        kept = newer.rows("SELECT upstream_ids ->> 'digest' FROM outbox_attempts WHERE upstream = 'btsss'")
        assert (len({row[0] for row in kept}), newer.cases()) == (2, [])
        assert newer.claim_state(newer.sign_in(), claim.id)["state"] == "submitted"
