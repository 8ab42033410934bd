"""Rules for browsers: cross-origin calls with cookies, addresses without redirects, and security headers.

The front end lives on another host and sends paths with and without a trailing slash. A redirected preflight fails,
so nothing here ever redirects. The consoles are for operators only and accept no cross-origin call at all.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from flaskapp.config import Config
from flaskapp.web.errors import under_pages

ALLOWED_HEADERS = "content-type, x-key-inflection, source-app-name, x-csrf-token, idempotency-key, prefer"
ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE"
# Without this list a script can read none of them: the CSRF token, the session's end, the time on the 429 page.
EXPOSED_HEADERS = "X-CSRF-Token, X-Session-Expiration, X-RateLimit-Reset, X-Request-Id, Preference-Applied"
PREFLIGHT_SECONDS = 600
HSTS = "max-age=31536000; includeSubDomains"

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Icons of the pages' CSS library are images in the style sheet itself.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that, browsers send `Origin: null` on our own forms and the same-origin check fails.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Against pages that embed our answers. It does not affect the front end's scripts, which use CORS.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Cache-Control": "no-store",
}
API_DEFAULTS = [*HEADERS.items(), ("Content-Security-Policy", API_POLICY)]
PAGE_DEFAULTS = [*HEADERS.items(), ("Content-Security-Policy", PAGE_POLICY)]


def init_app(app: Flask, config: Config) -> None:
    """Call before any route is added: a rule takes its slash behaviour from the map when it is added.

    Of `X-Forwarded-For` and `-Proto`, only what our own proxies wrote counts: callers may send anything.
    """
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    proxies = config.trusted_proxies
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    origins = frozenset(config.frontend_origins)

    @app.before_request
    def preflight() -> Response | None:
        """Answer before any blueprint checks who is calling: a preflight carries no cookies.

        An address that does not exist is answered too: only then is the page shown the 404 itself, and not a failure
        of the network.
        """
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not is_preflight or not allowed_origin(app, origins):
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
        response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return response

    @app.after_request
    def allow_origin(response: Response) -> Response:
        """Errors get these headers too, or the script could not read why its call failed."""
        if not under_pages(app, request.path):
            response.vary.add("Origin")
        origin = allowed_origin(app, origins)
        if origin:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return response

    @app.after_request
    def secure(response: Response) -> Response:
        """Only defaults: a header that a view has set stays."""
        defaults = PAGE_DEFAULTS if under_pages(app, request.path) else API_DEFAULTS
        if request.is_secure:
            defaults = [*defaults, ("Strict-Transport-Security", HSTS)]
        present = {name.lower() for name, _ in response.headers}
        response.headers.extend([each for each in defaults if each[0].lower() not in present])
        return response


def allowed_origin(app: Flask, origins: frozenset[str]) -> str | None:
    """The caller's origin if it may call with cookies. It is compared as a whole, never by prefix or pattern."""
    origin = request.headers.get("Origin")
    return origin if origin in origins and not under_pages(app, request.path) else None


def own_origin() -> str:
    return request.host_url.rstrip("/")


def same_origin() -> bool:
    """Whether one of our own pages sent this request. False when the browser gives no sign of it."""
    own = own_origin()
    origin = request.headers.get("Origin")
    if origin is not None:
        return origin == own
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Referer", "").startswith(f"{own}/")
