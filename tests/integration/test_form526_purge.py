"""The purge beside people who need the same files at the same moment: it takes nothing that somebody claims."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import event, text

from flaskapp.db import db, transaction
from flaskapp.form526.attachments import intake
from jobs import housekeeping
from tests.integration.form526_steps import evidence, filer, poll
from tests.integration.itf_steps import pass_time
from tests.integration.steps import reconfigure
from tests.product import Product

CLAIM = "UPDATE form526_attachments SET submission_id = (SELECT id FROM form526_submissions)"


def kept(product: Product) -> tuple[int, int]:
    """The number of files that we say we have, and of those whose bytes are here."""
    have = product.value("SELECT count(*) FROM form526_attachments WHERE purged_at IS NULL")
    return have, product.value("SELECT count(DISTINCT guid) FROM form526_attachment_chunks")


def purge(product: Product) -> None:
    with product.app.app_context():
        housekeeping.purge_old_files()
        db.session.remove()


def test_a_file_is_not_taken_while_a_form_is_claiming_it(product: Product) -> None:
    person = filer(product)
    person.attach()
    person.file()
    pass_time(product, days=61)
    with db.engine.connect() as claiming:
        claiming.execute(text(CLAIM))
        purging = threading.Thread(target=purge, args=(product,))
        purging.start()
        # A purge that waits for the claim would go on to take what was claimed.
        purging.join(0.5)
        claiming.commit()
        purging.join()
    assert kept(product) == (1, 1)


def test_a_claim_that_comes_while_a_file_is_taken_learns_that_it_is_gone(product: Product) -> None:
    """It waits for the purge; then the form is filed, and its person is asked for the file."""
    person = filer(product)
    named = person.attach()
    pass_time(product, days=61)
    late = filer(product)
    with transaction() as session:
        assert intake.purge_files(session, unclaimed_days=60, kept_days=7) == 1
        claiming = threading.Thread(target=late.file, args=(named,))
        claiming.start()
        claiming.join(0.3)
        assert claiming.is_alive()
    claiming.join()
    product.work()
    assert (kept(product), evidence(product)["failed_step"]) == ((0, 0), "MISSING")


@pytest.mark.parametrize(
    "needed_again",
    [
        "UPDATE form526_document_submissions SET finished_at = NULL, lighthouse_status = 'pending'",
        "UPDATE form526_submissions SET finished_at = NULL, state = 'pending'",
    ],
    ids=["document", "form"],
)
def test_a_file_that_is_needed_again_after_it_was_chosen_stays(product: Product, needed_again: str) -> None:
    reconfigure(product, bdd_instructions="qualified")
    person = filer(product)
    person.file(person.attach())
    product.work()
    poll(product)
    pass_time(product, days=8)

    def act(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """Between two statements of the purge, on another connection."""
        if "SELECT a.guid" in statement and left:
            left.clear()
            with db.engine.begin() as other:
                other.execute(text(needed_again))

    left = [needed_again]
    event.listen(db.engine, "after_cursor_execute", act)
    try:
        purge(product)
    finally:
        event.remove(db.engine, "after_cursor_execute", act)
    assert (left, kept(product)) == ([], (1, 1))
