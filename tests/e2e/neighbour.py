"""Stand-in for vets-api, which answers beside us on the same host: what a page needs before it comes to us, and its
own CSRF tokens (contract: frontend 1.2, 1.3, 1.4, 4.2, 6)."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.serving import make_server

from sandbox.faults import Control

PATHS = (
    "/v0/user",
    "/v0/feature_toggles",
    "/v0/sign_in/",
    "/v0/in_progress_forms/",
    "/v0/disability_compensation_in_progress_forms/",
)
TOGGLES = (
    "check_in_experience_enabled",
    "check_in_experience_travel_reimbursement",
    "cst_intents_to_file",
    "travel_pay_power_switch",
    "travel_pay_view_claim_details",
    "travel_pay_submit_mileage_expense",
)
SERVICES = ("user-profile", "form526", "evss-claims", "add-person")
TOKEN_SECONDS = 1800


@dataclass
class Neighbour:
    """`url` is where it listens. A change needs a token that it handed out itself."""

    origin: str
    control: Control
    url: str = ""
    handed_out: set[str] = field(default_factory=set)
    saved: dict[str, Any] = field(default_factory=dict)

    def app(self) -> Flask:
        app = Flask(__name__, static_folder=None)
        app.before_request(self._guard)
        app.after_request(self._sign)
        app.add_url_rule("/v0/user", view_func=user)
        app.add_url_rule("/v0/feature_toggles", view_func=toggles)
        app.add_url_rule("/v0/sign_in/refresh", view_func=self._refresh, methods=["POST"])
        for path in PATHS[3:]:
            app.add_url_rule(f"{path}<form_id>", path, self._form, methods=["GET", "PUT"])
        return app

    def sign_in(self, account: str, seconds: float = TOKEN_SECONDS, told: float | None = None) -> dict[str, str]:
        """The cookies of somebody who is signed in, and of whom the page believes it for `told` seconds."""
        token = self.control.call("POST", "sign_in", "tokens", json={"account": account, "seconds": seconds})
        ends = datetime.now(UTC) + timedelta(seconds=seconds if told is None else told)
        text = json.dumps({"access_token_expiration": ends.isoformat(timespec="milliseconds")})
        cookies = {"vagov_access_token": token["access_token"], "vagov_info_token": quote(text, safe="")}
        return {**cookies, "account": account}

    def _guard(self) -> Response | None:
        if request.method == "OPTIONS":
            return Response(status=204)
        is_change = request.method != "GET" and request.path != "/v0/sign_in/refresh"
        if is_change and request.headers.get("X-CSRF-Token") not in self.handed_out:
            forbidden = {"title": "Forbidden", "detail": "Invalid Authenticity Token", "code": "403", "status": "403"}
            return answer({"errors": [forbidden]}, 403)
        return None

    def _sign(self, response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = self.origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Allow-Headers"] = (
            "content-type, x-key-inflection, source-app-name, x-csrf-token"
        )
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT"
        response.headers["Access-Control-Expose-Headers"] = "X-CSRF-Token"
        if request.method != "OPTIONS":
            token = secrets.token_urlsafe(32)
            self.handed_out.add(token)
            response.headers["X-CSRF-Token"] = token
        return response

    def _refresh(self) -> Response:
        response = Response(status=200)
        for name, value in self.sign_in(request.cookies["account"]).items():
            response.set_cookie(name, value)
        return response

    def _form(self, form_id: str) -> Response:
        if request.method == "PUT":
            self.saved[form_id] = request.get_json()
        return answer(self.saved.get(form_id, {"formData": {}, "metadata": {}}))


def answer(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json; charset=utf-8")


def user() -> Response:
    if "vagov_access_token" not in request.cookies:
        return answer({"errors": [{"title": "Not authorized", "code": "401", "status": "401"}]}, 401)
    profile = {"signIn": {"serviceName": "idme"}, "loa": {"current": 3}, "verified": True}
    attributes = {
        "profile": {**profile, "claims": {"form526RequiredIdentifierPresence": {}}},
        "services": SERVICES,
        "vaProfile": {"status": "OK"},
        "inProgressForms": [],
        "prefillsAvailable": [],
        "userAccount": {"id": "1"},
    }
    return answer({"data": {"attributes": attributes}})


def toggles() -> Response:
    features = [{"name": name, "value": True} for name in TOGGLES]
    return answer({"data": {"type": "feature_toggles", "features": features}})


@contextmanager
def running_neighbour(origin: str, control: Control) -> Iterator[Neighbour]:
    neighbour = Neighbour(origin, control)
    server = make_server("127.0.0.1", 0, neighbour.app(), threaded=True)
    neighbour.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield neighbour
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
