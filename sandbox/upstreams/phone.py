"""The veteran's phone and inbox: every text and e-mail of the sandbox as the person sees it, newest first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import answer

TEMPLATE_FOLDER = Path(__file__).parent.parent / "templates"
MOST_SHOWN = 200
ZONE = ZoneInfo("America/Chicago")


def phone(messages: Callable[[], list[dict[str, Any]]], cast: Cast) -> Blueprint:
    """`/phone` for people and `/phone.json` for programs; `?to=` narrows both to one number or address."""
    pages = Blueprint("phone", __name__, template_folder=str(TEMPLATE_FOLDER))

    def wanted() -> list[dict[str, Any]]:
        to = request.args.get("to")
        return [message for message in messages() if to in (None, message["to"])]

    @pages.get("/phone.json")
    def as_json() -> Any:
        return answer(wanted())

    @pages.get("/phone")
    def as_page() -> str:
        found = wanted()
        shown = [_for_people(message, cast) for message in found[:MOST_SHOWN]]
        return render_template("phone.html", messages=shown, total=len(found), to=request.args.get("to"))

    return pages


def _for_people(message: dict[str, Any], cast: Cast) -> dict[str, Any]:
    person = cast.by_contact(message["to"])
    return {**message, "person": person and person.name, "when": _local(message["at"])}


def _local(stamp: str) -> str:
    timestamp = datetime.fromisoformat(stamp).astimezone(ZONE)
    return f"{timestamp:%b %d, %H:%M:%S}"
