"""A toy flow, registered in one place.

It is filed, notified, audited, traced, repaired, requeued, shown to operators, overdue when late, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

import flaskapp
from flaskapp import REGISTERED, create_app, requeue
from flaskapp.audit.report import audit
from flaskapp.audit.trace import trace
from flaskapp.config import from_env
from flaskapp.db import db, transaction
from flaskapp.flows import Flow, Flows
from flaskapp.upstreams.errors import Rejected, Unanswered
from jobs import housekeeping
from outbox import breakers
from sandbox.servers import EmbeddedValkey
from sandbox.settings import OPERATOR, environment, kept_secrets
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.templates import TEMPLATE_IDS
from tests.edge_app import log_in
from tests.integration.steps import command, reconfigure
from tests.integration.test_audit_repair import found
from tests.product import ADA, SETTINGS, Product
from tests.toy_flow import CARD, TOY, Base, library

TEMPLATES = dict.fromkeys(("library.issued", "library.failed", "library.unconfirmed"), TEMPLATE_IDS["cie.created"])


@pytest.fixture
def toy(database_url: str, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path) -> Iterator[Product]:
    """The product with one more flow, and nothing else changed."""
    fakes.fakes.reset()
    kept = kept_secrets(secrets_folder)
    config = from_env(environment(database_url, redis_server.url, fakes, kept, SETTINGS))
    app = create_app(config, REGISTERED.and_also(TOY))
    built = Product(app, fakes)
    built.redis.flushall()
    library.__init__()  # type: ignore[misc]
    with app.app_context():
        Base.metadata.create_all(db.engine)
        with transaction() as session:
            breakers.ensure_breakers(session, built.flows.queues, built.flows.sync_upstreams)
        reconfigure(built, vanotify_templates={**TEMPLATE_IDS, **TEMPLATES})
        yield built
        Base.metadata.drop_all(db.engine)
        db.session.remove()
        db.engine.dispose()
    built.redis.close()


def request_card(toy: Product, icn: str = ADA.icn) -> str:
    response = toy.app.test_client().post(f"/library/v0/cards/{icn}")
    assert response.status_code == 202
    return str(response.get_json()["data"]["id"])


def state(toy: Product) -> str:
    return str(toy.value("SELECT state FROM library_cards"))


def standings(toy: Product) -> dict[str, int]:
    with transaction() as session:
        return audit(session).standings["library_card"]


def refuse(toy: Product) -> str:
    library.faults.append(Rejected("library", "no cards today", http_status=422))
    card = request_card(toy)
    toy.work()
    assert (state(toy), toy.cases()) == ("failed", ["refused"])
    return card


def test_it_is_filed_its_person_is_notified_and_the_audit_counts_it(toy: Product) -> None:
    request_card(toy)
    assert standings(toy) == {"outstanding": 1}
    toy.work()
    assert (state(toy), standings(toy)) == ("issued", {"notified": 1})
    assert len(toy.phone()) == 1
    assert found(toy)["broken"] == [] and command(toy, "audit").exit_code == 0


def test_a_lost_reply_is_looked_up_and_nothing_is_done_twice(toy: Product) -> None:
    library.faults.append(Unanswered("library", timed_out=True))
    request_card(toy)
    toy.work()
    assert (state(toy), len(library.issued)) == ("issued", 1)
    purposes = toy.rows("SELECT purpose FROM outbox_attempts WHERE upstream = 'library' ORDER BY id")
    assert [row.purpose for row in purposes] == ["write", "look_up"]


def test_its_history_is_traced(toy: Product) -> None:
    card = request_card(toy)
    toy.work()
    with transaction() as session:
        assert trace(session, "library_card").illegal == []
        session.execute(text("UPDATE library_cards SET state = 'failed'"))
        (step,) = trace(session, "library_card").illegal
        session.rollback()
    assert (step.subject_id, "history ends with issued" in step.why) == (card, True)


def test_a_refusal_is_a_case_of_its_owner_and_a_requeue_files_it_again(toy: Product) -> None:
    refuse(toy)
    owner = toy.app.extensions["config"].case_owner_travel_claim
    assert toy.value("SELECT owner FROM cases") == owner
    (message,) = [each for each in toy.messages() if each["state"] == "parked"]
    assert requeue.requeue_message(message["id"], actor="ada")
    assert state(toy) == "pending"
    toy.work()
    assert (state(toy), toy.cases(), len(toy.phone(2))) == ("issued", [], 2)


@pytest.mark.parametrize(
    ("damage", "rule", "repaired"),
    [
        ("DELETE FROM outbox_messages", "pending_without_work", True),
        ("UPDATE outbox_messages SET queue = 'nowhere'", "unserved", True),
    ],
)
def test_lost_work_is_found_and_repaired(toy: Product, damage: str, rule: str, repaired: bool) -> None:
    request_card(toy)
    toy.rows(f"{damage} RETURNING 1")
    report = found(toy, "--repair")
    assert [(done["rule"], done["repaired"]) for done in report["repaired"]] == [(rule, repaired)]
    toy.work()
    assert state(toy) == "issued"


def test_a_lost_notification_is_repaired(toy: Product) -> None:
    request_card(toy)
    toy.work(until=lambda: toy.value("SELECT count(*) FROM notifications"))
    toy.rows("DELETE FROM notifications RETURNING 1")
    assert [done["rule"] for done in found(toy, "--repair")["repaired"]] == ["notification_missing"]
    toy.work()
    assert (standings(toy), len(toy.phone())) == ({"notified": 1}, 1)


def test_a_broken_rule_of_its_own_goes_to_a_human(toy: Product) -> None:
    request_card(toy)
    toy.work()
    toy.rows("UPDATE library_cards SET card_number = NULL RETURNING 1")
    assert {item["rule"] for item in found(toy, "--repair")["broken"]} == {"number_missing"}
    assert toy.cases() == ["contradiction"]


def test_it_is_overdue_when_it_is_late(toy: Product) -> None:
    request_card(toy)
    toy.move_clock(timedelta(hours=25))
    housekeeping.sweep()
    assert toy.cases() == ["overdue"]


def test_it_is_shown_to_operators_and_counted_in_metrics(toy: Product, secrets_folder: Path) -> None:
    client = toy.app.test_client()
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    request_card(toy)
    assert 'surefile_messages{queue="library",state="ready"} 1.0' in toy.metrics()
    page = client.get("/ops/").text
    assert "<td>library</td>" in page and ">library</a></td>" in page, "its queue and its circuit breaker"
    refuse(toy)
    assert "library card" in client.get("/ops/").text
    assert 'surefile_breaker_open{upstream="library"} 0.0' in toy.metrics()


def test_a_release_stops_while_its_notifications_have_no_template(toy: Product) -> None:
    reconfigure(toy, vanotify_templates=TEMPLATE_IDS)
    result = command(toy, "release")
    assert (result.exit_code, "library.issued" in result.stderr) == (1, True)


# -- nothing is entered twice or left out -------------------------------------


def test_two_flows_cannot_claim_one_name() -> None:
    with pytest.raises(ValueError, match="registered twice as job"):
        REGISTERED.and_also(TOY, replace(TOY, name="another", subjects=(), notification_kinds={}))


def test_a_job_needs_a_registered_subject() -> None:
    (work,) = TOY.works
    with pytest.raises(ValueError, match="library_card"):
        Flows(Flow("library", works=(work,)))


@pytest.mark.parametrize("name", [*REGISTERED.subjects, CARD.name])
def test_every_subject_is_in_every_derived_list(name: str) -> None:
    flows = REGISTERED.and_also(TOY)
    subject = flows.subjects[name]
    assert [work.subject for work in flows.works.values()].count(name) >= 1, "somebody works on it"
    assert (name in flows.promises) == (subject.states is not None)
    assert (name in flows.overdue_subjects) == subject.overdue
    if subject.states is not None:
        assert subject.enqueue is not None and subject.event
        assert (name in flows.submissions) == subject.is_submission
        assert (subject.compose is not None) == subject.is_submission
    works = [work for work in flows.works.values() if work.subject == name]
    assert all(work.queue in flows.queues for work in works)
    assert {work.queue.upstream for work in works} - {None} <= flows.breaker_limits.keys()


def test_every_late_subject_is_overdue_unless_another_case_covers_it() -> None:
    """Only these have another case when they are late, or were promised to nobody."""
    exempt = {name for name, subject in REGISTERED.subjects.items() if not subject.overdue}
    assert exempt == {"intent_to_file", "itf_first_look", "document_poll", "case", "webhook"}


def test_removing_a_flow_removes_its_work_everywhere() -> None:
    without = Flows(*(flow for flow in REGISTERED.flows if flow.name != "travel_pay"))
    assert "travel_pay_claim" not in without.submissions
    assert not any(path.startswith("jobs.travel_pay.") for path in without.works)
    assert "travel_pay" not in {queue.name for queue in without.queues}
    assert "travel_pay" not in without.breaker_limits and "travel_pay" not in without.notification_kinds


def test_every_flow_of_the_application_is_registered() -> None:
    """A folder with a flow.py that is not registered would answer no request and have no audit."""
    folders = {flow.name for flow in REGISTERED.flows}
    assert folders == {path.parent.name for path in (Path(flaskapp.__file__).parent).glob("*/flow.py")}
