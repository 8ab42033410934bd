"""The documents client against the fake: what arrives, every ending of it, every fault, and tokens that die early."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.errors import Rejected, Throttled, Unanswered, Unauthorized, Unavailable, Unexplained
from flaskapp.upstreams.lighthouse.documents import DocumentStatus, NoneKnown, Upload
from flaskapp.upstreams.transport.streamed import BodyBroken
from sandbox.faults import Control
from sandbox.upstreams.keys import OLD_KEY
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import QUICK_STRIKES, Strike, clients_for, settled, write_nothing_first

ADA = with_habit("ok")
CE, BGS, SCAN = "CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE", "MALWARE_SCAN"
DOCUMENTS, TOKEN = "POST /services/benefits-documents/v1/documents", "token"
MIB = 1 << 20
SMALL = [b"%PDF-1.7\nsome", b"thing\r\n--\r\n%%EOF"]
# The connection of the token call is still open, so the next call does not meet a refused connection.
ONCE_CONNECTED = [strike for strike in QUICK_STRIKES if strike.kind != "refuse"]


def upload(clients: Clients, chunks: list[bytes] = SMALL, **changes: Any) -> int:
    given: dict[str, Any] = {
        "claim_id": 600123456,
        "doc_type": "L023",
        "file_name": "letter.pdf",
        "content_type": "application/pdf",
        "size": sum(map(len, chunks)),
        "participant_id": ADA.participant_id,
        "file_number": None,
    }
    return clients.lighthouse_documents.upload(Upload(**{**given, **changes}), lambda: chunks, write_nothing_first)


def held(control: Control) -> list[dict[str, Any]]:
    return list(control.call("GET", "documents", "uploads"))


def plant(control: Control, **fields: Any) -> list[int]:
    """Uploads that are an hour old, of which every step took a minute."""
    planted = {"age_seconds": 3600, "step_seconds": 60, **fields}
    return list(control.call("POST", "documents", "uploads", json=planted)["ids"])


def status(clients: Clients, request_id: int) -> DocumentStatus:
    return clients.lighthouse_documents.statuses([request_id]).found[request_id]


def test_a_document_arrives_whole_under_its_name(clients: Clients, control: Control) -> None:
    chunks = [os.urandom(MIB), os.urandom(MIB), b"", os.urandom(12_345)]
    request_id = upload(clients, chunks, file_name='dr. müller\'s "note".pdf')
    (kept,) = held(control)
    assert (kept["id"], kept["size"]) == (request_id, 2 * MIB + 12_345)
    assert kept["sha256"] == hashlib.sha256(b"".join(chunks)).hexdigest()
    assert (kept["file_name"], kept["content_type"]) == ('dr müller\'s "note".pdf', "application/pdf")
    assert (kept["claim_id"], kept["doc_type"]) == (600123456, "L023")
    assert status(clients, request_id).state == "in_progress"


@pytest.mark.parametrize("identifier", ["participant_id", "file_number"])
def test_one_identifier_is_enough(clients: Clients, control: Control, identifier: str) -> None:
    given = {"participant_id": None, "file_number": None, identifier: getattr(ADA, identifier)}
    upload(clients, **given)
    (kept,) = held(control)
    assert {name: kept[name] for name in given} == given


@pytest.mark.parametrize("changes", [{"doc_type": "L999"}, {"claim_id": 0}, {"chunks": []}])
def test_what_the_api_refuses_may_be_there_for_all_that_we_know_of_its_words(
    clients: Clients, control: Control, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unexplained):
        upload(clients, **changes)
    assert held(control) == []


def test_a_document_that_is_too_large_is_rejected(clients: Clients, control: Control) -> None:
    control.turn("documents", largest_bytes=100)
    with pytest.raises(Rejected) as caught:
        upload(clients)
    assert caught.value.http_status == 413


def test_a_success_that_is_not_true_leaves_an_upload_open(clients: Clients, control: Control) -> None:
    control.turn("documents", success=False)
    with pytest.raises(Unanswered):
        upload(clients)


def test_a_body_that_breaks_off_arrives_nowhere(clients: Clients, control: Control) -> None:
    with pytest.raises(BodyBroken):
        upload(clients, size=10 * MIB)
    assert held(control) == []


def test_a_documents_id_may_come_as_text(clients: Clients, control: Control) -> None:
    control.turn("documents", plan="texts")
    request_id = upload(clients)
    assert status(clients, request_id).started_at is not None


DONE = {CE: "SUCCESS", BGS: "SUCCESS"}
ENDINGS = [
    ("ok", "success", None, DONE),
    ("seconds", "success", None, DONE),
    ("texts", "success", None, DONE),
    ("without_steps", "success", None, {}),
    ("unknown_step", "success", None, {SCAN: "SUCCESS", **DONE}),
    ("unknown_status", "unknown", None, DONE),
    ("stuck", "in_progress", None, {CE: "IN_PROGRESS", BGS: "NOT_STARTED"}),
    ("stuck_at_bgs", "in_progress", None, {CE: "SUCCESS", BGS: "IN_PROGRESS"}),
    ("fails_at_claims_evidence", "failed", CE, {CE: "FAILED", BGS: "NOT_STARTED"}),
    ("fails_at_bgs", "failed", BGS, {CE: "SUCCESS", BGS: "FAILED"}),
    ("fails_at_unknown_step", "failed", SCAN, {SCAN: "FAILED", CE: "NOT_STARTED", BGS: "NOT_STARTED"}),
    ("fails_without_step", "failed", BGS, {CE: "SUCCESS", BGS: "FAILED"}),
    ("fails_without_error", "failed", BGS, {CE: "SUCCESS", BGS: "FAILED"}),
]


def test_every_ending_is_understood_in_one_batch(clients: Clients, control: Control) -> None:
    planted = {plan: plant(control, plan=plan)[0] for plan, *_ in ENDINGS}
    found = clients.lighthouse_documents.statuses(list(planted.values())).found
    assert len(found) == len(ENDINGS)
    for plan, state, step, steps in ENDINGS:
        ending = found[planted[plan]]
        assert (ending.state, ending.failed_step, ending.step_states) == (state, step, steps), plan
        assert ending.started_at is not None
        assert abs(datetime.now(UTC) - timedelta(hours=1) - ending.started_at) < timedelta(seconds=30), plan
        ends = not (state == "in_progress" or plan == "fails_without_error")
        assert (ending.ended_at is not None and ending.ended_at > ending.started_at) == ends, plan
        assert (ending.error is not None) == (state == "failed" and plan != "fails_without_error"), plan


def test_one_odd_entry_does_not_disturb_the_rest_of_a_batch(clients: Clients, control: Control) -> None:
    (good,), (bare,) = plant(control), plant(control, plan="without_time")
    odd = plant(control, plan="without_status") + plant(control, plan="without_request_id")
    answer = clients.lighthouse_documents.statuses([odd[0], 17, good, odd[1], bare])
    assert {request_id: one.state for request_id, one in answer.found.items()} == {good: "success", bare: "success"}
    assert (answer.not_found, answer.unreadable) == ({17}, set(odd))


@pytest.mark.parametrize("reported", ["when_any", "never"])
def test_an_answer_may_leave_the_list_of_missing_ids_out(clients: Clients, control: Control, reported: str) -> None:
    control.turn("documents", not_found_reported=reported)
    planted = plant(control, count=2)
    answer = clients.lighthouse_documents.statuses(planted)
    assert (set(answer.found), answer.not_found, answer.unreadable) == (set(planted), set(), set())
    answer = clients.lighthouse_documents.statuses([*planted, 17])
    assert (answer.not_found, answer.unreadable) == (({17}, set()) if reported == "when_any" else (set(), {17}))


def test_a_batch_of_unknown_ids_is_not_found(clients: Clients) -> None:
    with pytest.raises(NoneKnown) as caught:
        clients.lighthouse_documents.statuses([17, 18])
    assert caught.value.http_status == 404


def test_statuses_of_other_ids_are_ignored(clients: Clients, control: Control) -> None:
    control.turn("documents", unrequested=2)
    planted = plant(control, count=5)
    assert set(clients.lighthouse_documents.statuses(planted[:2]).found) == set(planted[:2])


def test_a_hundred_of_a_thousand_are_found_exactly(clients: Clients, control: Control) -> None:
    wanted = plant(control, count=1000)[450:550]
    assert set(clients.lighthouse_documents.statuses(wanted).found) == set(wanted)


@pytest.mark.parametrize("family", ["kong", "gateway"])
def test_a_404_of_the_gateway_says_nothing_about_documents(upstreams: Upstreams, control: Control, family: str) -> None:
    control.turn("lighthouse", error_family=family)
    clients = clients_for(upstreams, LIGHTHOUSE_BASE_URL=f"{upstreams['lighthouse']}/typo")
    with pytest.raises(Unavailable):
        upload(clients)
    with pytest.raises(Unavailable):
        clients.lighthouse_documents.statuses([17])


@pytest.mark.parametrize("family", ["api", "kong", "gateway"])
def test_every_error_family_is_understood(clients: Clients, control: Control, family: str) -> None:
    control.turn("documents", error_family=family)
    planted = plant(control)
    clients.lighthouse_documents.statuses(planted)
    # Only Kong's shape says in words of the contract that a request is too large.
    too_large = Rejected if family == "kong" else Unavailable
    kinds = {413: (too_large, too_large), 500: (Unanswered, Unavailable), 503: (Unanswered, Unavailable)}
    for code, (written, read) in kinds.items():
        control.set("documents", "status", status=code)
        with pytest.raises(written) as caught:
            upload(clients)
        assert caught.value.http_status == code and not caught.value.detail.startswith("no message")
        with pytest.raises(read):
            clients.lighthouse_documents.statuses(planted)
        control.clear("documents")


@pytest.mark.parametrize("strike", ONCE_CONNECTED, ids=str)
def test_an_upload_reports_what_a_fault_did_and_statuses_are_never_guessed(
    clients: Clients, control: Control, strike: Strike
) -> None:
    planted = plant(control)
    clients.lighthouse_documents.statuses(planted)
    control.set("documents", strike.kind, **strike.fields)
    with pytest.raises(strike.write) as caught:
        upload(clients)
    assert type(caught.value) is strike.write and caught.value.retry_after == strike.retry_after
    with pytest.raises(strike.read) as raised:
        clients.lighthouse_documents.statuses(planted)
    assert type(raised.value) is strike.read
    settled(control, "documents", DOCUMENTS)
    assert len(held(control)) == (2 if strike.worked else 1)


def test_the_gateways_window_says_when_to_try_again(clients: Clients, control: Control) -> None:
    control.turn("documents", minute_limit=1)
    upload(clients)
    with pytest.raises(Throttled) as caught:
        upload(clients)
    assert caught.value.retry_after is not None and 0 < caught.value.retry_after <= 60


@pytest.mark.parametrize("family", ["api", "gateway"])
def test_a_token_that_died_early_is_replaced_once_and_the_document_sent_again(
    clients: Clients, control: Control, family: str
) -> None:
    control.turn("documents", error_family=family)
    control.set("documents", "expire", times=1)
    upload(clients)
    assert [entry["status"] for entry in control.received("documents", DOCUMENTS)] == [401, 200]
    assert len(control.received("documents", TOKEN)) == 2 and len(held(control)) == 1


def test_tokens_that_keep_dying_are_unauthorized_after_one_repeat(clients: Clients, control: Control) -> None:
    control.set("documents", "expire")
    with pytest.raises(Unauthorized):
        upload(clients)
    with pytest.raises(Unauthorized):
        clients.lighthouse_documents.statuses([17])
    assert held(control) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIGHTHOUSE_CLIENT_ID", "somebody-else"),
        ("LIGHTHOUSE_DOCUMENTS_AUDIENCE", "https://elsewhere.invalid"),
        ("LIGHTHOUSE_PRIVATE_KEY", OLD_KEY),
    ],
)
def test_credentials_lighthouse_does_not_know_are_unauthorized(upstreams: Upstreams, name: str, value: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        upload(clients_for(upstreams, **{name: value}))
    assert caught.value.upstream == "lighthouse_documents_auth"
