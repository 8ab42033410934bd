"""First looks: what the first visit shows of an ITF filed elsewhere, and never a date that is too good."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy.pool import QueuePool

from flaskapp import clock
from flaskapp.db import db
from flaskapp.intent_to_file.states import UNCHECKED_WORDS, USED_WORDS, WORDS
from flaskapp.web.passthrough import Bulkhead, bulkhead
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_refresh_steps import change, confirm, remove
from tests.integration.itf_steps import (
    WITH_ITF,
    WITHOUT_ICN,
    begin_at_noon,
    creates,
    itfs,
    mails,
    on_file,
    pass_time,
    reads,
    sign_in,
)
from tests.integration.steps import command, reconfigure
from tests.product import ADA, Product, eventually

BEN = DEFAULT_CAST[1]
# Long enough for a busy machine: a wait ends with its result.
PATIENT = 300.0

T = TypeVar("T")


@pytest.fixture
def product(product: Product) -> Product:
    reconfigure(product, itf_first_look_seconds=0.05)
    begin_at_noon(product)
    return product


def while_working(product: Product, request: Callable[[], T]) -> T:
    """The answer to a request beside which a worker runs."""
    with ThreadPoolExecutor(1) as browser:
        answer = browser.submit(request)
        product.work(until=answer.done)
        return answer.result()


def looks(product: Product) -> list[tuple[str, bool | None, int]]:
    return [tuple(row) for row in product.rows("SELECT state, found, cycle FROM itf_first_looks ORDER BY asked_at")]


def day(shown: dict[str, Any]) -> str:
    return str(shown["expirationDate"])[:10]


def test_the_first_visit_shows_what_was_filed_elsewhere(product: Product) -> None:
    """Found by the time of the answer, with its own dates; nothing is requested, and nobody is written to."""
    reconfigure(product, itf_first_look_seconds=PATIENT)
    veteran = WITH_ITF["active"]
    (filed,) = on_file(product, veteran)
    person = sign_in(product, veteran)
    (shown,) = while_working(product, person.shown)
    assert (shown["id"], day(shown), shown["recordState"]) == (filed["id"], filed["expires_at"][:10], "confirmed")
    assert person.ask()["id"] == filed["id"]
    nobody = sign_in(product, WITHOUT_ICN)
    assert (while_working(product, nobody.shown), nobody.post().status_code) == ([], 403)
    newcomer = sign_in(product, BEN)
    assert while_working(product, newcomer.shown) == []
    assert newcomer.ask()["recordMessage"] == WORDS["pending"]
    product.work()
    found, refused, created = itfs(product)
    assert (found["path"], found["how"], found["notification"]) == ("background", "found", None)
    assert (refused["state"], created["how"]) == ("failed", "created")
    assert looks(product) == [("done", True, 1), ("dropped", None, 1), ("done", False, 1)]
    assert (product.cases(), creates(product), len(mails(product))) == (["refused"], 1, 1)
    assert command(product, "audit").exit_code == 0


def test_whoever_posts_first_has_the_date_of_the_one_on_file(product: Product) -> None:
    reconfigure(product, itf_first_look_seconds=PATIENT)
    veteran = WITH_ITF["active"]
    (filed,) = on_file(product, veteran)
    asked = while_working(product, sign_in(product, veteran).ask)
    assert (asked["id"], day(asked), asked["recordState"]) == (filed["id"], filed["expires_at"][:10], "confirmed")
    assert (asked["recordMessage"], creates(product)) == (WORDS["confirmed"], 0)


def test_until_somebody_has_looked_no_end_is_promised(product: Product) -> None:
    """Lighthouse is away: what is shown ends today. When it is back, the date is the one on file."""
    veteran = WITH_ITF["active"]
    (filed,) = on_file(product, veteran)
    product.control.set("lighthouse", "refuse")
    person = sign_in(product, veteran)
    assert person.shown() == []
    asked = person.ask()
    row = itfs(product)[0]
    assert asked["expirationDate"] == (row["legal_midnight_at"] - timedelta(milliseconds=1)).isoformat(
        timespec="milliseconds"
    )
    assert (asked["status"], asked["recordMessage"]) == ("active", UNCHECKED_WORDS)
    assert person.shown() == [asked]
    assert looks(product) == [("pending", None, 1)]
    product.control.clear("lighthouse")
    product.work()
    (shown,) = person.shown()
    assert (shown["id"], day(shown), shown["recordMessage"]) == (
        filed["id"],
        filed["expires_at"][:10],
        WORDS["confirmed"],
    )
    assert (looks(product), len(itfs(product)), creates(product)) == ([("done", True, 1)], 1, 0)
    assert mails(product) == ["itf.confirmed"]
    assert product.rows("SELECT actor FROM outbox_history WHERE moved_to = 'confirmed'") == [("first look",)]


def test_a_look_that_found_none_makes_our_own_date_the_end(product: Product) -> None:
    person = sign_in(product)
    assert person.shown() == []
    product.work()
    assert looks(product) == [("done", False, 1)]
    asked = person.ask()
    assert (asked["recordMessage"], asked["expirationDate"][:4]) == (
        WORDS["pending"],
        str(int(asked["creationDate"][:4]) + 1),
    )


def test_a_look_goes_first_and_a_lost_one_is_found_and_repaired(product: Product) -> None:
    sign_in(product, BEN).post()
    sign_in(product, ADA).get()
    first = "SELECT subject_type FROM outbox_messages ORDER BY deadline_at LIMIT 2"
    assert {row[0] for row in product.rows(first)} == {"itf_first_look"}
    product.rows("DELETE FROM outbox_messages WHERE subject_type = 'itf_first_look' RETURNING 1")
    assert "pending_without_work" in command(product, "audit").output
    command(product, "audit", "--repair")
    product.work()
    assert [state for state, _, _ in looks(product)] == ["done", "done"]
    assert command(product, "audit").exit_code == 0


def test_nobody_waits_while_a_breaker_is_open_or_too_many_wait(product: Product) -> None:
    """Whoever waits here waits in vain, and to the end: no worker runs."""
    reconfigure(product, itf_first_look_seconds=60.0)
    person, began = sign_in(product), time.monotonic()
    for upstream in ("lighthouse_claims", "accounts"):
        command(product, "breakers", "hold", upstream, "--for", "5m", "--reason", "x")
        assert person.ask()["recordMessage"] == UNCHECKED_WORDS
        assert person.shown()[0]["recordMessage"] == UNCHECKED_WORDS
        command(product, "breakers", "lift", upstream)
    product.app.extensions["bulkhead"] = Bulkhead(1)
    with bulkhead().take("itf_first_look"):
        assert person.shown()[0]["recordMessage"] == UNCHECKED_WORDS
    assert time.monotonic() - began < 60.0


def test_whoever_waits_holds_no_connection(product: Product) -> None:
    """As many connections are free while people wait as while nobody does."""
    reconfigure(product, itf_first_look_seconds=60.0)
    people = [sign_in(product, veteran) for veteran in DEFAULT_CAST[:3]]
    with product.app.app_context():
        pool = db.engine.pool
    assert isinstance(pool, QueuePool)
    with ThreadPoolExecutor(3) as browsers:
        waiting = [browsers.submit(person.shown) for person in people]
        eventually(lambda: len(looks(product)) == 3 and pool.checkedout() == 0, 30.0)
        assert not any(answer.done() for answer in waiting)
        product.work(until=lambda: all(answer.done() for answer in waiting))
        assert [answer.result() for answer in waiting] == [[], [], []]


def test_at_zero_no_look_is_made_and_the_words_stay_true(product: Product) -> None:
    reconfigure(product, itf_first_look_seconds=0.0)
    person = sign_in(product)
    assert (person.shown(), person.ask()["recordMessage"]) == ([], UNCHECKED_WORDS)
    assert (looks(product), reads(product)) == ([], 0)


def use(product: Product) -> None:
    """A confirmed ITF, which an accepted form then uses."""
    confirm(product, ADA)
    assert command(product, "itf", "used", str(itfs(product)[0]["id"])).output == "noted\n"


def test_one_that_a_form_has_used_is_theirs_while_upstream_shows_it_and_then_a_new_one_is(product: Product) -> None:
    """Never a date that is no more. A page that gets no valid one posts, and the person has today's date."""
    use(product)
    reconfigure(product, itf_first_look_seconds=PATIENT)
    person = sign_in(product)
    (shown,) = while_working(product, person.shown)
    assert (shown["status"], shown["recordMessage"]) == ("active", USED_WORDS)
    seen = reads(product)
    assert (person.ask()["id"], person.shown()[0]["id"], reads(product)) == (shown["id"], shown["id"], seen)
    change(product, ADA, status="used")
    pass_time(product, hours=2)
    person = sign_in(product)
    assert while_working(product, person.shown) == []
    made = person.ask()
    assert (made["recordState"], made["recordMessage"]) == ("pending", WORDS["pending"])
    product.work()
    used, new = itfs(product)
    assert (used["state"], used["refresh_due_at"], new["state"], new["how"]) == ("used", None, "confirmed", "created")
    assert (new["used_at"], new["effective_date"] > used["effective_date"], new["follows_id"]) == (None, True, None)
    assert (product.cases(), creates(product), len(mails(product, 2))) == ([], 2, 2)
    assert command(product, "audit").exit_code == 0


