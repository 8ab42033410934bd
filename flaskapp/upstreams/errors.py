"""Errors of upstream calls: six classes, by what is known about the call.

    UpstreamError
    ├── Unavailable     nothing was done; try later
    │   └── Unexplained refused in words that no contract has; perhaps it is there already
    ├── Throttled       nothing was done; try after `retry_after`
    ├── Unauthorized    nothing was done; our token was refused
    ├── Rejected        refused for good; never as it is
    ├── Duplicate       it is there already
    └── Unanswered      it may have happened

Jobs decide by class, never by status code or message. `breaker_signal` decides what a failure reports to its
upstream's circuit breaker, for jobs and for synchronous calls alike.
"""

from __future__ import annotations

# Codes of ours. The first two are about one person's record or token.
TOO_LARGE = "TOO_LARGE"
PERSON_TOKEN_REFUSED = "BTSSS_TOKEN"
NO_ANSWER = "NO_ANSWER"
# What we do not know of a person, and cannot go on without. Cases name it.
NO_ICN, NO_EMAIL = "NO_ICN", "NO_EMAIL"

# What is reported to a breaker: the upstream answers; it left a call without an answer; its answer cannot be used; it
# refused our key in a call for somebody; it serves nobody. The three in the middle may be about one person: they count
# once several people meet them.
ALIVE, SILENT, DOUBTFUL, REFUSED, FAILING = "alive", "silent", "doubtful", "refused", "failing"
# Their requests hold our own key and nothing else, so their answers are about nobody.
TOKEN_SERVICES = frozenset({"veis", "lighthouse_auth", "lighthouse_documents_auth"})


class UpstreamError(Exception):
    """Base of the six. `detail` is redacted and safe to store; `str()` gives the upstream and class only.

    `timed_out`: we stopped waiting, which says less about the upstream than an answer or a refused connection.
    `unreachable`: no connection could be made, so nothing about the request can be the reason.
    `from_upstream`: whether the upstream had any part in it; it has none in a call that we do not even send.
    """

    def __init__(
        self,
        upstream: str,
        detail: str = "",
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        timed_out: bool = False,
        unreachable: bool = False,
        from_upstream: bool = True,
    ) -> None:
        super().__init__(f"{upstream}: {type(self).__name__}")
        self.upstream = upstream
        self.detail = detail
        self.http_status = http_status
        self.retry_after = retry_after
        self.code = code
        self.timed_out = timed_out
        self.unreachable = unreachable
        self.from_upstream = from_upstream


class Unavailable(UpstreamError):
    """The request never got through, or the upstream said it did nothing. Safe to send again."""


class Unexplained(Unavailable):
    """A write that the upstream itself refused in words that no contract has, where not all of its words for a
    duplicate are known. Sent again like any other; but nobody is told in the end that it is not there."""


class Throttled(UpstreamError):
    """The upstream wants us to slow down. `retry_after` is in seconds, None when the upstream did not say."""


class Unauthorized(UpstreamError):
    """Our credentials were refused, even after the refused token was dropped and the call made once more."""


class Rejected(UpstreamError):
    """Refused for its content; the same request will never pass."""


class Duplicate(UpstreamError):
    """The upstream holds it already; whose it is must be looked up."""


class Unanswered(UpstreamError):
    """Written, and no trustworthy answer came: reset, time-out, 5xx to a write, or a body that makes no sense."""


def breaker_signal(error: UpstreamError, *, hurried: bool = False) -> str:
    """One of the five above: what a failed call says about its upstream, whoever made the call.

    A synchronous call was `hurried`: it gave up sooner than a job's, and then all it says is that nobody answered. If
    one person's record or token is not accepted, upstream answered, and nobody else is concerned. The same is true of a
    success that we cannot read, and of a conflict. What came once a request was on its way may be about its id, person
    or body, whatever it is: a 503, a connection that broke or half an answer too, and a refusal of our key. Only what
    came without one speaks of the upstream alone: no connection, or a token service that refuses our key or whose
    answer cannot be used. So does a 429, which counts the calls of all.
    """
    if isinstance(error, Rejected | Duplicate) or error.code in (TOO_LARGE, PERSON_TOKEN_REFUSED):
        return ALIVE
    if isinstance(error, Unanswered) or (hurried and error.timed_out):
        return SILENT
    if error.upstream in TOKEN_SERVICES or isinstance(error, Throttled) or error.unreachable:
        return FAILING
    status = error.http_status
    if isinstance(error, Unauthorized):
        # STS's 400 is about our assertion, whoever it is for (contract: travel 5.1).
        return FAILING if (error.upstream, status) == ("sts", 400) else REFUSED
    readable = status is not None and (status == 409 or (status < 400 and error.code != NO_ANSWER))
    return ALIVE if readable else DOUBTFUL
