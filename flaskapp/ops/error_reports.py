"""Error reports by Sentry, where `SENTRY_DSN` is set: what is logged as an error, and nothing that a person gave us.

A report is not cleaned but written anew from what may be told: the class of the error, functions and line numbers, the
sentence that we log, and ids of ours. What the error says, bodies, addresses and local variables are never in it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from flaskapp.logs import chain, mask
from flaskapp.outside import asked

# Of the fields of a log line, these words and ids of ours.
TOLD = ("event", "job", "message_id", "upstream", "operation", "queue", "part", "work", "process_id", "error")
FRAME = ("filename", "module", "function", "lineno", "in_app")


def begin(dsn: str | None) -> None:
    """Report errors of this process from now on. Sentry is imported only here."""
    if dsn is None:
        return
    sdk, logging = import_module("sentry_sdk"), import_module("sentry_sdk.integrations.logging")
    at_exit = import_module("sentry_sdk.integrations.atexit")
    sdk.init(
        dsn=dsn,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            logging.LoggingIntegration(level=None, event_level="ERROR"),
            # Its own callback writes to standard error, which is where log lines go.
            at_exit.AtexitIntegration(callback=lambda pending, seconds: None),
        ],
        before_send=rewrite,
        max_breadcrumbs=0,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        server_name="surefile",
    )


def end() -> None:
    """Send what is left, and report nothing more.

    Not by `init()` without an address: that would patch every library for which Sentry has an integration.
    """
    sdk = import_module("sentry_sdk")
    sdk.get_client().close(2.0)
    sdk.get_global_scope().set_client(None)


def rewrite(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    """What may be told of an error."""
    record = hint.get("log_record")
    error = (hint.get("exc_info") or (None, None, None))[1]
    fields = {name: mask(str(getattr(record, name))) for name in TOLD if getattr(record, name, None) is not None}
    request_id = asked.request_id()
    told: dict[str, Any] = {
        name: event[name] for name in ("event_id", "timestamp", "platform", "level", "logger") if name in event
    }
    told["tags"] = fields | ({"request_id": mask(request_id)} if request_id is not None else {})
    # The message of a line is a sentence of ours; what was put into it may not be.
    told["message"] = mask(str(record.msg)) if record is not None else "error"
    if error is not None:
        frames = [frames_of(value) for value in event.get("exception", {}).get("values", [])]
        links = list(reversed(list(chain(error))))
        told["exception"] = {
            "values": [
                {"type": type(link).__qualname__, "value": "", "stacktrace": {"frames": found}}
                for link, found in zip(links, [*frames, *[[]] * len(links)], strict=False)
            ]
        }
    return told


def frames_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    found = (value.get("stacktrace") or {}).get("frames") or []
    return [{name: frame[name] for name in FRAME if name in frame} for frame in found]
