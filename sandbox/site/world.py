"""The outside world: what is broken just now, and switches to break and mend it, so that a promise can be watched."""

from __future__ import annotations

import requests
from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.utils import redirect

from sandbox.faults import Refused
from sandbox.site.current import note_of, site, visitor
from sandbox.site.product import Trouble

pages = Blueprint("world", __name__)

# Those that a promise waits for; a person notices the others at once.
UPSTREAMS = ("btsss", "lighthouse", "form526", "documents", "travel_pay", "va_notify", "lorota", "chip")
SCENARIOS = ("ok", "refusing", "reply lost")


@pages.get("/outside-world")
def outside() -> str:
    return render_template("world.html", upstreams=UPSTREAMS, note=note_of("world"), here=request.path)


@pages.post("/outside-world")
def play() -> ResponseReturnValue:
    upstream, scenario = request.form.get("upstream", ""), request.form.get("scenario", "")
    if upstream not in UPSTREAMS or scenario not in SCENARIOS:
        abort(400)
    try:
        site().control.play(upstream, scenario)
    except (requests.RequestException, Refused):
        visitor().notes["world"] = {"errors": {}, "trouble": Trouble("away"), "field": None}
    return redirect(local_path(request.form.get("next", "")), 303)


def local_path(text: str) -> str:
    """The address if it is one of these pages, else the page of the switches: no open redirect, not even here."""
    safe = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if safe else "/outside-world"
