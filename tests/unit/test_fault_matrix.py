"""`make faults` leaves no upstream, no operation of the fakes and no call of our clients out.

Both lists are read from the code: the fakes' routes, and what our clients send.
"""

from __future__ import annotations

from itertools import product
from urllib.parse import urlsplit

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from flaskapp.upstreams.lighthouse.auth import LighthouseAuthClient, claims_tokens, documents_tokens
from flaskapp.upstreams.sign_in_keys import SignInKeys
from flaskapp.upstreams.transport.http import Answer, Outgoing
from sandbox.faults import UPSTREAMS
from sandbox.upstreams.fake import Fake
from sandbox.upstreams.serve import build_apps
from sandbox.upstreams.switches import KINDS, Fault
from tests.e2e.fault_matrix import TROUBLES, struck_operations
from tests.unit import test_upstream_strangers as strangers

Operation = tuple[str, str, str]

# What people, tests and other programs use of the fakes, and nothing of ours.
NOT_OURS = {
    ("sign_in", "GET", "/"),
    ("sign_in", "POST", "/"),
    ("sign_in", "POST", "/v0/sign_in/refresh"),
    ("lighthouse", "POST", "/services/claims/v2/veterans/<icn>/intent-to-file/validate"),
    ("documents", "GET", "/services/benefits-documents/v1/uploads/<int:request_id>/status"),
}
DOORS = ("/_sandbox", "/phone")
# Receivers of alerts and webhooks are anybody's; no fake plays them.
ELSEWHERE = {"alert_webhook"}
MADE_UP = {"channel": ("sms", "email"), "request_id": (17,)}


class Noting(strangers.Scripted):
    """Notes what is sent; the answer takes no client further."""

    def __init__(self) -> None:
        super().__init__(Answer(500, {}, b""))
        self.sent: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> Answer:
        self.sent.append(outgoing)
        return super().send(outgoing)


@pytest.fixture(scope="module")
def fakes() -> list[Fake]:
    return build_apps().each()


def offered(fakes: list[Fake]) -> dict[Operation, list[str]]:
    """Each operation of each fake, with examples as `METHOD /path`."""
    return {
        (fake.name, method, rule.rule): examples(fake, rule, method)
        for fake in fakes
        for rule in fake.app.url_map.iter_rules()
        if not rule.rule.startswith(DOORS)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    }


def examples(fake: Fake, rule: Rule, method: str) -> list[str]:
    adapter, names = fake.app.url_map.bind(""), sorted(rule.arguments)
    values = product(*(MADE_UP.get(name, ("a-b-c",)) for name in names))
    return [f"{method} {adapter.build(rule.endpoint, dict(zip(names, each, strict=True)), method)}" for each in values]


def sent() -> list[Outgoing]:
    """What each operation of each client sends first, and what no operation stands for: log-ins, and the keys where
    our settings say that they are."""
    noting, config = Noting(), strangers.CONFIG
    clients = {name: each for name, each in strangers.calls(noting).items() if name != "sign_in_keys"}
    for call in [call for each in clients.values() for call in each.values()]:
        strangers.outcome_of(call)
    for service in (claims_tokens(config), documents_tokens(config)):
        strangers.outcome_of(LighthouseAuthClient(config, noting, service).fetch_token)
    SignInKeys(config, noting).fetch_within(60)
    return noting.sent


def called(fakes: list[Fake], outgoing: Outgoing) -> list[Operation]:
    """The operations of the fakes that this may be, by its address: a client may have another name than its fake."""
    found, path = [], urlsplit(outgoing.url).path
    for fake in fakes:
        try:
            rule, _ = fake.app.url_map.bind("").match(path, outgoing.method, return_rule=True)
        except HTTPException:
            continue
        if not rule.rule.startswith(DOORS):
            found.append((fake.name, outgoing.method, rule.rule))
    same = [each for each in found if each[0] == outgoing.upstream]
    return same or found


def test_every_operation_of_every_fake_is_struck_by_itself(fakes: list[Fake]) -> None:
    known, struck = offered(fakes), struck_operations()
    assert set(known) > NOT_OURS
    missed = []
    for operation in known.keys() - NOT_OURS:
        for request in known[operation]:
            by = {each for each in struck if each[0] == operation[0] and Fault("x", each[1]).is_meant_for(request)}
            # A fault that strikes more would be used up by another operation.
            if not any(len(meant(known, each)) == 1 for each in by):
                missed.append(request)
    assert missed == []


def meant(known: dict[Operation, list[str]], strike: tuple[str, str]) -> set[Operation]:
    upstream, text = strike
    here = {operation: each for operation, each in known.items() if operation[0] == upstream}
    return {operation for operation, each in here.items() if any(Fault("x", text).is_meant_for(one) for one in each)}


def test_no_fault_aims_at_nothing(fakes: list[Fake]) -> None:
    known = offered(fakes)
    assert [each for each in struck_operations() if not meant(known, each)] == []


def test_what_our_clients_send_is_an_operation_of_a_fake_that_is_struck(fakes: list[Fake]) -> None:
    requests = [each for each in sent() if each.upstream not in ELSEWHERE]
    unknown = [f"{each.upstream} {each.operation}" for each in requests if not called(fakes, each)]
    assert unknown == []
    reached = {operation for each in requests for operation in called(fakes, each)}
    assert not reached & NOT_OURS
    # What a fake offers and no client calls is in the list of exceptions, so that nothing hides there.
    assert offered(fakes).keys() - reached == NOT_OURS


def test_no_upstream_and_no_kind_of_fault_is_left_out(fakes: list[Fake]) -> None:
    assert {fake.name for fake in fakes} == set(UPSTREAMS) == {upstream for upstream, _ in struck_operations()}
    used = [each for trouble in TROUBLES.values() for each in trouble.faults]
    assert {each["kind"] for each in used} == set(KINDS)
    assert {each["kind"] for each in used if each.get("works")} == {"status", "html", "empty", "answer"}
