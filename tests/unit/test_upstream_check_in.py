"""The clients of LoROTA and CHIP (contract: travel 1.9) and of VEIS (contract: travel 3): what each answer means."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from flaskapp.upstreams.chip import CHIPClient
from flaskapp.upstreams.errors import (
    PERSON_TOKEN_REFUSED,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from flaskapp.upstreams.lorota import LorotaClient
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.tokens.oauth import lifetime_seconds
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.veis import VEISClient
from tests.unit.loopback import Body, Loopback, Reply, reset, serving, whole
from tests.unit.upstream_settings import SIGNING_KEY, settings

UUID = "0a1b2c3d-1111-4222-8333-444455556666"
TOKEN = whole(200, {"token": "t-1"})
DONE = "Checkin successful"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(TOKEN) as running:
        yield running


@pytest.fixture
def lorota(server: Loopback) -> LorotaClient:
    return LorotaClient(settings(lorota_base_url=server.url, check_in_total_seconds=30), HTTP(10))


@pytest.fixture
def chip(server: Loopback) -> CHIPClient:
    return CHIPClient(settings(chip_base_url=server.url, check_in_total_seconds=30), HTTP(10))


@pytest.fixture
def veis(server: Loopback) -> VEISClient:
    return VEISClient(settings(veis_base_url=server.url, veis_total_seconds=30), HTTP(10))


def test_a_lorota_token_is_requested_with_what_the_person_typed(server: Loopback, lorota: LorotaClient) -> None:
    assert lorota.token(UUID, date(1950, 1, 31), "O'Neill") == "t-1"
    (sent,) = server.received
    assert (sent.line, sent.headers["x-api-key"]) == ("POST /token HTTP/1.1", "lorota-key")
    assert sent.headers["x-apigw-api-id"] == "lorota-api"
    assert sent.json() == {"dob": "1950-01-31", "lastName": "O'Neill"}


def test_signed_claims_name_the_check_in(server: Loopback, lorota: LorotaClient) -> None:
    before = int(time.time())
    lorota.token(UUID, date(1950, 1, 31), "O'Neill")
    claims = jwt.decode(
        server.received[0].headers["x-lorota-claims"], SIGNING_KEY.public_key(), ["RS256"], audience="lorota"
    )
    issued_at, ends_at = claims.pop("iat"), claims.pop("exp")
    # Dated back, for a clock there that is behind ours.
    assert before - 60 < issued_at < before and ends_at - issued_at == 24 * 60 * 60
    assert claims == {"aud": "lorota", "iss": "vets-api", "sub": UUID, "scopes": ["read.full"]}


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (whole(401, {"error": "lastName does not match with the current record"}), Rejected, "no_match"),
        (whole(401, {"error": "DOB does not match with current record"}), Rejected, "no_match"),
        (whole(401, {"error": "lastName or dob does not match with current record"}), Rejected, "no_match"),
        (whole(401, {"error": "ssn4 does not match with current record"}), Rejected, "no_match"),
        (whole(401, {"error": "No match"}), Unauthorized, None),
        (whole(401, {"error": "no match for route"}), Unauthorized, None),
        (whole(401, {"error": "lastName and dob are required"}), Unauthorized, None),
        (whole(401, {"error": "x-lorota-claims: signature does not match"}), Unauthorized, None),
        (whole(401, {"error": "UUID not found"}), Rejected, "not_found"),
        (whole(401, {"error": "error: uuid not found, no dob to compare"}), Rejected, "not_found"),
        (whole(401, {"message": "Unauthorized"}), Unauthorized, None),
        (whole(401, {"error": "Unauthorized"}), Unauthorized, None),
        (whole(401, {}), Unauthorized, None),
        (whole(410, {"error": "Gone"}), Unavailable, None),
        (whole(404, {"error": "id not found"}), Unavailable, None),
        (whole(404, "<html>"), Unavailable, None),
        (whole(401, "<html>"), Unavailable, None),
        (whole(403, {"message": "Forbidden"}), Unauthorized, None),
        (whole(200, {"token": ""}), Unavailable, None),
        (whole(200, "<html>"), Unavailable, "NO_ANSWER"),
        (whole(418, {}), Unavailable, None),
        (whole(500, {}), Unavailable, None),
        (whole(429, {}), Throttled, None),
        (reset, Unavailable, None),
    ],
)
def test_every_answer_to_a_lorota_token_has_one_meaning(
    server: Loopback, lorota: LorotaClient, reply: Reply, kind: type[UpstreamError], code: str | None
) -> None:
    server.replies[:] = [reply]
    with pytest.raises(kind) as caught:
        lorota.token(UUID, date(1950, 1, 31), "Doe")
    assert type(caught.value) is kind and caught.value.code == code


def check_in(**changes: Any) -> dict[str, Any]:
    return {"uuid": UUID, "icn": "1012345678V123456", "appointments": [{"appointmentIEN": "1"}], **changes}


def test_lorota_data_is_fetched_with_the_token(server: Loopback, lorota: LorotaClient) -> None:
    server.replies[:] = [whole(200, check_in(stationNo="983"))]
    assert lorota.data(UUID, "t-1") == check_in(stationNo="983")
    assert server.received[0].line == f"GET /data/{UUID} HTTP/1.1"
    sent = server.received[0].headers
    assert (sent["authorization"], sent["x-api-key"], sent["x-apigw-api-id"]) == (
        "Bearer t-1",
        "lorota-key",
        "lorota-api",
    )


def test_recorded_lorota_data_stand_under_payload(server: Loopback, lorota: LorotaClient) -> None:
    payload = {"appointments": [{"appointmentIEN": "1"}], "demographics": {"icn": "1012345678V123456"}}
    server.replies[:] = [whole(200, {"id": UUID, "scope": "read.full", "payload": payload})]
    assert lorota.data(UUID, "t-1") == payload


def test_lorota_data_without_a_person_are_data_all_the_same(server: Loopback, lorota: LorotaClient) -> None:
    """They are no outage: the appointments can be shown, and only travel pay needs to know who it is."""
    server.replies[:] = [whole(200, check_in(icn=None))]
    assert lorota.data(UUID, "t-1")["appointments"] == [{"appointmentIEN": "1"}]


def test_an_id_cannot_leave_its_part_of_the_path(server: Loopback, lorota: LorotaClient) -> None:
    server.replies[:] = [whole(404, {"error": "id not found"})]
    with pytest.raises(Rejected):
        lorota.data("../token?x=1", "t-1")
    assert server.received[0].line == "GET /data/..%2Ftoken%3Fx%3D1 HTTP/1.1"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(401, {}), Unauthorized),
        (whole(404, {"error": "id not found"}), Rejected),
        (whole(404, {"error": "Not Found"}), Unavailable),
        (whole(404, "<html>"), Unavailable),
        (whole(200, "<html>"), Unavailable),
        (whole(200, {"id": "somebody-else", "payload": check_in()}), Unavailable),
        (whole(200, {"id": UUID, "payload": check_in(uuid="somebody-else")}), Unavailable),
        (whole(200, {"id": UUID, "payload": {}}), Unavailable),
        (whole(200, {"id": UUID, "payload": None}), Unavailable),
        (whole(200, {"error": True, "message": "no"}), Unavailable),
        (whole(200, check_in(appointments=None)), Unavailable),
        (whole(200, check_in(appointments=["text"])), Unavailable),
        (whole(200, check_in(uuid="somebody-else")), Unavailable),
        (whole(200, []), Unavailable),
        (whole(503, {}), Unavailable),
        (reset, Unavailable),
    ],
)
def test_lorota_data_is_trusted_only_when_whole(
    server: Loopback, lorota: LorotaClient, reply: Reply, kind: type[UpstreamError]
) -> None:
    server.replies[:] = [reply]
    with pytest.raises(kind) as caught:
        lorota.data(UUID, "t-1")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, {"error": "Unauthorized"}, PERSON_TOKEN_REFUSED),
        (403, {"error": "Unauthorized"}, None),
        (401, {"error": "Not Found"}, None),
        (401, {"error": "no match for route"}, None),
        (401, {"error": "Unauthorized", "path": "/data"}, None),
        (401, {"message": "Unauthorized"}, None),
    ],
)
def test_only_lorotas_own_words_refuse_a_persons_token(
    server: Loopback, lorota: LorotaClient, status: int, body: dict[str, str], code: str | None
) -> None:
    server.replies[:] = [whole(status, body)]
    with pytest.raises(Unauthorized) as caught:
        lorota.data(UUID, "t-1")
    assert caught.value.code == code


def test_chip_checks_in_with_a_token_of_its_own(server: Loopback, chip: CHIPClient) -> None:
    server.replies[:] = [TOKEN, whole(200, DONE, Content_Type="application/json")]
    assert chip.check_in(UUID, "38846", True, False) == (200, DONE)
    token, action = server.received
    assert token.line == "POST /token HTTP/1.1"
    assert token.headers["authorization"] == "Basic Y2hpcC11c2VyOmNoaXAtcGFzc3dvcmQ="
    assert action.line == f"POST /actions/check-in/{UUID} HTTP/1.1"
    assert action.headers["authorization"] == "Bearer t-1"
    assert {sent.headers["x-apigw-api-id"] for sent in server.received} == {"chip-api"}
    assert action.json() == {"appointmentIEN": "38846", "isTravelEnabled": True, "travelSubmitted": False}


@pytest.mark.parametrize(
    ("status", "body", "answered"),
    [
        (200, {"uuid": UUID, "message": DONE}, {"uuid": UUID, "message": DONE}),
        (200, f'"{DONE}"', DONE),
        (200, "", ""),
        (200, {}, {}),
        (200, "OK", "OK"),
        (200, {"data": {"id": 5}}, {"data": {"id": 5}}),
        (200, b"Checkin successful at caf\xe9", "Checkin successful at caf\ufffd"),
        (400, {"errors": ["x"]}, {"errors": ["x"]}),
        (400, "no such appointment", "no such appointment"),
        (400, "<html>", None),
        (400, "", None),
        (404, "", None),
        (429, {}, None),
        (500, {"x": 1}, None),
        (500, "", None),
        (504, "", None),
    ],
)
def test_chips_answers_are_mapped_as_the_front_end_reads_them(
    server: Loopback, chip: CHIPClient, status: int, body: Body, answered: Any
) -> None:
    server.replies[:] = [TOKEN, whole(status, body)]
    assert chip.check_in(UUID, "1", True, True) == (status, answered)


def test_chip_is_told_the_opposite_of_what_is_up_to_date(server: Loopback, chip: CHIPClient) -> None:
    server.replies[:] = [TOKEN, whole(200, {"data": {"id": 5}})]
    said = chip.confirm_demographics(UUID, "418", "983", {"demographics": True, "nextOfKin": False})
    assert said == (200, {"data": {"id": 5}})
    action = server.received[1]
    assert action.line == "POST /actions/confirm-demographics HTTP/1.1"
    assert (action.headers["authorization"], action.headers["x-apigw-api-id"]) == ("Bearer t-1", "chip-api")
    told = action.json()
    confirmations = told.pop("demographicConfirmations")
    assert told == {"patientDfn": "418", "stationNo": "983", "uuid": UUID}
    times = {confirmations.pop(f"{name}ConfirmedAt") for name in ("demographics", "nextOfKin", "emergencyContact")}
    assert len(times) == 1 and datetime.fromisoformat(times.pop()).tzinfo is not None
    # What the person was not asked is not up to date for all that we know.
    assert confirmations == {
        "demographicsNeedsUpdate": False,
        "nextOfKinNeedsUpdate": True,
        "emergencyContactNeedsUpdate": True,
    }


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ([whole(401, {})], Unauthorized),
        ([whole(403, "<html>")], Unauthorized),
        ([whole(500, {})], Unavailable),
        ([whole(200, {})], Unavailable),
        ([reset], Unavailable),
        ([TOKEN, reset], Unavailable),
        ([TOKEN, whole(200, "<html>")], Unavailable),
        ([TOKEN, whole(200, {"message": "no Route matched with those values"})], Unavailable),
        ([TOKEN, whole(200, {"errors": [{"title": "success"}]})], Unavailable),
        ([TOKEN, whole(200, "Unsuccessful")], Unavailable),
        ([TOKEN, whole(404, "<html>")], Unavailable),
        ([TOKEN, whole(404, {"message": "no Route matched with those values"})], Unavailable),
        ([TOKEN, whole(200, "upstream connect error")], Unavailable),
        ([TOKEN, whole(200, "\n <!DOCTYPE html>", Content_Type="application/json")], Unavailable),
        ([TOKEN, whole(302, "")], Unavailable),
    ],
)
def test_chip_without_a_whole_answer_raises(
    server: Loopback, chip: CHIPClient, replies: list[Reply], kind: type[UpstreamError]
) -> None:
    for act in (
        lambda: chip.check_in(UUID, "1", True, True),
        lambda: chip.confirm_demographics(UUID, "418", "983", {}),
    ):
        server.replies[:] = replies
        with pytest.raises(kind):
            act()


def test_a_veis_token_is_requested_with_a_form(server: Loopback, veis: VEISClient) -> None:
    server.replies[:] = [whole(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": "veis-abc"})]
    assert veis.fetch_token() == FetchedToken("veis-abc", 3599)
    (sent,) = server.received
    assert sent.line == "POST /tenant-1/oauth2/v2.0/token HTTP/1.1"
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(sent.body.decode()) == {
        "client_id": ["client-1"],
        "client_secret": ["veis secret/+"],
        "scope": ["scope-1/.default"],
        "grant_type": ["client_credentials"],
    }


AZURE = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret", "error_codes": [1]}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(400, AZURE), Unauthorized),
        (whole(401, AZURE), Unauthorized),
        (whole(500, AZURE), Unavailable),
        (whole(400, "<html>"), Unavailable),
        (whole(403, AZURE), Unavailable),
        (whole(200, {"expires_in": 5}), Unavailable),
        (whole(200, "<html>"), Unavailable),
        (whole(302, ""), Unavailable),
        (whole(429, ""), Throttled),
        (reset, Unavailable),
    ],
)
def test_a_veis_failure_is_never_unanswered(
    server: Loopback, veis: VEISClient, reply: Reply, kind: type[UpstreamError]
) -> None:
    server.replies[:] = [reply]
    with pytest.raises(kind) as caught:
        veis.fetch_token()
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(3599, 3599), ("3599", 3599), (None, 300), (True, 300), (-5, 300), ("x", 300), (1.5, 300), (10**9, 86_400)],
)
def test_a_veis_lifetime_is_read_as_number_or_text(expires_in: object, seconds: float) -> None:
    assert lifetime_seconds(expires_in) == seconds


@pytest.mark.parametrize(("expires_in", "usable"), [(3600, 3540), (600, 540), (100, 90), (0, 0)])
def test_a_token_is_used_up_to_a_margin_before_its_end(expires_in: float, usable: float) -> None:
    assert FetchedToken("t", expires_in).usable_seconds == usable
