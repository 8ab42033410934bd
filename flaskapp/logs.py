"""Logging for every process: one JSON line for each event on stdout, with the request's id and no personal data.

Code must not log personal data in the first place. The masks here are the last line of defence, so they hide a harmless
number rather than show a telephone number. Set it up before RQ is used: RQ adds its own handlers where it finds none.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from time import perf_counter
from types import TracebackType
from typing import Any, TextIO

from flask import Flask, Response, g, has_request_context, request
from pythonjsonlogger.json import JsonFormatter

from flaskapp.config import Config
from flaskapp.outside import asked
from outbox import away

log = logging.getLogger(__name__)

OUR_LOGGERS = ("flaskapp", "jobs", "outbox")
# Werkzeug's access lines hold whole URLs and RQ's INFO lines repeat every job; ours say the same with ids only.
# RQ gives its worker's logger a level of its own when it is imported, so that one must be named beside its parent.
OTHER_LEVELS = {
    "gunicorn.error": "INFO",
    "gunicorn.access": "WARNING",
    "werkzeug": "WARNING",
    "rq": "WARNING",
    "rq.worker": "WARNING",
}
OTHERS_WITH_HANDLERS = (*OTHER_LEVELS, "rq.job", "rq.queue", "rq.scheduler", "rq_scheduler.scheduler")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# A run of digits beside a hex digit does not count, or a tenth of all UUIDs would be hidden as telephone numbers.
MASKS = (
    (re.compile(r"(?<!\d)\d{10}V\d{6}(?!\d)", re.IGNORECASE), "[icn]"),
    (re.compile(r"TC\d{4,}", re.IGNORECASE), "[claim]"),
    (re.compile(r"(?<=://)[^@/\s]*@"), "[credentials]@"),
    (re.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+"), "[email]"),
    (re.compile(r"\b(Bearer|Basic) [\w.~+/=-]{8,}", re.IGNORECASE), r"\1 [token]"),
    (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), "[ssn]"),
    (re.compile(r"(?<![\w.-])\d{9}(?![\w-])"), "[ssn]"),
    (re.compile(r"\+1[-. ]?\(?\d{3}\)?[-. ]?\d{3}[-. ]?\d{4}(?!\d)"), "[phone]"),
    (re.compile(r"(?<![\w-])\(?\d{3}\)?[-. ]{1,2}\d{3}[-. ]\d{4}(?![\w-])"), "[phone]"),
    (re.compile(r"(?<![0-9a-fA-F])\d{10,11}(?![0-9a-fA-F])"), "[number]"),
)
# What every mask needs to match: most texts have none of it, and are passed on after one search.
SUSPICIOUS = re.compile(r"\d{9}|\d{3}[-. )]|TC\d{4}|@|(?:Bearer|Basic) ", re.IGNORECASE)
# `invalid input syntax for type uuid: "…"`: what is quoted at the end of a message is somebody's input.
QUOTED_INPUT = re.compile(r""": (["']).*\1$""")
# The address of a call says whom it is about, and requests quotes the address of a call that could not connect.
ADDRESS_PATH = re.compile(r"""((?:https?://|\burl: )[^/\s]*/)[^\s'")]+""")


def mask(text: str) -> str:
    if SUSPICIOUS.search(text) is None:
        return text
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text


def masked(value: Any) -> Any:
    """The value with every text in it masked, keys too; what JSON does not know becomes masked text."""
    if isinstance(value, str):
        return mask(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if mask(str(value)) == str(value) else mask(str(value))
    if isinstance(value, dict):
        return {mask(str(key)): masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(item) for item in value]
    if isinstance(value, BaseException):
        return exception_line(value)
    return value.isoformat() if isinstance(value, date) else mask(str(value))


def exception_line(error: BaseException) -> str:
    """Type and masked message. Only its first line: what follows (SQL, DETAIL, parameters) quotes the row."""
    first = QUOTED_INPUT.sub(": [input]", str(error).partition("\n")[0])
    return f"{type(error).__qualname__}: " + mask(ADDRESS_PATH.sub(r"\1[path]", first))


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, latest first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


class MaskingFormatter(JsonFormatter):
    """Masks the finished line, so that nothing gets past it: message, extras, frames and exception alike."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger"}
        super().__init__(["levelname", "name", "message"], rename_fields=names, timestamp=True)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        asked_by = request_id() if has_request_context() else asked.request_id()
        if asked_by is not None:
            log_data.setdefault("request_id", asked_by)
        return {mask(str(key)): masked(value) for key, value in log_data.items()}

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """What was masked is plain JSON, and needs no encoder of its own, which would be made for each line."""
        return json.dumps(log_data)

    def formatException(self, ei: Any) -> str:
        parts = ["".join(traceback.format_tb(link.__traceback__)) + exception_line(link) for link in chain(ei[1])]
        return "\nwhich led to\n".join(reversed(parts))


OUTPUT: ContextVar[str] = ContextVar("output", default="stdout")


@contextmanager
def on_stderr() -> Iterator[None]:
    """For a command whose stdout is its answer: its log goes to stderr meanwhile."""
    before = OUTPUT.set("stderr")
    try:
        yield
    finally:
        OUTPUT.reset(before)


class StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever stdout is now, not to what it was when logging was set up."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(MaskingFormatter())

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr if OUTPUT.get() == "stderr" else sys.stdout


def configure(level: str = "INFO") -> None:
    """Set up logging for this process; `level` is that of our own loggers. May be called again."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, StdoutHandler)]:
        root.removeHandler(handler)
    root.addHandler(StdoutHandler())
    for name in OTHERS_WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name, other_level in OTHER_LEVELS.items():
        logging.getLogger(name).setLevel(other_level)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    sys.excepthook = log_uncaught
    threading.excepthook = log_uncaught_in_thread


def log_uncaught(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, frames)
        return
    if away.is_away(error) and not away.sqlstate_of(error):
        # Never connected, or the connection is gone: a stack would only hide the one thing worth saying.
        log.critical(away.reason_of(error), extra={"event": "process.failed"})
        return
    log.critical("uncaught exception", exc_info=(kind, error, frames), extra={"event": "process.failed"})


def log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def request_id() -> str:
    """This request's id: the caller's `X-Request-Id` when it is short and plain, else one of our own."""
    if "request_id" not in g:
        offered = request.headers.get("X-Request-Id", "")
        g.request_id = offered if REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
    return str(g.request_id)


def detail_of_request() -> dict[str, str]:
    """For the history of what is asked for: the id of the request under way. Empty outside of a request, and for an id
    that looks like personal data: callers choose their ids."""
    if not has_request_context() or mask(request_id()) != request_id():
        return {}
    return {"request_id": request_id()}


def start_clock() -> None:
    g.request_started = perf_counter()
    asked.begin(detail_of_request().get("request_id"))


def end_request(error: BaseException | None = None) -> None:
    asked.begin(None)


def seconds_of_request() -> float:
    """Since this request began."""
    return perf_counter() - float(g.get("request_started", perf_counter()))


def log_answer(response: Response) -> Response:
    """One line for each request, by route and not by path: paths and queries may hold what people typed."""
    response.headers["X-Request-Id"] = request_id()
    fields = {
        "event": "request.answered",
        "method": request.method,
        "route": request.url_rule.rule if request.url_rule else None,
        "status": response.status_code,
        "seconds": round(seconds_of_request(), 4),
    }
    log.info("request answered", extra=fields)
    return response


def init_app(app: Flask, config: Config) -> None:
    """Call this first: its clock then starts before anything else, and its line is written after everything else."""
    configure(config.log_level)
    app.before_request(start_clock)
    app.teardown_request(end_request)
    app.after_request(log_answer)
