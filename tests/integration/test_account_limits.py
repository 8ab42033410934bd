"""What one account may have here at most: files that no form has claimed, and work that is still being filed.

Each refusal says what to do, and nothing that keeps a date is ever refused: an intent to file, and a check-in's claim.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.form526 import service
from flaskapp.form526.attachments.intake import keep_file
from flaskapp.form526.attachments.types import TEXT
from flaskapp.travel_pay import service as travel_pay
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.form526_steps import filer
from tests.integration.itf_steps import pass_time
from tests.integration.steps import reconfigure
from tests.integration.travel_pay_steps import STATION, traveling
from tests.product import ADA, Product, eventually

BEN = DEFAULT_CAST[1]
ACCOUNT = uuid.UUID(ADA.account)
SEND_THE_FORM = "Please send the form that they belong to, and then add this one."


def refused(response: Any, code: str = "422") -> str:
    (error,) = response.get_json()["errors"]
    assert (response.status_code, error["status"], error["code"]) == (422, "422", code), response.text
    return str(error["detail"])


def waiting() -> bool:
    with db.engine.connect() as other:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(other.execute(text(query)).scalar_one())


@contextmanager
def meanwhile(act: Callable[[], Any]):
    """Inside, a first request has done its work and not committed; the second, `act`, begins beside it. The list has
    its answer afterwards."""
    answers: list[Any] = []
    with transaction() as session:
        yield session, answers
        second = threading.Thread(target=lambda: answers.append(act()))
        second.start()
        # It waits for the first: otherwise it would not see what that one takes.
        eventually(lambda: waiting() or not second.is_alive())
        assert second.is_alive()
    second.join()


# -- files --------------------------------------------------------------------


def test_files_that_no_form_has_claimed_are_limited_in_number_and_in_bytes(product: Product) -> None:
    reconfigure(product, attachment_most_files_per_account=2)
    person = filer(product)
    named = [person.attach(), person.attach()]
    words = refused(person.upload())
    assert words == f"You have 2 files here that no form names yet, and we cannot keep more. {SEND_THE_FORM}"
    assert filer(product, BEN).upload().status_code == 200
    person.file(*named)
    assert person.upload().status_code == 200
    reconfigure(product, attachment_most_files_per_account=200, attachment_most_bytes_per_account=3 << 20)
    assert person.upload(content=b"x" * (2 << 20)).status_code == 200
    words = refused(person.upload(content=b"x" * (1 << 20)))
    assert words.endswith(f"this one, have more than the 3 MB that we can keep. {SEND_THE_FORM}")
    assert person.upload().status_code == 200
    held = product.value("SELECT count(*) FROM form526_attachments")
    assert (held, product.value("SELECT count(DISTINCT guid) FROM form526_attachment_chunks")) == (6, 6)


def test_two_files_sent_side_by_side_do_not_both_take_the_last_room(product: Product) -> None:
    reconfigure(product, attachment_most_files_per_account=1)
    person = filer(product)
    # The account is known: making it would already let only one of them go on.
    person.signed.post()
    with meanwhile(person.upload) as (_, answers):
        keep_file(ACCOUNT, "letter.txt", TEXT, BytesIO(b"words"), 5)
    assert "no form names yet" in refused(answers[0])
    assert product.value("SELECT count(*) FROM form526_attachment_chunks") == 1


def test_an_account_at_its_limit_has_no_file_read(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    reconfigure(product, attachment_most_files_per_account=1)
    person = filer(product)
    person.attach()
    monkeypatch.setattr("flaskapp.form526.attachments.opening.read_in_child", lambda *_, **__: pytest.fail("was read"))
    assert SEND_THE_FORM in refused(person.upload("letter.pdf", b"%PDF-1.7"))


def test_room_comes_back_when_unused_files_are_deleted(product: Product) -> None:
    reconfigure(product, attachment_most_files_per_account=1)
    filer(product).attach()
    pass_time(product, days=61)
    housekeeping.purge_old_files()
    assert filer(product).upload().status_code == 200


# -- work ---------------------------------------------------------------------


def test_forms_that_are_being_filed_are_limited_and_an_intent_to_file_is_not(product: Product) -> None:
    reconfigure(product, open_submissions_per_account=2)
    person = filer(product)
    first, _ = person.file(number=1), person.file(number=2)
    words = refused(person.submit(number=3), "TOO_MANY_OPEN")
    assert words.endswith("To keep today's date for something new, file an intent to file: that is always taken.")
    assert person.file(number=1) == first
    assert person.signed.post().status_code in (200, 202)
    assert filer(product, BEN).submit(number=3).status_code == 202
    product.work()
    assert person.submit(number=3).status_code == 202
    assert product.value("SELECT count(*) FROM form526_submissions") == 4


def test_travel_pay_claims_that_are_being_filed_are_limited(product: Product) -> None:
    reconfigure(product, open_submissions_per_account=1)
    person = traveling(product)
    first = person.file()
    words = refused(person.post("2031-03-05T09:30:00"), "TOO_MANY_OPEN")
    assert words.endswith("file this one again within 30 days of its appointment.")
    assert person.file() == first
    product.work()
    assert person.post("2031-03-05T09:30:00").status_code == 202


def test_two_forms_or_claims_side_by_side_do_not_both_become_the_last(product: Product) -> None:
    reconfigure(product, open_submissions_per_account=1)
    person, traveler = filer(product), traveling(product)
    person.signed.post()
    with meanwhile(lambda: person.submit(number=2)) as (session, answers):
        assert service.request_submission(session, ACCOUNT, {"number": 1}) is not None
    refused(answers[0], "TOO_MANY_OPEN")
    with meanwhile(lambda: traveler.post("2031-03-05T09:30:00")) as (session, answers):
        requested = travel_pay.RequestedAppointment(datetime(2031, 3, 4), STATION)
        assert travel_pay.request_travel_pay_claim(session, ACCOUNT, requested) is not None
    refused(answers[0], "TOO_MANY_OPEN")
    db.session.remove()
