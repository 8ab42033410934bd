"""The fake Travel Pay API: appointments, claims with documents, and BTSSS's contact details (contract: travel 5.3).

Versions are mixed as in the real API. A person sees only what is theirs; everything else is "not found".
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, g, request

from sandbox.upstreams import travel_pay_answers as words
from sandbox.upstreams import travel_pay_writes as writes
from sandbox.upstreams.cast import Cast, Veteran
from sandbox.upstreams.contacts import Changes, at_btsss
from sandbox.upstreams.fake import BadRequest, answer, json_body
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens
from sandbox.upstreams.travel_pay_admin import travel_pay_admin
from sandbox.upstreams.travel_pay_book import Book, Claim
from sandbox.upstreams.travel_pay_gateway import TravelPayGateway, TravelPayGatewayKnobs
from sandbox.upstreams.travel_pay_past import settle
from sandbox.upstreams.travel_pay_reads import (
    Unreadable,
    appointment_listed,
    claim_detail,
    claim_listed,
    page_of,
    wall_clock,
)


@dataclass(frozen=True, kw_only=True)
class TravelPayKnobs(TravelPayGatewayKnobs):
    """No list has more than `largest_page` entries in one answer, whatever `pageSize` says. `find_or_add_answers` is
    what that call answers: the appointment, or one of `UNUSUAL_ANSWERS`. With `documents_in_json` a document comes as
    base64 in JSON, still under its own type and name."""

    largest_page: int = 50
    find_or_add_answers: str = "one"
    documents_in_json: bool = False

    def __post_init__(self) -> None:
        if self.find_or_add_answers not in ("one", *writes.UNUSUAL_ANSWERS):
            raise ValueError(f"find_or_add_answers: one, {', '.join(writes.UNUSUAL_ANSWERS)}")


class TravelPay(TravelPayGateway):
    def __init__(self, settings: FakeSettings, cast: Cast, veis_tokens: Tokens, sts_tokens: Tokens) -> None:
        self.book = Book()
        self._changes = Changes()
        super().__init__(settings, cast, veis_tokens, sts_tokens)

    def first_knobs(self) -> TravelPayKnobs:
        return TravelPayKnobs()

    def routes(self) -> None:
        super().routes()
        rule = self.app.add_url_rule
        rule("/api/v3/appointments/find-or-add", view_func=self.find_or_add, methods=["POST"])
        rule("/api/v2/appointments", view_func=self.appointments)
        rule("/api/v3/claims", view_func=self.create, methods=["POST"])
        rule("/api/v3/expenses/mileage", view_func=self.add_mileage, methods=["POST"])
        rule("/api/v3/claims/<claim_id>/submit", view_func=self.submit, methods=["PATCH"])
        rule("/api/v3/claims/<claim_id>", view_func=self.claim)
        rule("/api/v2/claims", view_func=self.claims)
        rule("/api/v2/claims/search-by-appointment-date", view_func=self.search)
        rule("/api/v2/claims/<claim_id>/documents", view_func=self.documents)
        rule("/api/v2/claims/<claim_id>/documents/<document_id>", view_func=self.document)
        rule("/api/v2/contacts", view_func=self.contacts)
        self.app.register_error_handler(Unreadable, lambda error: words.refused(str(error)))
        self.app.before_request(self._settle)

    def admin_routes(self, admin: Blueprint) -> None:
        super().admin_routes(admin)
        admin.add_url_rule("/contacts/<icn>", view_func=self.change_contacts, methods=["PATCH"])
        travel_pay_admin(admin, self.book, self._put_on_file)

    def reset(self) -> None:
        super().reset()
        self.book.reset()
        self._changes.reset()

    def find_or_add(self) -> Response:
        return writes.find_or_add(self.book, g.icn, json_body(), self.knobs.find_or_add_answers)

    def create(self) -> Response:
        return writes.create(self.book, g.icn, json_body(), self._veteran())

    def add_mileage(self) -> Response:
        return writes.add_mileage(self.book, g.icn, json_body())

    def submit(self, claim_id: str) -> Response:
        return writes.submit(self.book, g.icn, claim_id)

    def appointments(self) -> Response:
        without_claims = request.args.get("excludeWithClaims", "").lower() == "true"
        with self.book.lock:
            appointments = [each for each in self.book.appointments_of(g.icn) if not (without_claims and each.claim_id)]
            return self._page("Appointments", [appointment_listed(self.book, each) for each in appointments])

    def claims(self) -> Response:
        with self.book.lock:
            return self._page("Claims", [claim_listed(claim) for claim in self.book.claims_of(g.icn)])

    def search(self) -> Response:
        """Search by the wall clock of the appointment. A bare date means its midnight; both ends belong to the
        range."""
        first, last = wall_clock(request.args.get("startDate")), wall_clock(request.args.get("endDate"))
        if first > last:
            raise Unreadable("startDate must not be after endDate.")
        with self.book.lock:
            found = [each for each in self.book.claims_of(g.icn) if _between(each, first, last)]
            return self._page("Claims", [claim_listed(claim) for claim in found])

    def claim(self, claim_id: str) -> Response:
        with self.book.lock:
            claim = self.book.claim(g.icn, claim_id)
            if claim is None:
                return words.missing("Claim not found.")
            return words.good("Claim retrieved successfully.", claim_detail(self.book, claim, self._veteran()))

    def documents(self, claim_id: str) -> Response:
        claim = self.book.claim(g.icn, claim_id)
        if claim is None:
            return words.missing("Claim not found.")
        return words.good("Documents retrieved successfully.", [document.as_json() for document in claim.documents])

    def document(self, claim_id: str, document_id: str) -> Response:
        claim = self.book.claim(g.icn, claim_id)
        found = next((each for each in claim.documents if each.id == document_id.lower()), None) if claim else None
        if found is None:
            return words.missing("Document not found.")
        named = f"attachment; filename*=UTF-8''{quote(found.filename)}"
        kind = found.mimetype or "application/octet-stream"
        in_json = self.knobs.documents_in_json
        content = json.dumps({"data": base64.b64encode(found.content).decode()}) if in_json else found.content
        return Response(content, headers={"Content-Disposition": named}, content_type=kind)

    def contacts(self) -> Response:
        return words.good("Contact details retrieved successfully.", self._contacts(g.icn))

    def change_contacts(self, icn: str) -> Response:
        """Give a person other details at BTSSS: any of `address`, `phoneNumber`, `email`."""
        body = json_body()
        if not body or not set(body) <= {"address", "phoneNumber", "email"}:
            raise BadRequest("only address, phoneNumber and email can be changed")
        self._changes.plant(icn, body)
        return answer(self._contacts(icn))

    def _contacts(self, icn: str) -> dict[str, Any]:
        veteran = self.cast.by_icn(icn)
        contacts = at_btsss(veteran) if veteran else {"address": None, "phoneNumber": None, "email": None}
        return self._changes.over(icn, contacts)

    def _page(self, kind: str, items: list[dict[str, Any]]) -> Response:
        page, paging = page_of(items, request.args, self.knobs.largest_page)
        return words.good(f"{kind} retrieved successfully.", page, **paging)

    def _veteran(self) -> Veteran | None:
        return self.cast.by_icn(g.icn)

    def _settle(self) -> None:
        if "icn" in g:
            self._put_on_file(g.icn)

    def _put_on_file(self, icn: str | None) -> None:
        veterans = self.cast.everybody() if icn is None else filter(None, [self.cast.by_icn(icn)])
        for veteran in veterans:
            settle(self.book, veteran)


def _between(claim: Claim, first: datetime, last: datetime) -> bool:
    return claim.appointment is not None and first <= claim.appointment.at <= last
