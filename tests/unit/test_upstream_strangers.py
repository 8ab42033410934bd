"""Answers that are not an upstream's own, or not about the person: from no operation of a client is any final.

Gateways, proxies and half-made deployments answer in its place, with any status and in shapes of their own; and it may
speak about our keys and settings itself. Then the work waits; nobody is told that it failed, and nothing is taken for
missing.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import uuid
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from typing import Any, get_type_hints

import pytest

import flaskapp.upstreams
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.accounts import AccountsClient
from flaskapp.upstreams.alerts import AlertClient
from flaskapp.upstreams.btsss import BTSSSClient
from flaskapp.upstreams.chip import CHIPClient
from flaskapp.upstreams.errors import (
    PERSON_TOKEN_REFUSED,
    Duplicate,
    Rejected,
    Unanswered,
    UpstreamError,
)
from flaskapp.upstreams.form526 import Form526Client
from flaskapp.upstreams.lighthouse.auth import LighthouseAuthClient, claims_tokens, documents_tokens
from flaskapp.upstreams.lighthouse.claims import LighthouseClaimsClient
from flaskapp.upstreams.lighthouse.documents import LighthouseDocumentsClient, Statuses
from flaskapp.upstreams.lorota import LorotaClient
from flaskapp.upstreams.sign_in_keys import SignInKeys
from flaskapp.upstreams.sts import STSClient
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing
from flaskapp.upstreams.travel_pay.auth import TravelerTokenClient, TravelPayAuth
from flaskapp.upstreams.travel_pay.filing import TravelPayFilingClient
from flaskapp.upstreams.travel_pay.reads import TravelPayClient
from flaskapp.upstreams.va_notify import VANotifyClient
from flaskapp.upstreams.va_profile import VAProfileClient
from flaskapp.upstreams.veis import VEISClient
from tests.unit.documents import document
from tests.unit.travel_pay import ADA, CLAIM_ID, PersonalTokens
from tests.unit.upstream_settings import Tokens, settings

# The last ones are of delivery networks.
REFUSALS = (*range(400, 452), *range(500, 512), *range(520, 527))
SUCCESSES = (200, 201, 202, 204, 302)
SHAPES: dict[str, Any] = {
    "empty": "",
    "{}": {},
    "HTML": "<html><h1>Not found</h1></html>",
    "plain text": "upstream connect error",
    "gateway": {"message": "no Route matched with those values"},
    "API management": {"statusCode": 404, "message": "Resource not found"},
    "app-wide": {"result": "error", "message": "The requested URL was not found on the server."},
    "other JSON": {"reason": "no such thing", "errors": []},
    "a list": ["no such thing"],
    "a bare error": {"error": "Not Found"},
    "OAuth": {"error": "invalid_request", "error_description": "not found"},
    "Apigee": {"fault": {"faultstring": "Not found", "detail": {"errorcode": "x"}}},
    "Azure": {"error": {"code": "ResourceNotFound", "message": "The resource was not found."}},
    "an empty page": {"notifications": [], "links": {"current": "here", "next": "there"}},
    "success false": {"success": False, "message": "The client number is not known.", "data": None},
    "errors of texts": {"errors": ["not found"]},
}


def bodies(status: int) -> dict[str, Any]:
    """What strangers answer with that status; and services in a shape of their own, about our path or our rights."""
    return {
        **SHAPES,
        "Spring": {"timestamp": "2031-03-04T09:30:00Z", "status": status, "error": "Not Found", "path": "/x"},
        "problem": {"type": "about:blank", "title": "Not Found", "status": status, "detail": "not found"},
        "endpoint": {"errors": [{"status": status, "code": "not_found", "title": "Endpoint not found."}]},
        "route 411": {
            "errors": [{"title": "Not found", "detail": "There are no routes matching your request: /x", "code": "411"}]
        },
        "forbidden": {"errors": [{"title": "Forbidden", "detail": "Forbidden", "code": "403", "status": "403"}]},
        **about_us(status),
    }


def about_us(status: int) -> dict[str, Any]:
    """What services say in their own shape about our keys, body, settings and path, in words that no contract has."""
    listed = {
        "our system": ("Bad Request", "systemName VA.gov is not permitted"),
        "our key": ("Invalid API key", "The x-api-key was already revoked for this file"),
        "our body": ("Unprocessable Entity", "Request body is not in the correct format."),
        "our header": ("Bad Request", "Duplicate header in the upload"),
        "our size": ("Payload Too Large", "The header is over its limit"),
        "our path": ("Not Found", "The path is not known"),
        "our claim": ("Conflict", "A consumer with this client_id already exists"),
        "our recipient": ("Bad Request", "Missing personalisation: phone_number"),
        "our permission": ("Bad Request", "Cannot send to international mobile numbers"),
        "our channel": ("Bad Request", "recipient_identifier is not permitted for this service"),
        "our addresses": ("Bad Request", "email_address is over the daily quota"),
        "our quota": ("Bad Request", "Upload quota reached: 500 files already uploaded today"),
        "our session": ("Bad Request", "Upload rejected: a file for this system name already exists elsewhere"),
    }
    pointers = {
        "our reference": "/reference",
        "our whole body": "/",
        "our key's place": "/headers/x-api-key",
        "our form": "form526",
        "our data": "data/attributes/",
    }
    errors = {
        name: {"title": title, "detail": detail, "error": "BadRequestError", "message": detail, "code": str(status)}
        for name, (title, detail) in listed.items()
    }
    return {
        **{name: {"errors": [{**error, "status": status}]} for name, error in errors.items()},
        **{name: {"errors": [{**errors["our body"], "source": {"pointer": at}}]} for name, at in pointers.items()},
        "our claims": {"error": "x-lorota-claims: signature does not match"},
        "our route": {"error": "no match for route"},
        "our fields": {"error": "lastName and dob are required"},
        "our client": {"statusCode": status, "message": "Duplicate client", "success": False, "data": None},
        "our number": {"currentDate": "[3/4/2031]", "message": "3/4/2031: ClientNumber is already in use"},
        "our failure": {"message": "The check-in was not a success"},
        "our failed text": "Checkin was not successful",
    }


# That there is no active ITF its status says, and never its words (contract: benefits 2.2).
SAID_BY_STATUS = {("active_itf", 404)}
TYPES = {"HTML": "text/html", "plain text": "text/plain", "our failed text": "text/plain"}
# A 200 without a claim number is a yes (contract: travel 4.1); so is one of CHIP's that says nothing, and its 404
# without a body is its own (docs/assumptions.md). Of a receiver of alerts any 2xx is one. A text may be a document.
YES = {
    *(("btsss", "submit_claim", 200, body) for body in ("{}", "an empty page")),
    *(("travel_pay", "document", 200, body) for body in ("plain text", "our failed text")),
    *(
        ("chip", act, status, body)
        for act in ("check_in", "confirm_demographics")
        for status, body in ((200, "empty"), (200, "{}"), (404, "empty"))
    ),
    *(("alerts", "send", status, body) for status in SUCCESSES if status < 300 for body in bodies(status)),
}


class Scripted(HTTP):
    """Every call gets the same answer. How answers come over a wire is tested elsewhere; here are thousands."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(1)
        self.answer = answer

    def send(self, outgoing: Outgoing) -> Answer:
        return self.answer


