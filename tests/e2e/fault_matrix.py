"""What `make faults` does to whom: every fault of the sandbox, and the operations of each upstream that it strikes.

`tests/unit/test_fault_matrix.py` compares this with the operations of our clients and of the fakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Trouble:
    """Faults of the sandbox that strike together, each with the fields of `Fault`.

    Nobody notices `harmless` ones. One that `lasts` strikes whole upstreams until it is lifted; another one strikes
    single operations, as often as `times` says, or as the test decides.
    """

    faults: tuple[Mapping[str, Any], ...]
    harmless: bool = False
    lasts: bool = False
    times: int | None = None


def fault(kind: str, **more: Any) -> Trouble:
    return Trouble(({"kind": kind, **more},))


def stranger(status: int, body: str, **headers: str) -> Trouble:
    return fault("answer", status=status, headers={**JSON_TYPE, **headers}, body=body)


# Recorded answers of gateways and of half-made deployments, in nobody's words for a yes, a no or a list.
STRANGERS = {
    "gateway": stranger(404, '{"message":"no Route matched with those values"}'),
    "app-wide": stranger(404, '{"message":"The requested URL was not found on the server.","result":"error"}'),
    "endpoint": stranger(404, '{"errors":[{"status":404,"code":"not_found","title":"Endpoint not found."}]}'),
    "management": stranger(401, '{"statusCode":401,"message":"Access denied due to invalid subscription key."}'),
    "firewall": stranger(
        200, "<html><head><title>Request Rejected</title></head></html>", **{"Content-Type": "text/html"}
    ),
    "received": stranger(200, '"received"'),
    "moved": stranger(302, "", Location="https://sqa.eauth.va.gov/login"),
}
TROUBLES = {
    "refuse": Trouble(({"kind": "refuse"},), lasts=True),
    # Longer than any page waits.
    "hold": Trouble(({"kind": "hold"},), lasts=True),
    "down": fault("down"),
    "status": fault("status", status=503),
    "throttle": fault("throttle", retry_after="1"),
    "drop": fault("drop"),
    "half": fault("half"),
    "html": fault("html", status=200),
    "empty": fault("empty", status=502),
    **{f"answer of {name}": trouble for name, trouble in STRANGERS.items()},
    # The work is done, and the answer does not say so.
    "status after work": fault("status", status=503, works=True),
    "empty after work": fault("empty", status=500, works=True),
    "html after work": fault("html", status=502, works=True),
    "answer after work": fault(
        "answer", status=504, headers=JSON_TYPE, body='{"message":"Endpoint request timed out"}', works=True
    ),
    # Whatever an answer calls itself, and however long it takes, it is read.
    "slow, late, mislabelled and in drops": Trouble(
        (
            {"kind": "slow", "seconds": 0.3},
            {"kind": "late", "seconds": 0.3},
            {"kind": "content_type"},
            {"kind": "drip", "seconds": 0.0},
        ),
        harmless=True,
    ),
    "expire": Trouble(({"kind": "expire"},), harmless=True, times=1),
}

# What striking whole upstreams takes away, and what the other troubles strike, one after the other: operations as
# `Fault` has them, by upstream.
FILING = {
    "accounts": ("GET /accounts/",),
    "veis": ("/oauth2/v2.0/token", "/oauth2/token"),
    "btsss": ("/submitclaim", "/GetClaimsStatus"),
    "va_notify": (
        *("POST /v2/notifications/sms", "POST /v2/notifications/email"),
        *("GET /v2/notifications$", "GET /v2/notifications/"),
    ),
    "lighthouse": ("POST /oauth2/", "GET /services/claims/", "/intent-to-file$"),
    "documents": ("POST /oauth2/", "/documents$", "/uploads/status"),
    "form526": ("POST /submissions", "GET /submissions/"),
    "sts": ("POST /v0/sign_in/token",),
    "travel_pay": (
        *("/Auth/access-token", "/find-or-add", "POST /api/v3/claims$", "/expenses/mileage", "/submit"),
        "GET /api/v3/claims/",
    ),
}
# Two calls of one operation, of which one may be the first look's.
TWICE = {("accounts", "GET /accounts/"), ("lighthouse", "GET /services/claims/")}
# Calls that come only after an answer was lost, and the operation whose answer that is.
LOST = {
    ("form526", "GET /submissions/"): "POST /submissions",
    ("va_notify", "GET /v2/notifications$"): "POST /v2/notifications/sms",
    ("btsss", "/GetClaimsStatus"): "/submitclaim",
}

Strike = tuple[str, str]
CHIP_TOKEN, CREATE_ITF = ("chip", "POST /token"), ("lighthouse", "/intent-to-file$")
# The pages that wait for an upstream, in two rounds: what lets us in, and what we came for.
WAITING: tuple[dict[str, Strike], ...] = (
    {
        "landing": ("lorota", "POST /token"),
        "demographics": CHIP_TOKEN,
        "check-in": CHIP_TOKEN,
        "pension": CREATE_ITF,
        "survivor": CREATE_ITF,
        "ITF list": ("lighthouse", "GET /services/claims/"),
        "all claims": ("travel_pay", "GET /api/v2/claims$"),
        "details": ("travel_pay", "GET /api/v3/claims/"),
        "document": ("travel_pay", "/documents/"),
        "appointment": ("travel_pay", "GET /api/v2/appointments"),
        "contacts": ("va_profile", "GET /contact-information/"),
    },
    {
        "travel-only": ("lorota", "GET /data/"),
        "demographics": ("chip", "/confirm-demographics"),
        "check-in": ("chip", "/actions/check-in/"),
        "claims": ("travel_pay", "/search-by-appointment-date"),
        "details": ("travel_pay", "/documents$"),
        "contacts": ("travel_pay", "GET /api/v2/contacts"),
    },
)
KEYS: Strike = ("sign_in", "/certs")


def struck_operations() -> set[Strike]:
    """Every operation that is struck by itself, with its upstream."""
    filing = {(upstream, operation) for upstream, each in FILING.items() for operation in each}
    return filing | {strike for each in WAITING for strike in each.values()} | {KEYS}