def test_whoever_posts_first_has_the_used_one_looked_up_as_well(product: Product) -> None:
    use(product)
    reconfigure(product, itf_first_look_seconds=PATIENT)
    change(product, ADA, status="used")
    made = while_working(product, sign_in(product).ask)
    product.work()
    used, new = itfs(product)
    assert (used["state"], new["state"], new["upstream_id"] is not None) == ("used", "confirmed", True)
    assert made["creationDate"][:19] == new["effective_date"].isoformat()[:19] and creates(product) == 2


def has_tried(product: Product) -> bool:
    tries = "SELECT count(*) >= 2 FROM outbox_attempts WHERE error_detail LIKE '%that a form has used%'"
    return bool(product.value(tries))


def test_one_that_was_not_seen_for_a_moment_is_no_answer_to_a_request_for_a_new_one(product: Product) -> None:
    """Neither for the creation nor for a look. The new one is created when upstream shows the used one no more."""
    use(product)
    reconfigure(product, itf_first_look_seconds=PATIENT)
    person = sign_in(product)
    change(product, ADA, status="used")
    assert while_working(product, person.shown) == []
    change(product, ADA, status="active")
    person.ask()
    product.work(until=lambda: has_tried(product))
    pass_time(product, hours=2)
    (waiting,) = while_working(product, sign_in(product).shown)
    assert (waiting["recordState"], creates(product), len(mails(product, 1))) == ("pending", 1, 1)
    change(product, ADA, status="used")
    product.work()
    first, new = itfs(product)
    assert (first["state"], new["state"], new["how"], new["used_at"]) == ("used", "confirmed", "created", None)
    assert (creates(product), product.cases()) == (2, [])


