"""The VA Profile client (docs/assumptions.md): details count only when they are that person's and can be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flaskapp.upstreams.contact import Contact
from flaskapp.upstreams.errors import Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.va_profile import VAProfileClient
from tests.unit.loopback import Body, Loopback, Reply, reset, serving, silence, whole
from tests.unit.upstream_settings import settings

ICN = "1012345678V123456"
ADDRESS = {
    "addressLine1": "1 Elm St",
    "addressLine2": "Apt 2",
    "city": "Aspen",
    "stateCode": "CO",
    "zipCode": "81611",
    "countryCode": "USA",
}
DETAILS = {
    "icn": ICN,
    "email": "ada@example.test",
    "mobilePhone": "+15555550101",
    "homePhone": "+15555550102",
    "mailingAddress": ADDRESS,
}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(whole(200, DETAILS)) as running:
        yield running


def ask(server: Loopback, *replies: Reply, total_seconds: float = 30) -> Contact | None:
    server.replies[:] = replies or server.replies
    client = VAProfileClient(settings(va_profile_base_url=server.url), HTTP(10))
    return client.contact(ICN, total_seconds=total_seconds)


def test_contact_details_are_read_with_our_key(server: Loopback) -> None:
    found = ask(server)
    assert found == Contact("1 Elm St, Apt 2", "Aspen", "CO", "81611", "USA", "+15555550101", "ada@example.test")
    (sent,) = server.received
    assert sent.line == f"GET /contact-information/{ICN} HTTP/1.1"
    assert sent.headers["x-api-key"] == "va-profile-key"
    assert "Elm" not in repr(found) and "5550101" not in repr(found)


@pytest.mark.parametrize(
    ("details", "contact"),
    [
        ({"mobilePhone": None, "mailingAddress": None}, (None, "+15555550102")),
        ({"mobilePhone": " ", "homePhone": None}, ("1 Elm St, Apt 2", None)),
        ({"mailingAddress": {**ADDRESS, "addressLine2": None}}, ("1 Elm St", "+15555550101")),
    ],
)
def test_missing_details_are_none(
    server: Loopback, details: dict[str, object], contact: tuple[str | None, str | None]
) -> None:
    found = ask(server, whole(200, {**DETAILS, **details}))
    assert found is not None and (found.street, found.phone) == contact


def test_only_the_services_own_word_makes_a_person_unknown(server: Loopback) -> None:
    assert ask(server, whole(404, {"error": "Person not found"})) is None
    for elsewhere in (
        whole(404, "<html>"),
        whole(404, {"error": "Not Found"}),
        whole(404, {"message": "no Route matched"}),
    ):
        with pytest.raises(Unavailable):
            ask(server, elsewhere)


@pytest.mark.parametrize(
    "body",
    [
        {**DETAILS, "icn": "1012345678V999999"},
        {"email": "ada@example.test"},
        {**DETAILS, "mailingAddress": "1 Elm St"},
        {**DETAILS, "mobilePhone": 5555550101},
        [],
        "<html>",
    ],
)
def test_details_that_are_unreadable_or_another_persons_are_unavailable(server: Loopback, body: Body) -> None:
    with pytest.raises(Unavailable):
        ask(server, whole(200, body))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(403, {"error": "Forbidden"}), Unauthorized),
        (whole(401, ""), Unauthorized),
        (whole(429, ""), Throttled),
        (whole(500, ""), Unavailable),
        (whole(400, {"error": "Bad request"}), Unavailable),
        (reset, Unavailable),
    ],
)
def test_a_failure_is_never_an_unknown_person(server: Loopback, reply: Reply, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        ask(server, reply)
    assert type(caught.value) is kind and caught.value.upstream == "va_profile"


def test_the_callers_limit_holds(server: Loopback) -> None:
    with pytest.raises(Unavailable):
        ask(server, silence, total_seconds=0.1)
