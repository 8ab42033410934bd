"""The product as a page of the front end calls it: over HTTP only, with a browser's cookies (docs/front-end.md).

Whatever fails is a `Trouble`, which knows what the person can do about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

# The longest that a page waits: the product's own limits are shorter.
SECONDS = 60
ENDED = "Access token has expired"
REFRESH_PATH = "/v0/sign_in/refresh"
CSRF_HEADER = "X-CSRF-Token"
KINDS = {401: "signed_out", 403: "not_allowed", 404: "not_there", 410: "gone", 429: "busy"}


@dataclass(frozen=True)
class Reply:
    """`body` is the parsed JSON, or the bytes of a file; `whole` is false for a part (206)."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def whole(self) -> bool:
        return self.status != 206


class Trouble(Exception):
    """A call that came to nothing. `detail` is the product's own sentence, `seconds` how long to wait if it said so.

    `kind` is `away` (no answer, or a failure that is not the person's: nothing was confirmed), `busy`, `signed_out`,
    `not_allowed`, `not_there`, `gone` or `refused`.
    """

    def __init__(self, kind: str, code: str = "", detail: str = "", seconds: int | None = None) -> None:
        super().__init__(f"{kind} {code}".strip())
        self.kind = kind
        self.code = code
        self.detail = detail
        self.seconds = seconds


class Product:
    """One browser in front of the product. `sign_in_url` is the Sign-in Service, whose cookies go to both."""

    def __init__(self, url: str, sign_in_url: str) -> None:
        self.url = url
        self.sign_in_url = sign_in_url
        self._csrf_token = ""
        self._browser = requests.Session()
        self._browser.trust_env = False
        self._browser.headers.update({"X-Key-Inflection": "camel", "Source-App-Name": "sandbox-site"})

    def close(self) -> None:
        self._browser.close()

    def sign_in(self, account: str) -> None:
        """As somebody of the cast; the Sign-in Service sets the cookies. Raises Trouble."""
        try:
            reply = self._browser.post(f"{self.sign_in_url}/", data={"account": account}, timeout=SECONDS)
        except requests.RequestException:
            raise Trouble("away") from None
        if not reply.ok:
            raise Trouble("away")

    def get(self, path: str, **query: str) -> Reply:
        return self.call("GET", path, params=query)

    def call(self, method: str, path: str, **parts: Any) -> Reply:
        """Any call, with requests' `json`, `params`, `files` and `headers`; raises Trouble.

        A token that has ended is refreshed once. A change without a CSRF token that counts is answered with one, and
        sent again.
        """
        reply = self._sent(method, path, parts)
        if reply.status_code == 403 and (self._refreshed(reply) or code_of(reply) == "CSRF"):
            reply = self._sent(method, path, parts)
        if reply.status_code >= 400:
            raise trouble_of(reply)
        is_json = "application/json" in reply.headers.get("Content-Type", "")
        try:
            body = reply.json() if is_json else reply.content
        except ValueError:
            raise Trouble("away") from None
        return Reply(reply.status_code, body, reply.headers)

    def _sent(self, method: str, path: str, parts: Mapping[str, Any]) -> requests.Response:
        headers = {**parts.get("headers", {}), **({CSRF_HEADER: self._csrf_token} if self._csrf_token else {})}
        for _, stream in (parts.get("files") or {}).values():
            stream.seek(0)
        try:
            reply = self._browser.request(
                method,
                f"{self.url}{path}",
                **{**parts, "headers": headers},
                timeout=SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException:
            raise Trouble("away") from None
        self._csrf_token = reply.headers.get(CSRF_HEADER, self._csrf_token)
        return reply

    def _refreshed(self, reply: requests.Response) -> bool:
        if errors_of(reply) != ENDED:
            return False
        try:
            return self._browser.post(f"{self.sign_in_url}{REFRESH_PATH}", timeout=SECONDS).ok
        except requests.RequestException:
            return False


def errors_of(reply: requests.Response) -> Any:
    try:
        body = reply.json()
    except ValueError:
        return None
    return body.get("errors") if isinstance(body, dict) else None


def first_error(reply: requests.Response) -> Mapping[str, Any]:
    """The first of `errors`; an empty one for a text or nothing at all."""
    errors = errors_of(reply)
    return errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}


def code_of(reply: requests.Response) -> str:
    """The code of the first error. Check-in's refusal of a caller without a session has no errors, and so none."""
    return "CHECK_IN" if is_no_session(reply) else str(first_error(reply).get("code", ""))


def is_no_session(reply: requests.Response) -> bool:
    return reply.status_code == 401 and b'"read.none"' in reply.content


def trouble_of(reply: requests.Response) -> Trouble:
    """The status decides; of check-in the one in the body, which the pages read (contract: frontend 2.2)."""
    error = first_error(reply)
    status = reply.status_code
    kind = "away" if status >= 500 else KINDS.get(status, "refused")
    wait = reply.headers.get("Retry-After", "")
    seconds = math.ceil(float(wait)) if wait.replace(".", "", 1).isdigit() else None
    return Trouble(kind, code_of(reply), str(error.get("detail", "")), seconds)
