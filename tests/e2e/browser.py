"""One browser with the front end's page in it, as far as that decides what is sent and what is understood (contract:
frontend 1).

Written from the contract alone, never from the server's code. Where the contract says "tried", Node's fetch did so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import requests

from tests.e2e import dates

# What a script may read of an answer from another origin, and may send to one, without anybody's permission.
READABLE = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"}
SENDABLE = {"accept", "accept-language", "content-language"}
SIMPLE_METHODS = ("GET", "HEAD", "POST")
SIMPLE_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
ENDED = {"errors": "Access token has expired"}
ENDS_SOON_SECONDS = 30
REFRESH_PATH = "/v0/sign_in/refresh?type=idme"
FILE_FIELD = "supporting_evidence_attachment[file_data]"
PASSWORD_FIELD = "supporting_evidence_attachment[password]"
SUBMIT_SECONDS = 30
PATIENCE_SECONDS = 120


class NetworkError(Exception):
    """All that a script is told when there is no answer that it may see. The text is for the developer only."""


class NotJSON(Exception):
    """The body said that it is JSON, and is not."""


class SignedOut(Exception):
    """The page was left for the log-in."""


@dataclass(frozen=True)
class Answer:
    """What a script sees of a response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_json(self) -> bool:
        return "application/json" in self.headers.get("content-type", "")

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise NotJSON(f"{self.status}: {self.body[:60]!r}") from None


