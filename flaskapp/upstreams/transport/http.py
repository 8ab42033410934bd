"""HTTP client for every upstream: strict time limits, failures that say whether anything was done, one log line.

No retries, redirects, cookies or netrc here: the job decides whether to send again, by the class of the error. Proxies
and CA bundles named in the environment are used, as `requests` does by itself.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

import requests
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity
from urllib3.exceptions import HTTPError

from flaskapp import clock
from flaskapp.outside import asked
from flaskapp.outside.counting import COUNTING
from flaskapp.outside.tracing import TRACING, Span
from flaskapp.upstreams.errors import NO_ANSWER, TOO_LARGE, Throttled, Unanswered, Unavailable, UpstreamError
from flaskapp.upstreams.transport.deadline import WATCHDOG, Call, LimitedAdapter, TotalLimitPassed, origin_of
from flaskapp.upstreams.transport.redaction import redact
from flaskapp.upstreams.transport.streamed import BodyBroken, StreamedBody

logger = logging.getLogger(__name__)

LARGEST_BODY = 1024 * 1024
# A longer `Retry-After` is cut to this; each use of it has its own cap.
LONGEST_WAIT_SECONDS = 1e9
# URLs that `requests` would leave as they are, which takes it a tenth of a call. It has a look at all others.
PLAIN_URL = re.compile(
    r"https?://[a-z0-9-]+(\.[a-z0-9-]+)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
    r"(/([A-Za-z0-9_~-][A-Za-z0-9._~-]*)?)+"
)
_TRANSPORT_FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError)
_NO_CONNECTION = (requests.ConnectionError, requests.Timeout)


class BodyTooLarge(OSError):
    """The answer is larger than its request allows."""


@dataclass(frozen=True)
class Outgoing:
    """A request about to be made. `operation` names it in logs; its URL, which may hold ids, never appears there.

    `write` says that sending it may change something upstream, which decides what a lost answer means.
    `total_seconds` covers connecting, sending and the last byte of the answer. `unquoted` are texts of the request that
    may name a person and have no shape by which to find them: where a refusal quotes one, `[withheld]` takes its place.
    `largest_body` is in bytes; a larger answer is an error with the code `TOO_LARGE`.
    """

    upstream: str
    operation: str
    method: str
    url: str
    write: bool
    total_seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    stream: StreamedBody | None = None
    content: bytes | None = None
    params: Mapping[str, str] | None = None
    unquoted: tuple[str, ...] = ()
    largest_body: int = LARGEST_BODY


@dataclass(frozen=True)
class Answer:
    """A whole answer: its body was read to the end, or could not be decoded and is empty."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, whatever its content type says; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after(self) -> float | None:
        """In seconds. For a 429 without `Retry-After`, the time to the end of the rate limit's window, if given."""
        waits = retry_after_seconds(self.headers.get("Retry-After"), clock.now())
        if waits is None and self.status == 429:
            waits = retry_after_seconds(self.headers.get("RateLimit-Reset"), clock.now())
        return waits


