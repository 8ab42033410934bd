"""The six ways an upstream call can fail to be a plain yes.

    UpstreamError
    ├── Unavailable     nothing was done; try later
    ├── Throttled       nothing was done; try after `retry_after`
    ├── Unauthorized    nothing was done; our token was refused
    ├── Rejected        refused for good; never as it is
    ├── Duplicate       it is there already
    └── Unanswered      it may have happened

Jobs decide by class, never by status code or message.
"""

from __future__ import annotations


class UpstreamError(Exception):
    """Base of the six. `detail` is redacted and safe to store; `str()` gives the upstream and class only.

    `timed_out`: we stopped waiting, which says less about the upstream than an answer or a closed door does.
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
    ) -> None:
        super().__init__(f"{upstream}: {type(self).__name__}")
        self.upstream = upstream
        self.detail = detail
        self.http_status = http_status
        self.retry_after = retry_after
        self.code = code
        self.timed_out = timed_out


class Unavailable(UpstreamError):
    """The request never got through, or the upstream said it did nothing. Safe to send again."""


class Throttled(UpstreamError):
    """Asked to slow down. `retry_after` is in seconds, None when the upstream did not say."""


class Unauthorized(UpstreamError):
    """Our credentials were refused, after the one bad token was dropped and the call made once more."""


class Rejected(UpstreamError):
    """Refused for what it says; the same request will never pass."""


class Duplicate(UpstreamError):
    """The upstream holds it already; whose it is must be looked up."""


class Unanswered(UpstreamError):
    """Written, and no trustworthy answer came: reset, time-out, 5xx to a write, or a body that makes no sense."""
