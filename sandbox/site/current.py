"""The request of now: whose it is, in which language, and the outside world that the pages may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from flask import abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from sandbox.faults import Control, Refused
from sandbox.site.product import Trouble
from sandbox.site.visitors import Visitor, Visitors
from sandbox.site.words import Words
from sandbox.upstreams.cast import Veteran

# So many of a person's texts and e-mails stand beside each page.
MOST_SHOWN = 5


@dataclass(frozen=True)
class Site:
    """`phone_url` is the page with everybody's texts and e-mails; `control` turns the faults of the outside world."""

    visitors: Visitors
    control: Control
    phone_url: str
    product_url: str


def site() -> Site:
    found: Site = current_app.extensions["site"]
    return found


def visitor() -> Visitor:
    found: Visitor = g.visitor
    return found


def words() -> Words:
    language: str = g.language
    return Words(language)


def is_look() -> bool:
    """Whether a script looks for news of a page that is shown already. It chooses no language, and is told nothing that
    is said only once: another page may be the one to say it."""
    return request.headers.get("X-Requested-With") == "fetch"


def person() -> Veteran:
    """Who is signed in; sends everybody else to the start page."""
    found = visitor().person
    if found is None:
        abort(redirect(url_for("start.people"), 303))
    return found


def messages() -> list[dict[str, Any]] | None:
    """The newest on this person's phone and in their inbox; None while the phone cannot be read."""
    holder = visitor().person
    if holder is None:
        return []
    try:
        everything = site().control.phone()
    except (requests.RequestException, Refused):
        return None
    return [each for each in everything if each["to"] in (holder.phone, holder.email)][:MOST_SHOWN]


def faults_of(upstream: str) -> list[dict[str, Any]] | None:
    """What is wrong with an upstream just now; None when nobody can say."""
    try:
        return site().control.faults(upstream)
    except (requests.RequestException, Refused):
        return None


def tried(read: Callable[..., Any], *args: Any) -> Any:
    """What it reads, or the trouble that it had: one part of the page does not hide the others."""
    try:
        return read(*args)
    except Trouble as trouble:
        return trouble


# -- forms ---------------------------------------------------------------------


def keep(form: str, *names: str) -> dict[str, Any]:
    """What was typed into these fields, kept until the person is done with the form."""
    draft = visitor().draft(form)
    draft.update({name: request.form.get(name, "").strip() for name in names})
    return draft


def onward(endpoint: str, **values: Any) -> Response:
    """The next page, of which a reload sends nothing again. A script is told where it is."""
    place = url_for(endpoint, **values)
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return Response(f'{{"go": "{place}"}}', 200, content_type="application/json")
    return redirect(place, 303)


def back(
    form: str,
    endpoint: str,
    errors: dict[str, str] | None = None,
    trouble: Trouble | None = None,
    field: str | None = None,
    **values: Any,
) -> ResponseReturnValue:
    """The form again, with all that was typed, and what to do about each field or about the failed call.

    `errors` are texts by field. A refusal of what was typed belongs to `field`.
    """
    visitor().notes[form] = {"errors": errors or {}, "trouble": trouble, "field": field}
    return onward(endpoint, **values)


def note_of(form: str) -> dict[str, Any]:
    """What `back` left for this page, once."""
    empty: dict[str, Any] = {"errors": {}, "trouble": None, "field": None}
    return empty if is_look() else visitor().notes.pop(form, empty)


def missing(form: dict[str, Any], *names: str) -> dict[str, str]:
    """An error for each field that was left empty, in the words of the page."""
    say = words()
    return {name: say(f"missing.{name}") for name in names if not form.get(name)}