_ends_at: ContextVar[float] = ContextVar("surefile_calls_end_at", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit all calls of this thread together, tokens and repeats included, whatever the limit of each of them is."""
    token = _ends_at.set(min(_ends_at.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


def seconds_left(most: float) -> float:
    """How much time a call with a limit of `most` seconds has now; never quite nothing."""
    return max(0.05, min(most, _ends_at.get() - time.monotonic()))


class HTTP:
    """A pool of connections for one process, safe for `pool_size` threads at once.

    `connect_seconds` covers name resolution and every address of the host together. Upstreams in `told` are told the id
    of the request that asked for a call, and its trace. `adapter` makes the connections.
    """

    def __init__(
        self,
        connect_seconds: float,
        pool_size: int = 100,
        told: frozenset[str] = frozenset(),
        adapter: type[LimitedAdapter] = LimitedAdapter,
    ) -> None:
        self._told = told
        self._connect_seconds = connect_seconds
        self._session = _Session()
        self._usual_headers = {name: str(value) for name, value in self._session.headers.items()}
        self._environments: dict[str, Any] = {}
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter(pool_connections=16, pool_maxsize=pool_size))

    def call(self, outgoing: Outgoing) -> Answer:
        """The answer, unless it says "slow down" or "I failed": those raise Throttled, Unanswered or Unavailable."""
        answer = self.send(outgoing)
        if answer.status == 429:
            raise failure(Throttled, outgoing.upstream, answer)
        if answer.status >= 500:
            raise failure(Unanswered if outgoing.write else Unavailable, outgoing.upstream, answer)
        return answer

    def send(self, outgoing: Outgoing) -> Answer:
        """Any whole answer, whatever its status. Raises Unavailable or, once a write was begun, Unanswered.

        A streamed body that breaks on our side raises BodyBroken, which is no upstream error.
        """
        started = time.monotonic()
        seconds = seconds_left(outgoing.total_seconds)
        name = f"{outgoing.upstream} {outgoing.operation}"
        with TRACING.span(name, {"upstream": outgoing.upstream}) as span, WATCHDOG.limit(seconds) as call:
            outcome = self._exchange(outgoing, self._headers(outgoing, span), seconds, call)
            written = call.written
            if isinstance(outcome, Answer):
                span.note(**{"http.response.status_code": outcome.status})
            else:
                span.fail(name_of(outcome))
        _log(outgoing, outcome, time.monotonic() - started)
        if isinstance(outcome, Answer):
            return outcome
        if isinstance(outcome, BodyBroken):
            raise outcome
        # Raised here, outside the handler: the original error, whose text may hold a URL with ids, is not chained.
        kind = Unanswered if outgoing.write and written else Unavailable
        stage = "after it was sent" if written else "before anything was sent"
        raise kind(
            outgoing.upstream,
            f"{name_of(outcome)}, {stage}",
            code=TOO_LARGE if outcome is BodyTooLarge else None,
            timed_out=outcome is TotalLimitPassed,
            # A request that cannot even be written, for a sign in its headers, fails before it is sent as well.
            unreachable=not written and issubclass(outcome, _NO_CONNECTION),
        )

    def _headers(self, outgoing: Outgoing, span: Span) -> Mapping[str, str]:
        request_id = asked.request_id()
        if outgoing.upstream not in self._told or request_id is None:
            return outgoing.headers
        trace = {"traceparent": span.header} if span.header is not None else {}
        return {**outgoing.headers, "X-Request-Id": request_id, **trace}

    def _exchange(
        self, outgoing: Outgoing, headers: Mapping[str, str], seconds: float, call: Call
    ) -> Answer | BodyBroken | type[Exception]:
        """The answer, or what went wrong: only its class, unless our own side broke the body."""
        try:
            answer = self._request(outgoing, headers, seconds)
        except BodyBroken as broken:
            return broken
        except _TRANSPORT_FAILURES as error:
            return TotalLimitPassed if call.is_late else type(error)
        # A body that ends with its connection looks whole even when the watchdog cut that connection.
        return TotalLimitPassed if call.cut else answer

    def _request(self, outgoing: Outgoing, headers: Mapping[str, str], seconds: float) -> Answer:
        request = self._prepared(outgoing, headers)
        with self._session.send(
            request,
            timeout=(min(self._connect_seconds, seconds), seconds),
            allow_redirects=False,
            **self._environment(str(request.url)),
        ) as response:
            answer = Answer(response.status_code, response.headers, _read(response, outgoing.largest_body))
        return _without(outgoing.unquoted, answer) if answer.status >= 400 else answer

    def _prepared(self, outgoing: Outgoing, headers: Mapping[str, str]) -> requests.PreparedRequest:
        """What a session would prepare, without what it would look for: cookies, hooks, a password in a netrc file."""
        request = requests.PreparedRequest()
        request.prepare_method(outgoing.method)
        if outgoing.params is None and PLAIN_URL.fullmatch(outgoing.url):
            request.url = outgoing.url
        else:
            request.prepare_url(outgoing.url, outgoing.params or {})
        request.headers = CaseInsensitiveDict(self._usual_headers)
        for name, value in headers.items():
            check_header_validity((name, value))
            request.headers[name] = value
        data = next((each for each in (outgoing.stream, outgoing.content) if each is not None), outgoing.form)
        request.prepare_body(data or {}, None, outgoing.json)
        return request

    def _environment(self, url: str) -> dict[str, Any]:
        """Proxies and the CA bundle that the environment names for the host of this URL, looked up once for each."""
        host = origin_of(url)
        if host not in self._environments:
            self._environments[host] = self._session.merge_environment_settings(url, {}, True, None, None)
        return self._environments[host]


class _Cookies(RequestsCookieJar):
    """Keeps none."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Nothing: not even looked for."""


class _Session(requests.Session):
    """A session that keeps no cookies and follows no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies = _Cookies()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: to find it, requests would read a redirect's body without any limit."""
        return None


def _read(response: requests.Response, largest: int) -> bytes:
    """The body; none where it is not encoded as its header says. Proxies put a page of their own under the headers of
    an upstream's answer, and its status still says whether to wait, and for how long."""
    body = bytearray()
    try:
        for chunk in response.iter_content(65_536):
            body += chunk
            if len(body) > largest:
                raise BodyTooLarge
    except requests.exceptions.ContentDecodingError:
        return b""
    return bytes(body)


def _without(texts: tuple[str, ...], answer: Answer) -> Answer:
    """The answer without these texts, in whichever spelling of JSON it quotes them."""
    body = answer.body
    for text in texts:
        for spelled in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            body = body.replace(spelled.encode(), b"[withheld]")
    return replace(answer, body=body)


def name_of(outcome: BodyBroken | type[Exception]) -> str:
    return outcome.__name__ if isinstance(outcome, type) else type(outcome).__name__


def _log(outgoing: Outgoing, outcome: Answer | BodyBroken | type[Exception], seconds: float) -> None:
    whole = isinstance(outcome, Answer)
    extra = {
        "event": "upstream.called",
        "upstream": outgoing.upstream,
        "operation": outgoing.operation,
        "http_status": outcome.status if isinstance(outcome, Answer) else None,
        "error": None if isinstance(outcome, Answer) else name_of(outcome),
        "ms": round(seconds * 1000),
    }
    answer = f"{outcome.status // 100}xx" if isinstance(outcome, Answer) else "none"
    COUNTING.add("upstream_calls", upstream=outgoing.upstream, answer=answer)
    COUNTING.observe("upstream_seconds", seconds, upstream=outgoing.upstream)
    logger.log(logging.INFO if whole else logging.WARNING, "upstream.called", extra=extra)


def failure(
    kind: type[UpstreamError], upstream: str, answer: Answer, code: str | None = None, detail: str | None = None
) -> UpstreamError:
    """An error of that kind, with what the answer says in redacted form, or with our own `detail` instead.

    An Unavailable for a success status whose body is not JSON has the code `NO_ANSWER`, whatever `code` says.
    """
    code = NO_ANSWER if kind is Unavailable and answer.status < 400 and answer.json() is None else code
    detail = describe(answer) if detail is None else detail
    return kind(upstream, detail, http_status=answer.status, retry_after=answer.retry_after, code=code)


def describe(answer: Answer) -> str:
    """The message of a JSON error in any shape that our upstreams use; for anything else only the size."""
    said = messages(answer.json())
    return redact("; ".join(said)) if said else f"no message, {len(answer.body)} bytes"


def messages(payload: Any) -> list[str]:
    """The text of `message`, `error_description`, `error`, `detail`, `title` or `errors`, or of each of `errors[]`.

    `error` may be an object with a message of its own.
    """
    if not isinstance(payload, dict):
        return []
    errors = payload.get("errors")
    if isinstance(errors, list):
        return [text for entry in errors for text in messages(entry)[:1]]
    names = ("message", "error_description", "error", "detail", "title", "errors")
    said = [payload[name] for name in names if isinstance(payload.get(name), str) and payload[name]][:1]
    return said or messages(payload.get("error"))


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """`Retry-After` as seconds from `now` (aware), at most 1e9; None when absent, past, negative or unreadable."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(LONGEST_WAIT_SECONDS, float(text))
    try:
        timestamp = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # RFC 9110 dates are in GMT; one written without a zone ("-0000") comes back naive.
    seconds = (timestamp.replace(tzinfo=timestamp.tzinfo or UTC) - now).total_seconds()
    return min(LONGEST_WAIT_SECONDS, seconds) if seconds > 0 else None