def before_write() -> None:
    """Nothing to note."""


SMS = {"reference": str(uuid.uuid4()), "template_id": "t", "personalisation": {}, "before_write": before_write}
CONFIG = settings(alert_webhook_url="http://127.0.0.1:9/alerts")
DAY = date(2031, 3, 4)
ICN = ADA.icn
Call = Callable[[], Any]


Calls = dict[str, dict[str, Call]]


def calls(http: HTTP) -> Calls:
    """Every operation by client; named as in `Upstreams`, where it has them."""
    return {**benefits_calls(http), **travel_calls(http), **travel_pay_calls(http), **check_in_calls(http)}


def benefits_calls(http: HTTP) -> Calls:
    claims = LighthouseClaimsClient(CONFIG, http, Tokens())
    documents = LighthouseDocumentsClient(CONFIG, http, Tokens())
    form = Form526Client(CONFIG, http)
    return {
        "accounts": {"find": lambda: AccountsClient(CONFIG, http).find("a")},
        "lighthouse_auth": {"fetch_token": Unasserted(CONFIG, http, claims_tokens(CONFIG)).fetch_token},
        "lighthouse_documents_auth": {"fetch_token": Unasserted(CONFIG, http, documents_tokens(CONFIG)).fetch_token},
        "lighthouse_claims": {
            "active_itf": lambda: claims.active_itf(ICN, "pension"),
            "create_itf": lambda: claims.create_itf(ICN, "pension", before_write),
        },
        "lighthouse_documents": {
            "upload": lambda: documents.upload(document(), lambda: [b"x" * document().size], before_write),
            "statuses": lambda: documents.statuses([17]),
        },
        "form526": {"submit": lambda: form.submit("r", ICN, {}, before_write), "find": lambda: form.find("r")},
        "va_profile": {"contact": lambda: VAProfileClient(CONFIG, http).contact(ICN)},
        "alerts": {"send": lambda: AlertClient(CONFIG, http).send({})},
    }


