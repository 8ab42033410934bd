"""The fake VA Profile, which knows how to reach a person. Its interface is an assumption (docs/assumptions.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.contacts import Changes, at_va_profile
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.settings import FakeSettings

UNKNOWN = "Person not found"


@dataclass(frozen=True)
class VAProfileKnobs:
    """Nothing can be changed here; the faults are enough."""


class VAProfile(Fake):
    name = "va_profile"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self._changes = Changes()
        super().__init__(settings, cast)

    def first_knobs(self) -> VAProfileKnobs:
        return VAProfileKnobs()

    def routes(self) -> None:
        self.app.add_url_rule("/contact-information/<icn>", view_func=self.show)
        self.app.register_error_handler(404, _no_route)

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/contacts/<icn>", view_func=self.change, methods=["PATCH"])

    def reset(self) -> None:
        super().reset()
        self._changes.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"error": UNKNOWN if status == 404 else text}

    def show(self, icn: str) -> Response:
        if request.headers.get("x-api-key") != self.settings.va_profile_api_key:
            return answer({"error": "Forbidden"}, 403)
        details = self._details(icn)
        return answer({"error": UNKNOWN}, 404) if details is None else answer(details)

    def change(self, icn: str) -> Response:
        """Give a person other details: any of `email`, `mobilePhone`, `homePhone`, `mailingAddress`."""
        body, details = json_body(), self._details(icn)
        if details is None or not body or not set(body) < set(details):
            raise BadRequest("the ICN must be known, and only its details can be changed")
        self._changes.plant(icn, body)
        return answer(self._details(icn))

    def _details(self, icn: str) -> dict[str, Any] | None:
        veteran = self.cast.by_icn(icn)
        return self._changes.over(icn, at_va_profile(veteran)) if veteran else None


def _no_route(_: Exception) -> Response:
    """A path that does not exist is answered differently from a person who does not exist."""
    return answer({"message": "Not Found"}, 404)
