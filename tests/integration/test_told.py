"""Webhooks: each receiver is told once what happens, signed, whatever others do, and never who it was."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError
from werkzeug.http import http_date

from flaskapp.audit.repair import repair_faults
from flaskapp.audit.report import audit_recent
from flaskapp.db import db, transaction
from flaskapp.upstreams.transport import public
from flaskapp.web.openapi import JSON, document
from jobs.housekeeping import retain
from outbox import breakers, feed, sync_calls
from outbox.values import BreakerSettings
from sandbox.settings import OPERATOR
from tests.described import closed
from tests.edge_app import csrf_of
from tests.integration.console_steps import act, become, logged_in, read
from tests.integration.steps import command, file_claim, reconfigure, sweep
from tests.product import ADA, Product, eventually

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"
CLAIM_MOVED, CASES, BREAKER = "travel_claim.moved", "case.opened", "breaker.opened"
FIVE_MINUTES = timedelta(minutes=5)


class Receiver(ThreadingHTTPServer):
    """Answers with `answers` and then 204, after `held` is set; keeps what came: headers and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Take)
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.held = threading.Event()
        self.held.set()
        self.location: str | None = None
        # Said with whatever is no 2xx.
        self.retry_after: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.came]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.came]


class Take(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.server.held.wait(60)
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if self.server.retry_after and status >= 300:
            self.send_header("Retry-After", self.server.retry_after)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.held.set()
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def add(product: Product, url: str, *kinds: str) -> dict[str, Any]:
    """Its id, secret and kinds."""
    done = command(product, "webhooks", "add", url, "--json", *(word for kind in kinds for word in ("--kind", kind)))
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tell(product: Product) -> None:
    """Let everything happen, read it, and deliver all of it that can be delivered now."""
    product.work()
    sweep(product)
    product.work()


def listed(product: Product, *options: str) -> dict[str, dict[str, Any]]:
    done = command(product, "webhooks", "list", "--json", *options)
    assert done.exit_code == 0, done.output
    return {each["id"]: each for each in json.loads(done.stdout)}


def check_against_description(product: Product, bodies: list[dict[str, Any]]) -> None:
    """Each body is as the description says, and so is the example of each kind."""
    described = document(product.app)
    kinds = {kind: each["post"]["requestBody"]["content"][JSON] for kind, each in described["webhooks"].items()}
    for body in [*bodies, *(each["example"] for each in kinds.values())]:
        schema = {**kinds[body["type"]]["schema"], "components": closed(described["components"])}
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(body)


def case_kinds(product: Product, webhook: str) -> list[str]:
    query = "SELECT kind FROM cases WHERE subject_type = 'webhook' AND subject_id = :id AND closed_at IS NULL"
    return [row.kind for row in product.rows(query, id=webhook)]


def test_each_is_told_once_what_happened_signed_and_by_ids_only(product: Product) -> None:
    with receiving() as told, receiving() as other:
        file_claim(product, date="2031-03-05")
        product.work()
        mine = add(product, told.url, "travel_claim.*", CASES)
        add(product, other.url, BREAKER)
        # Refused at once, and its person is told: a case.
        product.control.play("btsss", "refused")
        claim = file_claim(product)
        product.work()
        with transaction() as session:
            call = sync_calls.enter(session, "btsss", 1.0, "test")
            assert breakers.trip(session, call, "unavailable", BreakerSettings())
        # Whoever comes now is told nothing of before.
        add(product, other.url, "*")
        # Whoever writes may still commit an earlier number: until they end, nothing after it is read.
        with db.engine.begin() as elsewhere:
            elsewhere.execute(text("SELECT pg_current_xact_id()"))
            tell(product)
            assert told.came == []
        tell(product)
        tell(product)
        moves = [each for each in told.bodies if each["type"] == CLAIM_MOVED]
        assert [each["data"] for each in moves] == [
            {"id": claim.id, "from": None, "to": "pending"},
            {"id": claim.id, "from": "pending", "to": "failed"},
        ]
        (case,) = [each for each in told.bodies if each["type"] == CASES]
        assert case["data"]["kind"] == "refused" and case["data"]["subject"] == {"type": "travel_claim", "id": claim.id}
        assert [each["data"] for each in other.bodies] == [{"upstream": "btsss", "reason": "unavailable"}]
        numbers = [each["sequence"] for each in told.bodies]
        assert numbers == sorted(numbers) and len(told.came) == 3 == len(set(told.ids))
        # The public library takes each as it came, and none that was changed or is old.
        for headers, body in told.came:
            assert Webhook(mine["secret"]).verify(body, headers) == json.loads(body)
            with pytest.raises(WebhookVerificationError):
                Webhook(mine["secret"]).verify(body.replace(b"pending", b"granted") + b" ", headers)
        headers, body = told.came[0]
        sent = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        late = Webhook(mine["secret"]).sign(headers["webhook-id"], sent - 2 * FIVE_MINUTES, body.decode())
        old = str(int((sent - 2 * FIVE_MINUTES).timestamp()))
        with pytest.raises(WebhookVerificationError):
            Webhook(mine["secret"]).verify(body, {**headers, "webhook-timestamp": old, "webhook-signature": late})
        check_against_description(product, [*told.bodies, *other.bodies])
        everything = b"".join(body for _, body in (*told.came, *other.came)).decode()
        personal = [value for value in vars(ADA).values() if isinstance(value, str) and len(value) > 2]
        assert len(personal) > 5 and [value for value in personal if value in everything] == []
        assert audit_recent().clean


def test_the_snippets_of_the_documentation_verify_and_refuse(product: Product) -> None:
    """Both are run as they stand, that of JavaScript where node is."""
    snippet, script = re.findall(r"^```(?:python|javascript)\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    with receiving() as told:
        mine = add(product, told.url, "*")
        file_claim(product)
        tell(product)
        names: dict[str, Any] = {}
        exec(snippet.replace("whsec_…", mine["secret"]), names)  # noqa: S102
        headers, body = told.came[0]
        assert names["receive"](headers, body) == 204
        handled = len(names["handled"])
        assert names["receive"](headers, body) == 204 and len(names["handled"]) == handled == 1
        assert names["receive"](headers, body + b" ") == 400
        # Signed as rightly as ever: nothing but its age is wrong.
        then = datetime.fromtimestamp(1_700_000_000, UTC)
        signed = Webhook(mine["secret"]).sign(headers["webhook-id"], then, body.decode())
        old = {**headers, "webhook-timestamp": "1700000000", "webhook-signature": signed}
        assert names["receive"](old, body) == 400
        if node := shutil.which("node"):
            text = body.decode()
            tried = [
                [headers, text],
                [headers, text + " "],
                [old, text],
                [{**headers, "webhook-signature": "v1"}, text],
            ]
            asked = f"{script}\nconst tried = {json.dumps(tried)}, secret = {json.dumps(mine['secret'])};"
            asked += "console.log(JSON.stringify(tried.map(([headers, body]) => isOurs(secret, headers, body))))"
            said = subprocess.run([node, "-e", asked], check=True, capture_output=True, text=True)
            assert json.loads(said.stdout) == [True, False, False, False]


def test_a_delivery_comes_again_under_its_id_and_a_secret_is_rotated_without_a_gap(product: Product) -> None:
    with receiving() as told:
        mine = add(product, told.url, CLAIM_MOVED)
        told.answers = [500, 503, 302, 204]
        told.location = told.url
        file_claim(product)
        tell(product)
        first = told.ids[0]
        assert told.ids[:4] == [first] * 4 and len(told.came) == 5
        assert {row.state for row in product.rows("SELECT state FROM webhook_deliveries")} == {"delivered"}
        renewed = json.loads(command(product, "webhooks", "rotate", mine["id"][:8], "--json").stdout)
        # One is refused while others are taken: those do not wait for it, and it comes again by itself.
        told.came.clear()
        told.answers = [422]
        done = command(product, "webhooks", "redeliver", mine["id"], "--since", "2020-01-01")
        assert (done.exit_code, done.stdout) == (0, "what waits is delivered now; once more: 2\n")
        product.work()
        eventually(lambda: (tell(product), len(told.came) >= 3)[1])
        assert told.ids[0] == first and told.ids.count(first) == 2 and len(set(told.ids)) == 2
        for secret in (mine["secret"], renewed["secret"]):
            Webhook(secret).verify(told.came[0][1], told.came[0][0])
        assert listed(product)[mine["id"]]["pending"] == 0
        product.move_clock(timedelta(days=31))
        retain()
        assert product.value("SELECT count(*) FROM webhook_deliveries") == 0


def test_a_dead_receiver_is_tried_alone_given_to_a_human_and_removed(product: Product, secrets_folder: Path) -> None:
    with receiving() as told, ExitStack() as later:
        dead = later.enter_context(receiving())
        gone = later.enter_context(receiving())
        mine, lost, left = (add(product, each.url, CLAIM_MOVED)["id"] for each in (told, dead, gone))
        dead.answers, gone.answers = [503] * 1_000, [410] * 1_000
        file_claim(product)
        product.work()
        sweep(product)
        product.work(until=lambda: len(dead.came) >= 3 and case_kinds(product, left))
        assert (len(told.came), case_kinds(product, mine)) == (2, [])
        assert {body["sequence"] for body in dead.bodies} == {min(body["sequence"] for body in dead.bodies)}
        assert (
            product.value(
                "SELECT count(*) FROM outbox_messages WHERE subject_type = 'webhook' AND subject_id = :id", id=lost
            )
            == 1
        )
        product.move_clock(timedelta(days=3, hours=1))
        product.work()
        assert (case_kinds(product, lost), case_kinds(product, left)) == (["webhook_failing"], ["webhook_failing"])
        assert listed(product)[lost]["work"] == "parked" and audit_recent().clean
        case = product.value("SELECT id FROM cases WHERE subject_id = :id", id=lost)
        page = read(logged_in(product, secrets_folder), f"/ops/cases/{case}")
        assert f"flask webhooks redeliver {lost}" in page
        dead.answers, seen = [], len(dead.came)
        assert command(product, "webhooks", "redeliver", lost).exit_code == 0
        product.work()
        assert (len(dead.came) - seen, case_kinds(product, lost)) == (2, [])
        withdrawn = command(product, "webhooks", "remove", left)
        assert (withdrawn.exit_code, withdrawn.stdout) == (0, "it is told nothing more; deliveries withdrawn: 2\n")
        assert case_kinds(product, left) == [] and left not in listed(product)
        assert listed(product, "--all")[left]["removed_by"].startswith("shell:")
        query = "SELECT DISTINCT state FROM webhook_deliveries WHERE webhook_id = CAST(:id AS uuid)"
        assert [row.state for row in product.rows(query, id=left)] == ["withdrawn"]
        assert product.outstanding() == 0 and "secret" not in str(product.rows("SELECT * FROM outbox_history"))
        refused = command(product, "webhooks", "test", left)
        assert refused.exit_code == 1 and "not any more" in refused.stderr
        for webhook in (mine, lost):
            command(product, "webhooks", "remove", webhook)
        with transaction() as session:
            assert feed.take(session) is None, "nobody is told anything, and nothing is read for anybody"


def test_a_receiver_that_asks_to_be_left_alone_is_up_to_six_hours(product: Product) -> None:
    """In seconds or as a date, and also where it says so in the midst of a batch."""

    def tried_in(asked: str, *answers: int) -> float:
        """Seconds until the next try after these answers, to the second or so."""
        told.retry_after, told.answers, seen = asked, list(answers), len(told.came)
        command(product, "webhooks", "redeliver", mine, "--since", "2020-01-01")
        product.work(until=lambda: len(told.came) >= seen + len(answers) and listed(product)[mine]["work"] == "later")
        assert len(told.came) == seen + len(answers)
        return float(product.value("SELECT extract(epoch FROM due_at - outbox_now())::float FROM outbox_messages"))

    with receiving() as told:
        mine = add(product, told.url, CLAIM_MOVED)["id"]
        file_claim(product)
        tell(product)
        assert (len(told.came), product.outstanding()) == (2, 0)
        in_two_hours = http_date(product.value("SELECT outbox_now()") + timedelta(hours=2))
        assert 3_500 < tried_in("3600", 429) <= 3_600
        assert 7_100 < tried_in(in_two_hours, 503) <= 7_201
        assert 21_500 < tried_in("999999999", 503) <= 21_600
        assert 3_500 < tried_in("3600", 204, 429) <= 3_600
        assert tried_in("Thu, 01 Jan 1970 00:00:00 GMT", 503) < 60


def test_receivers_in_the_console(product: Product, secrets_folder: Path) -> None:
    """One that refuses: seen, paused, sent to again, given a new secret and removed, each by role, with a reason that
    is kept; and the same from a shell."""
    operator = logged_in(product, secrets_folder)
    with receiving() as told:
        mine = add(product, told.url, CLAIM_MOVED)
        here = f"/ops/webhooks/{mine['id']}"
        told.answers = [422] * 100
        file_claim(product)
        tell(product)
        product.rows("UPDATE webhook_deliveries SET created_at = now() - interval '4 days', due_at = now() RETURNING 1")
        tell(product)
        told.answers.clear()
        one, other = (row.id for row in product.rows("SELECT id::text FROM webhook_deliveries ORDER BY sequence"))
        page = read(operator, here)
        assert "0 waiting; 2 refused for good" in page and "HTTP 422" in page
        overview = read(operator, "/ops/webhooks/")
        assert f'href="{here}"' in overview and ">told</td>" in overview and ">answered</td>" in overview
        assert 'href="/ops/webhooks/"' in read(operator, "/ops/")
        preview = command(product, "webhooks", "redeliver", mine["id"], "--preview")
        assert preview.stdout == "waiting: 0; once more: 2. Nothing was changed.\n"
        pause_and_send_again(product, operator, told, mine, one, other)
        renew_and_remove(product, operator, told, mine)


def pause_and_send_again(
    product: Product, operator: FlaskClient, told: Receiver, mine: dict[str, Any], one: str, other: str
) -> None:
    here = f"/ops/webhooks/{mine['id']}"
    # Paused, it is owed what happens and what is sent again, and gets nothing.
    assert "Paused." in act(operator, here, f"{here}/pause", reason="their release")
    assert "somebody was faster" in act(operator, here, f"{here}/pause", reason="once more")
    seen = len(told.came)
    assert "once more: 1, with what waits, when it is resumed." in act(
        operator, here, f"{here}/redeliver", reason="x", only="chosen", delivery=one
    )
    file_claim(product, date="2031-03-05")
    tell(product)
    assert len(told.came) == seen and audit_recent().clean
    page = read(operator, here)
    assert "3 waiting" in page and f"by {OPERATOR}: their release" in page and "HTTP 422" in page
    assert "Receivers of webhooks paused: 1" in read(operator, "/ops/")
    shown = command(product, "show", mine["id"]).output
    assert ": paused" in shown and "reason their release" in shown and mine["secret"] not in shown
    assert command(product, "webhooks", "resume", mine["id"]).exit_code == 0
    product.work()
    assert sorted(told.ids[seen:]) == sorted({*told.ids[seen:]}) and len(told.came) == seen + 3
    assert one in told.ids[seen:] and other not in told.ids[seen:]
    assert "Sent once more: 1, with what waits, now." in act(
        operator, here, f"{here}/redeliver", reason="they mended it"
    )
    product.work()
    assert told.ids[-1] == other and "0 refused for good" in read(operator, here)


def renew_and_remove(product: Product, operator: FlaskClient, told: Receiver, mine: dict[str, Any]) -> None:
    here = f"/ops/webhooks/{mine['id']}"
    # A form that is sent twice draws one secret, and ends none that is in use.
    form = {"csrf_token": csrf_of(operator.get(here).text), "reason": "somebody left", "known": ""}
    secret = re.search(r"whsec_[^<]+", operator.post(f"{here}/rotate", data=form).text)
    again = operator.post(f"{here}/rotate", data=form, follow_redirects=True).text
    assert secret is not None and "somebody was faster" in again and "whsec_" not in again
    command(product, "webhooks", "redeliver", mine["id"], "--since", "2020-01-01")
    product.work()
    for each in (mine["secret"], secret[0]):
        Webhook(each).verify(told.came[-1][1], told.came[-1][0])

    become(product)
    page = read(operator, here)
    assert "Draw a new secret" not in page and "Remove for good" not in page and "Pause" in page
    for act_of_theirs in ("rotate", "remove"):
        assert operator.post(f"{here}/{act_of_theirs}", data=form).status_code == 403
    become(product, operator_viewers=(OPERATOR,))
    assert operator.post(f"{here}/pause", data=form).status_code == 403
    become(product, operator_administrators=(OPERATOR,))
    assert "It is told nothing more." in act(operator, here, f"{here}/remove", reason="they are gone")
    assert mine["id"] not in read(operator, "/ops/webhooks/") and "Redeliver all" not in read(operator, here)
    acts = product.rows("SELECT what, actor, detail FROM outbox_history WHERE what ~ '^webhook[.]' ORDER BY id")
    kept = [(each.what, each.detail.get("reason")) for each in acts if each.actor == OPERATOR]
    assert kept == [
        ("webhook.paused", "their release"),
        ("webhook.redelivered", "x"),
        ("webhook.redelivered", "they mended it"),
        ("webhook.rotated", "somebody left"),
        ("webhook.removed", "they are gone"),
    ]
    assert "whsec_" not in str(acts)


def test_a_hanging_receiver_stops_nobody_and_lost_work_is_found(product: Product) -> None:
    with receiving() as told, receiving() as hanging:
        hanging.held.clear()
        reconfigure(product, webhook_total_seconds=0.3)
        mine, other = (add(product, each.url, CLAIM_MOVED)["id"] for each in (hanging, told))
        claim = file_claim(product)
        product.work()
        sweep(product)
        product.work(until=lambda: len(told.came) == 2 and hanging.came)
        assert claim.state["state"] == "submitted"
        # Whatever loses the message, the audit finds that, and the repair or the next sweep makes it good.
        product.rows("DELETE FROM outbox_messages WHERE subject_type = 'webhook' RETURNING 1")
        product.rows("UPDATE webhook_deliveries SET due_at = now() - interval '1 hour' RETURNING 1")
        (fault,) = audit_recent().faults
        assert (fault.rule, fault.work) == ("webhook_without_work", mine)
        assert [done.repaired for done in repair_faults([fault], "test")] == [True]
        hanging.held.set()
        reconfigure(product, webhook_total_seconds=60.0)
        product.work(until=lambda: listed(product)[mine]["pending"] == 0)
        assert audit_recent().clean and listed(product)[other]["delivered"] == 2


def test_nothing_is_sent_inside_unless_that_is_allowed(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as inside:
        made = add(product, inside.url, CLAIM_MOVED)
        local = inside.url.replace("127.0.0.1", "localhost")
        secure = local.replace("http:", "https:")
        reconfigure(product, webhook_private_addresses=False)
        for url, why in (
            (inside.url, "expected https"),
            (secure, "not a public one"),
            (secure.replace("localhost", "[::ffff:127.0.0.1]"), "not a public one"),
            (secure.replace("localhost", "2130706433"), "not a public one"),
            ("https://someone:secret@example.com/", "no user"),
            ("https://169.254.169.254/latest/meta-data", "not a public one"),
        ):
            refused = command(product, "webhooks", "add", url, "--kind", "*")
            assert refused.exit_code == 1 and why in refused.stderr, (url, refused.stderr)
        # One that was added before, or whose name leads inside by now: no connection is made.
        product.rows("UPDATE webhooks SET url = :url RETURNING 1", url=local)
        file_claim(product)
        product.work()
        sweep(product)
        query = "SELECT error_detail FROM outbox_attempts WHERE subject_type = 'webhook'"
        product.work(until=lambda: product.rows(query))
        assert "before anything was sent" in product.rows(query)[0].error_detail
        tried = command(product, "webhooks", "test", made["id"])
        assert tried.exit_code == 1 and inside.came == []
        # The way to a public one, as if this address were one.
        monkeypatch.setattr(public, "is_public", lambda address: address == "127.0.0.1" or address == "::1")
        product.work()
        assert len(inside.came) == 2