def test_one_that_was_not_seen_for_a_moment_is_the_used_one_again_where_nobody_requested_one(product: Product) -> None:
    use(product)
    reconfigure(product, itf_first_look_seconds=PATIENT)
    change(product, ADA, status="used")
    assert while_working(product, sign_in(product).shown) == []
    change(product, ADA, status="active")
    pass_time(product, hours=2)
    (shown,) = while_working(product, sign_in(product).shown)
    first, again = itfs(product)
    assert (first["state"], again["state"], again["how"]) == ("used", "confirmed", "found")
    assert (again["used_at"], again["upstream_id"]) == (first["used_at"], first["upstream_id"])
    assert (shown["recordMessage"], creates(product), product.cases()) == (USED_WORDS, 1, [])


def test_a_look_that_sees_the_used_one_answers_no_request_that_came_meanwhile(product: Product) -> None:
    use(product)
    pass_time(product, hours=2)
    product.control.set("lighthouse", "refuse")
    assert sign_in(product).ask()["recordState"] == "pending"
    product.control.clear("lighthouse")
    product.work(until=lambda: looks(product)[0][0] == "done" and has_tried(product))
    assert ([row["state"] for row in itfs(product)], creates(product), len(mails(product, 1))) == (
        ["used", "pending"],
        1,
        1,
    )
    change(product, ADA, status="used")
    product.work()
    assert ([row["how"] for row in itfs(product)], creates(product), product.cases()) == (["created"] * 2, 2, [])


@pytest.mark.parametrize("seconds", [0.2, 0.0])
def test_a_request_is_on_record_today_while_nobody_can_see_whether_the_used_one_is_gone(
    product: Product, seconds: float
) -> None:
    """The used one is shown to the end of this day, which is all that we can vouch for."""
    reconfigure(product, itf_first_look_seconds=seconds)
    use(product)
    change(product, ADA, status="used")
    pass_time(product, hours=2)
    product.control.set("lighthouse", "refuse")
    person = sign_in(product)
    (shown,) = person.shown()
    left = datetime.fromisoformat(shown["expirationDate"]) - clock.now()
    assert shown["recordMessage"] == USED_WORDS and left < timedelta(days=1)
    made = person.ask()
    assert (made["recordState"], person.ask()["id"], person.shown()[0]["id"]) == ("pending", made["id"], made["id"])
    used, new = itfs(product)
    assert (used["state"], new["state"], product.cases()) == ("used", "pending", [])
    product.control.clear("lighthouse")
    product.work()
    used, new = itfs(product)
    assert (new["state"], new["how"], new["used_at"], creates(product)) == ("confirmed", "created", None, 2)
    assert made["creationDate"][:19] == new["effective_date"].isoformat()[:19]
    assert command(product, "audit").exit_code == 0


def test_another_that_upstream_shows_instead_of_the_used_one_is_the_persons(product: Product) -> None:
    use(product)
    reconfigure(product, itf_first_look_seconds=PATIENT)
    remove(product, ADA)
    pass_time(product, hours=2)
    body = {"icn": ADA.icn, "age_days": 0}
    product.control.call("POST", "lighthouse", "itfs", json=body)
    (shown,) = while_working(product, sign_in(product).shown)
    used, new = itfs(product)
    assert (used["state"], new["state"], new["used_at"], shown["id"]) == ("used", "confirmed", None, new["upstream_id"])
    assert shown["recordMessage"] == WORDS["confirmed"]