class Rejected(Exception):
    """A rejected call. `value` is what the page's `catch` is given: the parsed body, a raw Answer or an exception.

    There is no HTTP status beside it.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(repr(value)[:300])
        self.value = value

    @property
    def errors(self) -> Any:
        return self.value.get("errors") if isinstance(self.value, dict) else None

    def first_status(self) -> str | None:
        """`errors?.[0]?.status`, as guarded pages read it."""
        first = self.errors[0] if isinstance(self.errors, list) and self.errors else None
        return first.get("status") if isinstance(first, dict) else None

    def status_read_without_a_guard(self) -> str:
        """The same as the travel pay list reads it: anything else there throws, and the page with it."""
        status = self.first_status()
        assert isinstance(status, str), f"the page crashes on {self.value!r}"
        return status


@dataclass
class Browser:
    """`base_of` says which server of the API's host answers a path. `app` is `window.appName`."""

    origin: str
    base_of: Callable[[str], str]
    app: str | None = None
    is_production: bool = True
    storage: dict[str, str] = field(default_factory=dict)
    signed_in: bool = False

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self._permitted: set[tuple[str, str, tuple[str, ...]]] = set()

    # -- fetch -----------------------------------------------------------------

    def fetch(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        seconds: float = PATIENCE_SECONDS,
    ) -> Answer:
        """Call with cookies; raises NetworkError without an answer, and for one that scripts of this origin may not
        read."""
        url = f"{self.base_of(path)}{path}"
        self._ask_permission(method, url, headers)
        sent = {"Origin": self.origin, "Sec-Fetch-Site": "same-site", **headers}
        try:
            reply = self.session.request(method, url, headers=sent, data=body, allow_redirects=False, timeout=seconds)
        except requests.RequestException as error:
            raise NetworkError(type(error).__name__) from None
        if reply.is_redirect:
            raise NetworkError(f"{method} {path} was redirected")
        self._check_origin(reply)
        exposed = {name.strip().lower() for name in reply.headers.get("Access-Control-Expose-Headers", "").split(",")}
        seen = {name.lower(): value for name, value in reply.headers.items() if name.lower() in READABLE | exposed}
        return Answer(reply.status_code, seen, reply.content)

    def _ask_permission(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        """The preflight: without cookies, on the exact URL, answered 2xx, and never redirected."""
        names = tuple(sorted(name.lower() for name, value in headers.items() if needs_permission(name, value)))
        if (method, url, names) in self._permitted or method in SIMPLE_METHODS and not names:
            return
        asked = {"Origin": self.origin, "Access-Control-Request-Method": method}
        asked |= {"Access-Control-Request-Headers": ",".join(names)} if names else {}
        try:
            reply = requests.options(url, headers=asked, allow_redirects=False, timeout=PATIENCE_SECONDS)
        except requests.RequestException as error:
            raise NetworkError(type(error).__name__) from None
        if not reply.ok or reply.is_redirect:
            raise NetworkError(f"the preflight of {method} {url} was answered {reply.status_code}")
        self._check_origin(reply)
        # With credentials `*` is a name like any other.
        if method not in SIMPLE_METHODS and method not in listed(reply, "Access-Control-Allow-Methods"):
            raise NetworkError(f"{method} is not allowed")
        allowed = [name.lower() for name in listed(reply, "Access-Control-Allow-Headers")]
        if refused := [name for name in names if name not in allowed]:
            raise NetworkError(f"{', '.join(refused)} are not allowed")
        if int(reply.headers.get("Access-Control-Max-Age", "5")) > 0:
            self._permitted.add((method, url, names))

    def _check_origin(self, reply: requests.Response) -> None:
        named = reply.headers.get("Access-Control-Allow-Origin")
        if named != self.origin or reply.headers.get("Access-Control-Allow-Credentials") != "true":
            raise NetworkError(f"{reply.request.method} {reply.url} may not be read by {self.origin}: {named!r}")

    # -- apiRequest ------------------------------------------------------------

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """The parsed body, or the raw Answer when it is not JSON; raises Rejected, or SignedOut. Only a body sets a
        Content-Type."""
        if self._ends_within(ENDS_SOON_SECONDS):
            self.refresh()
        return self._api(path, method, body, may_refresh=True)

    def _api(self, path: str, method: str, body: Any, may_refresh: bool) -> Any:
        headers = {"X-Key-Inflection": "camel", "Source-App-Name": self.app or "undefined"}
        headers["X-CSRF-Token"] = self.storage.get("csrfToken", "null")
        content = None
        if body is not None:
            headers["Content-Type"], content = "application/json", json.dumps(body).encode()
        try:
            answer = self.fetch(method, path, headers, content)
            self._keep(answer)
            if answer.ok or answer.status == 304:
                return answer.json() if answer.is_json else answer
            if answer.status == 401 and self.is_production and self.signed_in:
                raise SignedOut("/?next=loginModal&status=session_expired")
            # Every 403 is parsed, whatever it says that it is.
            if answer.status == 403 and answer.json() == ENDED and self.session_ends() and may_refresh:
                self.refresh()
                return self._api(path, method, body, may_refresh=False)
            value = answer.json() if answer.is_json else answer
        except (NetworkError, NotJSON) as error:
            raise Rejected(error) from error
        raise Rejected(value)

    def _keep(self, answer: Answer) -> None:
        """One slot for the token, whichever backend of the host answers."""
        if token := answer.headers.get("x-csrf-token"):
            self.storage["csrfToken"] = token
        if ends := answer.headers.get("x-session-expiration"):
            dates.instant(ends)
            self.storage["sessionExpiration"] = ends

    # -- the session -----------------------------------------------------------

    def session_ends(self) -> datetime | None:
        """When the access token ends, by the cookie that scripts may read; a malformed one breaks every call."""
        text = self.session.cookies.get("vagov_info_token")
        return dates.instant(json.loads(unquote(text))["access_token_expiration"]) if text else None

    def _ends_within(self, seconds: float) -> bool:
        ends = self.session_ends()
        return ends is not None and (ends - datetime.now(UTC)).total_seconds() < seconds

    def refresh(self) -> None:
        """New cookies. The CSRF token is not kept from here: this call is no `apiRequest`."""
        self.fetch("POST", REFRESH_PATH, {})

    # -- the two XHR paths, and the 526 page's own ----------------------------

    def upload(self, name: str, content: bytes, code: str, password: str | None = None) -> dict[str, Any]:
        """The entry that the form keeps for this file: with `confirmationCode`, or with `errorMessage`."""
        parts: dict[str, Any] = {FILE_FIELD: (name, content)}
        parts |= {PASSWORD_FIELD: (None, password)} if password is not None else {}
        prepared = requests.Request("POST", "http://x", files=parts).prepare()
        kind = {"Content-Type": prepared.headers["Content-Type"]}
        entry = {"name": name, "size": len(content), "attachmentId": code, "isEncrypted": password is not None}
        try:
            answer = self._xhr("/v0/upload_supporting_evidence", kind, bytes(prepared.body or b""))
        except NetworkError:
            return {**entry, "errorMessage": "We could not reach the server."}
        if answer.ok:
            return {**entry, "confirmationCode": answer.json()["data"]["attributes"]["guid"]}
        if answer.status == 429:
            return {**entry, "errorMessage": f"Try again at {int(answer.headers['x-ratelimit-reset'])}"}
        if answer.status == 403:
            return {**entry, "errorMessage": "Sign in again."}
        try:
            return {**entry, "errorMessage": answer.json()["errors"][0].get("detail")}
        except NotJSON:
            return {**entry, "errorMessage": f"{answer.status}"}

    def _xhr(self, path: str, headers: Mapping[str, str], body: bytes, may_refresh: bool = True) -> Answer:
        """As `uploadFile` and `submitToUrl` do it: the token is sent only if there is one."""
        own = {"X-Key-Inflection": "camel", "Source-App-Name": self.app or "undefined"}
        own |= {"X-CSRF-Token": self.storage["csrfToken"]} if "csrfToken" in self.storage else {}
        answer = self.fetch("POST", path, {**own, **headers}, body)
        if token := answer.headers.get("x-csrf-token"):
            self.storage["csrfToken"] = token
        if answer.status == 403 and may_refresh and "token has expired" in str(answer.json().get("errors")):
            self.refresh()
            return self._xhr(path, headers, body, may_refresh=False)
        return answer

    def submit_526(self, form: Mapping[str, Any]) -> tuple[str, Any]:
        """The page's own submit: `submitted` with the answer, or the kind of error that the page shows. A 2xx without
        JSON leaves the page waiting for ever: NotJSON."""
        headers = {
            "X-Key-Inflection": "camel",
            "Content-Type": "application/json",
            "X-CSRF-Token": self.storage.get("csrfToken", "null"),
            "Source-App-Name": self.app or "undefined",
        }
        path, body = "/v0/disability_compensation_form/submit_all_claim", json.dumps({"form526": form}).encode()
        try:
            answer = self.fetch("POST", path, headers, body, seconds=SUBMIT_SECONDS)
        except NetworkError:
            return "client error", None
        if answer.ok:
            parsed = answer.json()
            return "submitted", parsed.get("data", parsed)
        if answer.status == 429:
            return "throttled", int(answer.headers["x-ratelimit-reset"])
        return "server error", None


def needs_permission(name: str, value: str) -> bool:
    if name.lower() == "content-type":
        return value.partition(";")[0].strip().lower() not in SIMPLE_TYPES
    return name.lower() not in SENDABLE


def listed(reply: requests.Response, name: str) -> list[str]:
    return [each.strip() for each in reply.headers.get(name, "").split(",")]
