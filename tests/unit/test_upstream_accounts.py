"""The account service's client (docs/assumptions.md): a person is trusted only when whole, and missing only when it
says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.upstreams.accounts import AccountsClient, Person
from flaskapp.upstreams.errors import Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Loopback, Reply, reset, serving, whole
from tests.unit.upstream_settings import settings

ACCOUNT = "0a1b2c3d-1111-4222-8333-444455556666"
ICN, SSN = "1012345678V123456", "123456789"


def account(**changes: Any) -> dict[str, Any]:
    given = {"id": ACCOUNT, "icn": ICN, "firstName": "Ada", "ssn": SSN}
    return {name: value for name, value in {**given, **changes}.items() if value != "absent"}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(whole(200, account())) as running:
        yield running


@pytest.fixture
def accounts(server: Loopback) -> AccountsClient:
    return AccountsClient(settings(accounts_base_url=server.url, accounts_total_seconds=30), HTTP(10))


def test_a_person_is_found_by_account(server: Loopback, accounts: AccountsClient) -> None:
    assert accounts.find(ACCOUNT) == Person(ICN, "Ada", SSN)
    (sent,) = server.received
    assert sent.line == f"GET /accounts/{ACCOUNT} HTTP/1.1"
    assert sent.headers["x-api-key"] == "accounts-key"


@pytest.mark.parametrize(
    ("changes", "person"),
    [
        ({"icn": None, "ssn": None}, Person(None, "Ada", None)),
        ({"icn": " ", "ssn": ""}, Person(None, "Ada", None)),
        ({"firstName": None}, Person(ICN, "", SSN)),
        ({"participantId": "600045678", "fileNumber": " "}, Person(ICN, "Ada", SSN, "600045678", None)),
        ({"participantId": None, "fileNumber": "796000001"}, Person(ICN, "Ada", SSN, None, "796000001")),
        ({"id": ACCOUNT.upper(), "more": 1}, Person(ICN, "Ada", SSN)),
    ],
)
def test_unknown_details_of_a_person_are_none(
    server: Loopback, accounts: AccountsClient, changes: dict[str, Any], person: Person
) -> None:
    server.replies[:] = [whole(200, account(**changes))]
    assert accounts.find(ACCOUNT) == person


def test_an_unknown_account_is_none(server: Loopback, accounts: AccountsClient) -> None:
    server.replies[:] = [whole(404, {"error": "Account not found"})]
    assert accounts.find(ACCOUNT) is None


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(404, "<html>"), Unavailable),
        (whole(404, ""), Unavailable),
        (whole(404, {"error": "Not Found"}), Unavailable),
        (whole(404, {"message": "no Route matched"}), Unavailable),
        (whole(403, {"error": "Forbidden"}), Unauthorized),
        (whole(401, "<html>"), Unauthorized),
        (whole(429, {}), Throttled),
        (whole(500, {"error": "x"}), Unavailable),
        (whole(302, ""), Unavailable),
        (whole(200, "<html>"), Unavailable),
        (whole(200, []), Unavailable),
        (whole(200, account(id="1a1b2c3d-1111-4222-8333-444455556666")), Unavailable),
        (whole(200, account(id=5)), Unavailable),
        (whole(200, account(id="absent")), Unavailable),
        (whole(200, account(icn="absent")), Unavailable),
        (whole(200, account(icn=5)), Unavailable),
        (whole(200, account(firstName="absent")), Unavailable),
        (whole(200, account(ssn="absent")), Unavailable),
        (whole(200, account(ssn="123-45-6789")), Unavailable),
        (whole(200, account(ssn=123456789)), Unavailable),
        (whole(200, account(participantId=600045678)), Unavailable),
        (whole(200, account(fileNumber=["796000001"])), Unavailable),
        (reset, Unavailable),
    ],
)
def test_every_other_answer_is_a_failure(
    server: Loopback, accounts: AccountsClient, reply: Reply, kind: type[UpstreamError]
) -> None:
    server.replies[:] = [reply]
    with pytest.raises(kind) as caught:
        accounts.find(ACCOUNT)
    assert type(caught.value) is kind
    assert ICN not in caught.value.detail and SSN not in caught.value.detail


def test_an_id_cannot_leave_its_part_of_the_path(server: Loopback, accounts: AccountsClient) -> None:
    with pytest.raises(Unavailable):
        accounts.find("../keys?x=1")
    assert server.received[0].line == "GET /accounts/..%2Fkeys%3Fx%3D1 HTTP/1.1"


def test_a_person_printed_by_mistake_shows_nothing() -> None:
    assert repr(Person(ICN, "Ada", SSN, "600045678", "796000001")) == "Person()"
