"""The fake account service, which knows whose a sign-in account is. Its interface is an assumption
(docs/assumptions.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response, request

from sandbox.upstreams.fake import Fake, answer

UNKNOWN = "Account not found"


@dataclass(frozen=True)
class AccountsKnobs:
    """Nothing can be changed here; the faults are enough."""


class Accounts(Fake):
    name = "accounts"

    def first_knobs(self) -> AccountsKnobs:
        return AccountsKnobs()

    def routes(self) -> None:
        self.app.add_url_rule("/accounts/<account_id>", view_func=self.show)
        self.app.register_error_handler(404, _no_route)

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"error": UNKNOWN if status == 404 else text}

    def show(self, account_id: str) -> Response:
        if request.headers.get("x-api-key") != self.settings.accounts_api_key:
            return answer({"error": "Forbidden"}, 403)
        veteran = self.cast.by_account(account_id.lower())
        if veteran is None:
            return answer({"error": UNKNOWN}, 404)
        return answer(
            {
                "id": veteran.account,
                "icn": veteran.icn if veteran.identified else None,
                "firstName": veteran.first_name,
                "ssn": veteran.ssn,
                "participantId": veteran.participant_id,
                "fileNumber": veteran.file_number,
                "email": veteran.email,
            }
        )


def _no_route(_: Exception) -> Response:
    """A path that does not exist is answered differently from an account that does not exist."""
    return answer({"message": "Not Found"}, 404)
