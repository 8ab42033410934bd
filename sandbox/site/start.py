"""The start page: everybody of the cast, introduced by what will happen to them, and signing in as one of them."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, url_for
from flask.typing import ResponseReturnValue
from werkzeug.utils import redirect

from sandbox.site.current import back, note_of, site, visitor
from sandbox.site.people import begins_at, person_with, stories
from sandbox.site.product import Trouble

pages = Blueprint("start", __name__)
# The page on which each story begins; a check-in has a link of its own.
FIRST_PAGES = {"itf": "itf.show", "form": "itf.show", "travel": "travel.overview"}


@pages.get("/")
def people() -> str:
    return render_template("start.html", stories=stories(), note=note_of("start"))


@pages.post("/people/<uuid>")
def become(uuid: str) -> ResponseReturnValue:
    """Sign in as this person, in a browser without a past, and begin their story."""
    chosen = person_with(uuid)
    if chosen is None:
        abort(404)
    try:
        site().visitors.become(visitor(), chosen)
    except Trouble as trouble:
        return back("start", "start.people", trouble=trouble)
    begins = begins_at(chosen)
    place = url_for("check_in.identity", uuid=uuid) if begins == "check_in" else url_for(FIRST_PAGES[begins])
    return redirect(place, 303)
