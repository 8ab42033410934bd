"""The person's pages: a front end of the product that needs no script, for one machine (docs/tour.md).

It holds nothing of its own that counts. Every promise and every state comes from the product's public API.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, render_template, request, session
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from sandbox.faults import Control
from sandbox.site import check_in, current, form526, itf, start, submissions, travel, world
from sandbox.site.current import Site
from sandbox.site.product import Trouble
from sandbox.site.progress import steps_by_status
from sandbox.site.visitors import Visitors
from sandbox.site.words import LANGUAGES

# The product takes 99 MiB, and says so in its own words; this only ends what would never stop.
MOST_BYTES = 120 * 1024 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
    " font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
STATUS_OF_TROUBLE = {"signed_out": 401, "not_allowed": 403, "not_there": 404, "gone": 410, "busy": 503, "away": 503}


def create_site(product_url: str, upstreams: Mapping[str, str]) -> Flask:
    """The pages in front of the product at `product_url`; `upstreams` are the fakes' URLs by name."""
    app = Flask(__name__)
    # Drawn anew at each start: what a cookie names is gone by then as well.
    app.secret_key = secrets.token_bytes(32)
    app.config.update(
        SESSION_COOKIE_NAME="surefile_site",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=MOST_BYTES,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    visitors = Visitors(product_url, upstreams["sign_in"])
    phone_url = f"{upstreams['va_notify']}/phone"
    app.extensions["site"] = Site(visitors, Control(upstreams["control"]), phone_url, product_url)
    app.before_request(greet)
    app.after_request(secure)
    app.context_processor(shared)
    app.register_error_handler(Trouble, show_trouble)
    app.register_error_handler(HTTPException, show_http_error)
    for module in (start, submissions, check_in, itf, form526, travel, world):
        app.register_blueprint(module.pages)
    return app


def greet() -> ResponseReturnValue | None:
    """Find the visitor, and refuse forms of other pages: their origin is another one."""
    if request.endpoint == "static":
        return None
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin not in (None, request.host_url.rstrip("/")):
        return Response("This form was sent by another page.\n", 403, content_type="text/plain")
    session["visitor"], g.visitor = current.site().visitors.of(session.get("visitor"))
    g.language = request.args["lang"] if request.args.get("lang") in LANGUAGES else g.visitor.language
    if not current.is_look():
        g.visitor.language = g.language
    return None


def secure(response: Response) -> Response:
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def shared() -> dict[str, Any]:
    """What every page is given. `phone` is asked for by the page that shows it."""
    if "language" not in g:
        return {}
    return {
        "t": current.words(),
        "visitor": g.visitor,
        "person": g.visitor.person,
        "languages": LANGUAGES,
        "phone": current.messages,
        "faults_of": current.faults_of,
        "site": current.site(),
        "advice": advice,
        "steps_by_status": lambda word: steps_by_status(current.words(), word),
    }


def advice(trouble: Trouble) -> str:
    """What to do now: the words for its code, else those for its kind."""
    say = current.words()
    key = f"do.{trouble.code}"
    return say(key if trouble.code and say.known(key) else f"do.{trouble.kind}", seconds=trouble.seconds or 30)


def show_trouble(trouble: Trouble) -> ResponseReturnValue:
    """Of a page that could not be read."""
    here = request.full_path.rstrip("?") if request.method == "GET" else None
    page = render_template("trouble.html", trouble=trouble, here=here)
    return page, STATUS_OF_TROUBLE.get(trouble.kind, 422)


def show_http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    if "language" not in g:
        return error.get_response()
    kind = "not_there" if error.code == 404 else "too_large" if error.code == 413 else "ours"
    return render_template("trouble.html", trouble=Trouble(kind), here=None), error.code or 500
