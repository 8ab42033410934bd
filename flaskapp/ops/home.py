"""Home page of the operators. Other modules add their panels and links to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Flask, Response, current_app, make_response, render_template, request

from flaskapp import clock
from flaskapp.ops.login import require_operator
from flaskapp.web.cross_origin import PAGE_POLICY

log = logging.getLogger(__name__)

blueprint = Blueprint("ops_home", __name__, url_prefix="/ops")
require_operator(blueprint)


# One file of our own, which asks for this page again. Nothing else may run.
POLICY = f"{PAGE_POLICY}; script-src 'self'; connect-src 'self'"


@dataclass(frozen=True)
class Panel:
    """A part of the page: a template of its own, and the values for it, read at every view."""

    title: str
    template: str
    context: Callable[[], Mapping[str, Any]]

    @property
    def anchor(self) -> str:
        """Where it stands on the page, by the name of its template."""
        return f"panel-{self.template.rpartition('/')[2].removesuffix('.html')}"


@dataclass(frozen=True)
class Link:
    title: str
    url: str
    text: str


@dataclass
class Home:
    panels: list[Panel] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


def contents(app: Flask) -> Home:
    home: Home = app.extensions.setdefault("ops_home", Home())
    return home


def panel(app: Flask, title: str, template: str, context: Callable[[], Mapping[str, Any]] = dict) -> None:
    """Show `template`, rendered with what `context()` returns, on the operators' home page."""
    contents(app).panels.append(Panel(title, template, context))


def link(app: Flask, title: str, url: str, text: str) -> None:
    """Offer another page; `text` says in a sentence what is there."""
    contents(app).links.append(Link(title, url, text))


def shown(item: Panel) -> str | None:
    """The panel's HTML, or None when its values cannot be read: one panel must not break the whole page."""
    try:
        return render_template(item.template, **item.context())
    except Exception:
        log.exception("panel failed", extra={"event": "ops.panel_failed", "panel": item.title})
        return None


@blueprint.get("/")
def home() -> Response:
    """The page loads itself again every half minute, unless its reader wants it `still`."""
    page = contents(current_app)
    panels = [(item, shown(item)) for item in page.panels]
    still = request.args.get("still") == "yes"
    made_at = clock.now()
    response = make_response(
        render_template("ops/home.html", panels=panels, links=page.links, still=still, made_at=made_at)
    )
    response.headers["Content-Security-Policy"] = POLICY
    return response
