"""Log-in of operators, and the check of who is logged in for everything under /ops and /rq."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask_login import current_user, login_user, logout_user
from flask_wtf import FlaskForm
from flask_wtf.csrf import validate_csrf
from werkzeug.wrappers import Response as WerkzeugResponse
from wtforms import PasswordField, StringField, ValidationError
from wtforms.validators import InputRequired, Length

from flaskapp.config_readers import Rate
from flaskapp.ops import oidc
from flaskapp.ops.operators import KNOWN_SECONDS, Operator, authenticate, known_browser, known_name, log_outs
from flaskapp.web import access, rate_limits
from flaskapp.web.errors import Problem, page_wanted
from flaskapp.web.passthrough import in_words

# Limits of failures; a log-in that succeeds is not counted. Many people may share an address, so what somebody there
# guesses counts against the name that they guess. The limit of the address itself only ends floods.
HERE_LIMIT = Rate(10, 900)
ADDRESS_LIMIT = Rate(50, 900)
NAME_LIMIT = Rate(30, 3_600)
TOO_MANY = "Too many wrong passwords {where}. Try again in {wait}: until then even the right one is refused."
# Says only that an operator has logged in from this browser before: strangers who guess must not lock them out.
KNOWN_COOKIE = "surefile_known"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Posts that change nothing.
LOOKS = frozenset({"ops_pages.search"})
CONSOLES = ("/ops", "/rq")

blueprint = Blueprint("ops_login", __name__, url_prefix="/ops")
access.declare(blueprint, "anybody: this is the log-in")


class LoginForm(FlaskForm):
    name = StringField("Name", [InputRequired(), Length(max=100)])
    password = PasswordField("Password", [InputRequired(), Length(max=1000)])


def operator_name() -> str:
    """The logged-in operator's name; raises Problem 401 when nobody is."""
    if not current_user.is_authenticated:
        raise Problem(401)
    return str(current_user.id)


def safe_next(target: str | None) -> str:
    """Where to go after the log-in: a path of our consoles, or the home page. Never another site."""
    home = url_for("ops_home.home")
    if not target or not target.isprintable() or "\\" in target:
        return home
    parts = urlsplit(target)
    inside = any(parts.path == prefix or parts.path.startswith(f"{prefix}/") for prefix in CONSOLES)
    return target if inside and not parts.scheme and not parts.netloc else home


