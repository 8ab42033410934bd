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

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
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
        people = {veteran.phone: veteran.name for veteran in cast.everybody() if veteran.phone}
        people |= {veteran.email: veteran.name for veteran in cast.everybody() if veteran.email}
        shown = [
            {**message, "person": people.get(message["to"]), "when": _local(message["at"])} for message in wanted()
        ]
        return render_template("phone.html", messages=shown, to=request.args.get("to"))

    return pages


def _local(stamp: str) -> str:
    moment = datetime.fromisoformat(stamp).astimezone(ZONE)
    return f"{moment:%b %d, %H:%M:%S}"
