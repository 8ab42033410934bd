"""The admin API of the uploads at Benefits Documents: list all, add many, move, change and forget them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, TypeVar

from flask import Blueprint, Response, request

from sandbox.upstreams.fake import BadRequest, answer, json_body
from sandbox.upstreams.uploads import Upload, Uploads

T = TypeVar("T")
CHANGED = {"plan", "steps_done", "step_seconds", "age_seconds"}
PLANTED = {item.name for item in fields(Upload)} - {"started_at"} | {"age_seconds", "count"}
FILTERS = {"doc_type", "participant_id", "file_number", "plan", "state", "file_name"}


def documents_admin(
    admin: Blueprint, uploads: Uploads, now: Callable[[], datetime], step_seconds: Callable[[], float]
) -> None:
    """Add the routes. `now` is the API's clock, `step_seconds` how long a step takes when nothing else is said."""
    _many_uploads(admin, uploads, now, step_seconds)
    _one_upload(admin, uploads, now)


def _many_uploads(
    admin: Blueprint, uploads: Uploads, now: Callable[[], datetime], step_seconds: Callable[[], float]
) -> None:

    def wanted() -> list[dict[str, Any]]:
        """All uploads, or those that the query selects."""
        _only(request.args, FILTERS | {"claim_id"})
        shown = (upload.described(now()) for upload in uploads.listed())
        return [each for each in shown if all(str(each[name]) == text for name, text in request.args.items())]

    @admin.get("/uploads")
    def list_uploads() -> Response:
        return answer(wanted())

    @admin.post("/uploads")
    def plant_uploads() -> Response:
        """Add one upload (a JSON object) or several (a list), `count` of a kind: any field of one, and `age_seconds`
        for when it began. Answers their ids."""
        body = request.get_json(force=True, silent=True)
        items = [_planned(item) for item in (body if isinstance(body, list) else [body])]
        planted = [
            _tried(uploads.add, **_reading(item, now(), step_seconds()))
            for item in items
            for _ in range(int(item.get("count", 1)))
        ]
        return answer({"ids": [upload.id for upload in planted]}, 201)

    @admin.patch("/uploads")
    def change_uploads() -> Response:
        """Change those that the query selects: `plan`, `steps_done` (null lets time move it), `step_seconds`,
        `age_seconds`."""
        changes = _changes(json_body(), now())
        ids = [each["id"] for each in wanted()]
        for request_id in ids:
            _tried(uploads.change, request_id, **changes)
        return answer({"ids": ids})

    @admin.delete("/uploads")
    def forget_uploads() -> Response:
        ids = [each["id"] for each in wanted()]
        for request_id in ids:
            uploads.remove(request_id)
        return answer({"ids": ids})


def _one_upload(admin: Blueprint, uploads: Uploads, now: Callable[[], datetime]) -> None:
    @admin.patch("/uploads/<int:request_id>")
    def change_upload(request_id: int) -> Response:
        changed = _tried(uploads.change, request_id, **_changes(json_body(), now()))
        return _shown(request_id, changed, now())

    @admin.delete("/uploads/<int:request_id>")
    def forget_upload(request_id: int) -> Response:
        return _shown(request_id, uploads.remove(request_id), now())


def _planned(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadRequest("an upload is an object")
    _only(item, PLANTED)
    return item


def _reading(item: dict[str, Any], now: datetime, step_seconds: float) -> dict[str, Any]:
    given = {name: value for name, value in item.items() if name not in ("count", "age_seconds")}
    age = timedelta(seconds=float(item.get("age_seconds", 0)))
    return {"step_seconds": step_seconds, "started_at": now - age, **given}


def _changes(body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    _only(body, CHANGED)
    changes = {name: value for name, value in body.items() if name != "age_seconds"}
    if "age_seconds" in body:
        changes["started_at"] = now - timedelta(seconds=float(body["age_seconds"]))
    return changes


def _only(given: Mapping[str, Any], names: set[str]) -> None:
    unknown = set(given) - names
    if unknown:
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}")


def _tried(change: Callable[..., T], *which: int, **values: Any) -> T:
    try:
        return change(*which, **values)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _shown(request_id: int, upload: Upload | None, now: datetime) -> Response:
    if upload is None:
        raise BadRequest(f"no upload {request_id}")
    return answer(upload.described(now))
