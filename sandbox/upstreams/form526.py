"""The fake service that takes 526 submissions. Its interface is an assumption (docs/assumptions.md).

It takes a reference once: a second submission with the same reference is refused as a duplicate, from any sender.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import Fake, answer, json_body
from sandbox.upstreams.journal import utc_now
from sandbox.upstreams.settings import FakeSettings

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Duplicate",
    422: "Unprocessable Entity",
}
BREAKS_RULES = "The form does not pass the rules for claims."
FIRST_CLAIM, CLAIMS = 600_000_000, 300_000_000


@dataclass(frozen=True)
class Form526Knobs:
    """`refuse_with` refuses every form whose JSON contains this text; an empty text refuses all. With `duplicates` off,
    a known reference is taken again as a new claim."""

    refuse_with: str | None = None
    duplicates: bool = True


@dataclass(frozen=True)
class Submission:
    """One form that was taken; `received_at` is UTC text."""

    reference: str
    claim_id: int
    icn: str
    form526: dict[str, Any]
    received_at: str


class Form526(Fake):
    name = "form526"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self._taking = threading.Lock()
        self._submissions: list[Submission] = []
        # Starting from the clock keeps numbers different after a restart of the sandbox.
        self._claims = itertools.count(FIRST_CLAIM + int(time.time() * 10) % CLAIMS)
        super().__init__(settings, cast)

    def first_knobs(self) -> Form526Knobs:
        return Form526Knobs()

    def routes(self) -> None:
        self.app.add_url_rule("/submissions", view_func=self.submit, methods=["POST"])
        self.app.add_url_rule("/submissions/<reference>", view_func=self.show)
        self.app.register_error_handler(404, _no_route)

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/submissions", view_func=self.list_submissions)

    def reset(self) -> None:
        super().reset()
        with self._taking:
            self._submissions.clear()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return _errors(status, BREAKS_RULES if status == 422 else text)

    def submit(self) -> Response:
        body = json_body()
        refusal = self._unauthorized() or _malformed(body) or self._unprocessable(body)
        return refusal or self._taken(body)

    def show(self, reference: str) -> Response:
        refusal = self._unauthorized()
        if refusal:
            return refusal
        found = self._find(reference)
        if found is None:
            return _problem(404, f"No submission has the reference {reference}.")
        return answer({"reference": found.reference, "claimId": found.claim_id})

    def list_submissions(self) -> Response:
        """What was taken, oldest first; narrowed by `reference` or `icn`."""
        with self._taking:
            held = [asdict(submission) for submission in self._submissions]
        return answer([each for each in held if all(each.get(name) == text for name, text in request.args.items())])

    def _taken(self, body: dict[str, Any]) -> Response:
        reference = body["reference"].lower()
        with self._taking:
            if self.knobs.duplicates and self._find(reference):
                return _problem(409, f"The reference {reference} was submitted before.", code="DUPLICATE")
            claim_id = next(self._claims)
            self._submissions.append(Submission(reference, claim_id, body["icn"], body["form526"], utc_now()))
        return answer({"claimId": claim_id}, 201)

    def _find(self, reference: str) -> Submission | None:
        """The first submission taken under this reference."""
        return next((each for each in self._submissions if each.reference == reference.lower()), None)

    def _unauthorized(self) -> Response | None:
        presented = request.headers.get("x-api-key")
        if presented == self.settings.form526_api_key:
            return None
        return _problem(403, "The API key is not valid.") if presented else _problem(401, "An API key is required.")

    def _unprocessable(self, body: dict[str, Any]) -> Response | None:
        if self.cast.by_icn(body["icn"]) is None:
            return _problem(422, "No veteran has this ICN.")
        refused = self.knobs.refuse_with
        if refused is not None and refused in json.dumps(body["form526"], ensure_ascii=False):
            return _problem(422, BREAKS_RULES)
        return None


def _malformed(body: dict[str, Any]) -> Response | None:
    if not _is_uuid(body.get("reference")):
        return _problem(400, "reference must be a UUID.")
    if not isinstance(body.get("icn"), str) or not body["icn"]:
        return _problem(400, "icn is required.")
    if not isinstance(body.get("form526"), dict) or not body["form526"]:
        return _problem(400, "form526 must be an object that holds the form.")
    return None


def _is_uuid(given: Any) -> bool:
    try:
        return isinstance(given, str) and str(uuid.UUID(given)) == given.lower()
    except ValueError:
        return False


def _errors(status: int, detail: str, code: str | None = None) -> dict[str, Any]:
    return {
        "errors": [
            {"title": TITLES.get(status, detail), "detail": detail, "code": code or str(status), "status": str(status)}
        ]
    }


def _problem(status: int, detail: str, code: str | None = None) -> Response:
    return answer(_errors(status, detail, code), status)


def _no_route(_: Exception) -> Response:
    """A path that does not exist is answered differently from a submission that does not exist."""
    return answer({"message": "Not Found"}, 404)
