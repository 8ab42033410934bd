"""The admin API of the intents to file on record: list all, add, change and remove them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.fake import BadRequest, answer, json_body
from sandbox.upstreams.itfs import ITF, ITFs

USED = "claim_recieved"
DAYS = {"expired": 400}
USUAL_DAYS = 100
PLANTED = {"icn", "type", "status", "age_days", "created_at", "expires_at"}
CHANGED = {"status", "created_at", "expires_at"}


def itf_admin(admin: Blueprint, itfs: ITFs, now: Callable[[], datetime], settle: Callable[[], None]) -> None:
    """Add the routes. `now` is Lighthouse's clock; `settle` puts on file what the habits of the cast say."""

    @admin.get("/itfs")
    def list_itfs() -> Response:
        settle()
        return answer([itf.described() for itf in itfs.listed(request.args.get("icn"))])

    @admin.post("/itfs")
    def plant_itfs() -> Response:
        """Add one ITF (a JSON object) or many (a list): `icn`; optional `type` (compensation), `status` (active; any
        word, `used` meaning claim_recieved), `created_at` or `age_days` (100; 400 when expired), `expires_at`."""
        body = request.get_json(force=True, silent=True)
        readings = [_reading(item, now()) for item in (body if isinstance(body, list) else [body])]
        planted = [itfs.plant(**reading).described() for reading in readings]
        return answer(planted if isinstance(body, list) else planted[0], 201)

    @admin.patch("/itfs/<itf_id>")
    def change_itf(itf_id: str) -> Response:
        """Change `status` (`used` meaning claim_recieved), `created_at`, `expires_at`."""
        body = json_body()
        _only(body, CHANGED)
        values: dict[str, Any] = {name: _timestamp(body[name]) for name in CHANGED - {"status"} if name in body}
        if "status" in body:
            values["status"] = _word(body["status"])
        return _shown(itf_id, itfs.change(itf_id, **values))

    @admin.delete("/itfs/<itf_id>")
    def remove_itf(itf_id: str) -> Response:
        return _shown(itf_id, itfs.remove(itf_id))


def _reading(item: Any, now: datetime) -> dict[str, Any]:
    if not isinstance(item, dict) or not item.get("icn"):
        raise BadRequest("icn is needed")
    _only(item, PLANTED)
    status = item.get("status", "active")
    age = timedelta(days=float(item.get("age_days", DAYS.get(status, USUAL_DAYS))))
    return {
        "icn": item["icn"],
        "itf_type": item.get("type", "compensation"),
        "status": _word(status),
        "created_at": _timestamp(item["created_at"]) if "created_at" in item else now - age,
        "expires_at": _timestamp(item["expires_at"]) if "expires_at" in item else None,
    }


def _only(body: Mapping[str, Any], names: set[str]) -> None:
    unknown = set(body) - names
    if unknown:
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}")


def _word(status: str) -> str:
    return USED if status == "used" else status


def _timestamp(text: str) -> datetime:
    try:
        timestamp = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise BadRequest(f"{text} is not an ISO 8601 date-time") from None
    return timestamp.astimezone(UTC) if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def _shown(itf_id: str, itf: ITF | None) -> Response:
    if itf is None:
        raise BadRequest(f"no ITF {itf_id}")
    return answer(itf.described())
