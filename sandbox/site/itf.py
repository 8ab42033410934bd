"""The intent to file, first step of form 526: found, being created, or on record, with the date that counts."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from sandbox.site.current import back, note_of, onward, person, visitor, words
from sandbox.site.product import Trouble
from sandbox.site.progress import Progress, progress_of
from sandbox.site.words import ZONE, now, timestamp

pages = Blueprint("itf", __name__)
PATH = "/v0/intent_to_file/compensation"


class Shown:
    """One intent to file on a page: how far it is, its two dates, and how much of its time has passed."""

    def __init__(self, item: dict[str, Any]) -> None:
        self.counts_from: str = item["creationDate"]
        self.ends: str = item["expirationDate"]
        self.progress: Progress = progress_of(words(), "itf", item["recordMessage"], item["recordState"])

    @property
    def end_is_known(self) -> bool:
        """While nobody has looked for an earlier one, the end that the product gives is only the last that it can
        vouch for."""
        return self.progress.happened.key != "itf.unchecked"

    @property
    def days(self) -> int:
        return max(1, (legal_day(self.ends) - legal_day(self.counts_from)).days)

    @property
    def days_left(self) -> int:
        return max(0, (legal_day(self.ends) - now().astimezone(ZONE).date()).days)

    @property
    def days_gone(self) -> int:
        return self.days - min(self.days, self.days_left)


def legal_day(text: str) -> date:
    return timestamp(text).astimezone(ZONE).date()


def read() -> Shown | None:
    """The person's valid one; None if there is none. Raises Trouble."""
    items = visitor().product.get(PATH).body["data"]["attributes"]["intentToFile"]
    return Shown(items[0]) if items else None


@pages.get("/intent-to-file")
def show() -> str:
    person()
    return render_template("itf.html", itf=read(), note=note_of("itf"), here=request.path)


@pages.post("/intent-to-file")
def create() -> ResponseReturnValue:
    person()
    try:
        visitor().product.call("POST", PATH)
    except Trouble as trouble:
        return back("itf", "itf.show", trouble=trouble)
    return onward("itf.show")