@blueprint.get("/login")
def login_page() -> str | WerkzeugResponse:
    target = safe_next(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(target)
    return render_template("ops/login.html", form=LoginForm(), target=target, refused=False)


@blueprint.post("/login")
def log_in() -> tuple[str, int] | WerkzeugResponse:
    known = known_name(request.cookies.get(KNOWN_COOKIE, ""))
    # Before the form is even read: this line stops most floods of requests.
    if known is None:
        count(*by_address())
    # Only the posted form: without this argument it would read JSON too, however deeply nested.
    form = LoginForm(request.form)
    target = safe_next(request.args.get("next"))
    operator = admitted(form, known)
    if operator is None:
        return render_template("ops/login.html", form=form, target=target, refused=True), 401
    # A session prepared by somebody else must not survive into the logged-in one.
    session.clear()
    login_user(operator)
    return remember_browser(redirect(target, 303), operator)


def remember_browser(response: WerkzeugResponse, operator: Operator) -> WerkzeugResponse:
    response.set_cookie(
        KNOWN_COOKIE,
        known_browser(operator),
        max_age=KNOWN_SECONDS,
        path=url_for("ops_login.log_in"),
        httponly=True,
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
        samesite="Strict",
    )
    return response


def admitted(form: LoginForm, known: str | None) -> Operator | None:
    """The operator who typed this, or None. `known` has logged in from this browser before.

    Each try is counted before it is checked, and the count is taken back when it was right. So, however many come at
    once, no more passwords are hashed than may fail.
    """
    name = (form.name.data or "")[:100]
    if name == known:
        tries = [("login_known", name, HERE_LIMIT, "for this name in browsers that it has used")]
    else:
        here = ("login_here", f"{rate_limits.address()} {name}", HERE_LIMIT, "for this name from here")
        tries = [here, ("login_name", name, NAME_LIMIT, "for this name")]
        tries += [by_address()] if known is not None else []
    for attempt in tries:
        count(*attempt)
    operator = authenticate(form.name.data or "", form.password.data or "") if form.validate_on_submit() else None
    if operator is not None:
        for kind, counted, limit, _ in tries if known is not None else [*tries, by_address()]:
            rate_limits.take_back(kind, counted, limit)
    return operator


def by_address() -> tuple[str, str, Rate, str]:
    return ("login_address", rate_limits.address(), ADDRESS_LIMIT, "from here")


def count(kind: str, name: str, limit: Rate, where: str) -> None:
    """Count one try; raises Problem 429, saying how long to wait, when it is one too many."""
    try:
        rate_limits.count(kind, name, limit)
    except Problem as problem:
        wait = in_words(float(problem.headers["Retry-After"]))
        raise Problem(429, detail=TOO_MANY.format(where=where, wait=wait), headers=problem.headers) from None


@blueprint.get("/login/oidc")
def begin_elsewhere() -> tuple[str, int] | WerkzeugResponse:
    """Off to the sign-in service."""
    if not oidc.is_offered():
        raise Problem(404)
    session["oidc_next"] = safe_next(request.args.get("next"))
    try:
        return oidc.begin(url_for("ops_login.end_elsewhere", _external=True))
    except oidc.NotSignedIn as why:
        return not_signed_in(str(why))


@blueprint.get("/login/oidc/back")
def end_elsewhere() -> tuple[str, int] | WerkzeugResponse:
    """Back from there. The session is begun anew: one that somebody else prepared must not survive."""
    if not oidc.is_offered():
        raise Problem(404)
    target = safe_next(session.get("oidc_next"))
    try:
        operator = oidc.end()
    except oidc.NotSignedIn as why:
        return not_signed_in(str(why))
    session.clear()
    login_user(operator)
    return redirect(target, 303)


def not_signed_in(why: str) -> tuple[str, int]:
    target = safe_next(session.get("oidc_next"))
    return render_template("ops/login.html", form=LoginForm(None), target=target, refused=False, why=why), 401


@blueprint.post("/logout")
def log_out() -> WerkzeugResponse:
    check_form()
    # First for every copy of the cookie: if that cannot be recorded, we must not say that the operator is logged out.
    if current_user.is_authenticated:
        log_outs().add(current_user.log_in)
    logout_user()
    session.clear()
    return redirect(url_for("ops_login.login_page"), 303)


def check_form() -> None:
    """Refuse a change that does not carry this session's CSRF token, as form field or `X-CSRFToken`."""
    token = request.form.get("csrf_token") or request.headers.get("X-CSRFToken")
    try:
        validate_csrf(token)
    except ValidationError as error:
        raise Problem(403, detail="The page was too old or not ours. Load it again and repeat.") from error


def demand_operator() -> WerkzeugResponse | None:
    """Send people to the log-in page; scripts, and requests that change something, get a 401."""
    if current_user.is_authenticated:
        return None
    if request.method in SAFE_METHODS and page_wanted(current_app):
        return redirect(url_for("ops_login.login_page", next=request.full_path.rstrip("?")))
    raise Problem(401)


def demand_act() -> None:
    """Refuse a change to somebody who may only look."""
    if request.method not in SAFE_METHODS and request.endpoint not in LOOKS and not current_user.may_act:
        raise Problem(403, detail="You may look at everything here, and change nothing: ask an operator.")


def guard() -> WerkzeugResponse | None:
    response = demand_operator()
    if response is None and request.method not in SAFE_METHODS:
        check_form()
        demand_act()
    return response


def require_operator(target: Blueprint) -> None:
    """Let only operators reach this blueprint. Its forms must carry `{{ csrf_token() }}` in field `csrf_token`."""
    access.declare(target, "operators, by log-in")
    target.before_request(guard)