def travel_calls(http: HTTP) -> Calls:
    btsss, notify = BTSSSClient(CONFIG, http, Tokens()), VANotifyClient(CONFIG, http)
    veis, sts = VEISClient(CONFIG, http), Unsigned(CONFIG, http)
    return {
        "veis": {"fetch_token": veis.fetch_token, "fetch_travel_pay_token": veis.fetch_travel_pay_token},
        "sts": {"exchange": lambda: sts.exchange(ICN, "ada@example.com")},
        "traveler_tokens": {
            "fetch_token": lambda: TravelerTokenClient(CONFIG, http, Vouching(CONFIG, http), Tokens()).fetch_token(ADA)
        },
        "btsss": {
            "submit_claim": lambda: btsss.submit_claim(ICN, DAY, "vista", before_write),
            "claims_on": lambda: btsss.claims_on(ICN, DAY, "vista"),
        },
        "va_notify": {
            "send_sms": lambda: notify.send_sms(sender_id="s", icn=ICN, **SMS),
            "send_email": lambda: notify.send_email(icn=ICN, **SMS),
            "find_by_reference": lambda: notify.find_by_reference("r"),
            "get": lambda: notify.get("n", "r"),
            "list_since": lambda: list(notify.list_since(datetime(2031, 3, 4, tzinfo=UTC))),
        },
    }


def travel_pay_calls(http: HTTP) -> Calls:
    auth = TravelPayAuth(CONFIG, Tokens(), PersonalTokens())
    filing, reads = TravelPayFilingClient(CONFIG, http, auth), TravelPayClient(CONFIG, http, auth)
    limit = {"total_seconds": 5.0}
    return {
        "travel_pay": {
            "list_claims": lambda: reads.list_claims(ADA, **limit),
            "search_claims": lambda: reads.search_claims(ADA, DAY, DAY, 1, 10, **limit),
            "claim": lambda: reads.claim(ADA, CLAIM_ID, **limit),
            "appointments": lambda: reads.appointments(ADA, 1, 10, **limit),
            "documents": lambda: reads.documents(ADA, CLAIM_ID, **limit),
            "document": lambda: reads.document(ADA, CLAIM_ID, "d", **limit),
            "contact": lambda: reads.contact(ADA, **limit),
        },
        "travel_pay_filing": {
            "find_or_add_appointment": lambda: filing.find_or_add_appointment(ADA, "2031-03-04T09:30:00", "983"),
            "create_claim": lambda: filing.create_claim(ADA, "a1", "Travel", before_write),
            "add_mileage": lambda: filing.add_mileage(ADA, CLAIM_ID, "2031-03-04", before_write),
            "submit_begun_claim": lambda: filing.submit_begun_claim(ADA, CLAIM_ID, before_write),
        },
    }


def check_in_calls(http: HTTP) -> Calls:
    chip, lorota = LoggedIn(CONFIG, http), Unclaimed(CONFIG, http)

    def read_keys() -> Any:
        keys = SignInKeys(replace(CONFIG, sis_public_keys=(), sis_jwks_url="http://127.0.0.1:9/certs"), http)
        keys.fetch_within(60)
        return keys.current()

    return {
        "chip": {
            "check_in": lambda: chip.check_in("u", "460", True, False),
            "confirm_demographics": lambda: chip.confirm_demographics("u", "418", "983", {}),
        },
        "chip_log_in": {"check_in": lambda: CHIPClient(CONFIG, http).check_in("u", "460", True, False)},
        "lorota": {"token": lambda: lorota.token("u", DAY, "Marlow"), "data": lambda: lorota.data("u", "t")},
        "sign_in_keys": {"current": read_keys},
    }


class Unsigned(STSClient):
    """What it sends matters to nobody here, and signatures would be half of the time."""

    def _assertion(self, icn: str, email: str) -> str:
        return "unsigned"


class Unclaimed(LorotaClient):
    """The same for LoROTA."""

    def _claims(self, uuid: str) -> str:
        return "unsigned"


class Unasserted(LighthouseAuthClient):
    """The same for Lighthouse's token services."""

    def _assertion(self) -> str:
        return "unsigned"


class LoggedIn(CHIPClient):
    """CHIP has let us in, so that what it answers to an act is reached."""

    def _token(self) -> str:
        return "t"


class Vouching(STSClient):
    """The Sign-in Service vouches for everybody, so that the second of the two calls is reached."""

    def exchange(self, icn: str, email: str) -> str:
        return "vouched"


OPERATIONS = [(client, name) for client, each in calls(HTTP(1)).items() for name in each]
# A refusal of a receiver of webhooks is final for nothing, and its job decides what it is about.
ELSEWHERE = {"webhooks"}
BUILT = {each.name: get_type_hints(Upstreams)[each.name] for each in fields(Upstreams) if each.name not in ELSEWHERE}
CLIENTS: dict[str, Any] = {
    **BUILT,
    "sts": STSClient,
    "traveler_tokens": TravelerTokenClient,
    "lighthouse_auth": LighthouseAuthClient,
    "lighthouse_documents_auth": LighthouseAuthClient,
}
# Of the keys, one operation reads what the others fetched.
FETCHING = {("sign_in_keys", "fetch_soon"), ("sign_in_keys", "fetch_within")}
# A 401 in Travel Pay's own envelope is about the person's token, which is only fetched again, at most once a minute.
TOKEN_AGAIN = {
    (client, 401, body)
    for client in ("traveler_tokens", "travel_pay", "travel_pay_filing")
    for body in ("our client", "success false")
}
WRITES = {"submit_claim", "send_sms", "send_email", "create_itf", "upload", "submit", "create_claim", "add_mileage"}
WRITES |= {"submit_begun_claim"}


def test_no_operation_of_a_client_is_left_out() -> None:
    """Neither of those in `Upstreams` nor of those that other clients use, which all take the HTTP to call with."""
    for module in pkgutil.walk_packages(flaskapp.upstreams.__path__, "flaskapp.upstreams."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and "http" in inspect.signature(kind.__init__).parameters:
                assert kind in CLIENTS.values(), kind
    public = {
        (client, name)
        for client, kind in CLIENTS.items()
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public - FETCHING <= set(OPERATIONS)


@pytest.mark.parametrize(("client", "operation"), OPERATIONS)
def test_what_a_stranger_answers_is_never_final_and_never_means_that_nothing_is_there(
    client: str, operation: str
) -> None:
    wrong, http = {}, Scripted(Answer(0, {}, b""))
    call = calls(http)[client][operation]
    for status in REFUSALS + SUCCESSES:
        for name, body in bodies(status).items():
            own = name in about_us(status) and isinstance(body, dict) and "errors" in body
            if (client, operation, status, name) in YES or (own and (operation, status) in SAID_BY_STATUS):
                continue
            content = body if isinstance(body, str) else json.dumps(body)
            http.answer = Answer(status, {"Content-Type": TYPES.get(name, "application/json")}, content.encode())
            outcome = outcome_of(call)
            ends = ended(outcome) and (client, status, name) not in TOKEN_AGAIN
            if ends or not later(outcome, operation in WRITES):
                wrong[status, name] = repr(outcome)
    assert wrong == {}


def outcome_of(call: Call) -> Any:
    try:
        return call()
    except UpstreamError as error:
        return error


def later(outcome: Any, writes: bool) -> bool:
    """Whether it is an error after which the work goes on; only a write may have an open end. A poll that says nothing
    about any document is repeated. Of CHIP, the page gets a status that is no success."""
    if isinstance(outcome, tuple):
        return outcome[0] >= 400 and outcome[0] != 404
    if isinstance(outcome, Statuses):
        return not outcome.found and not outcome.not_found
    final = isinstance(outcome, Rejected | Duplicate)
    return isinstance(outcome, UpstreamError) and not final and (writes or not isinstance(outcome, Unanswered))


def ended(outcome: Any) -> bool:
    """Whether its code ends a person's session, or drops their token."""
    return isinstance(outcome, UpstreamError) and outcome.code == PERSON_TOKEN_REFUSED
