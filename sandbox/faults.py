"""The fault switches of a running sandbox, turned from Python and from the command line.

`python -m sandbox faults btsss slow --seconds 20 --times 1 --operation submitclaim`
`python -m sandbox faults va_notify answer --status 404 --header 'Content-Type: text/plain' --body-file page.txt`
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import requests

from sandbox.upstreams.switches import KINDS

CONTROL_URL = "http://127.0.0.1:8100"
UPSTREAMS = (
    "veis",
    "btsss",
    "va_notify",
    "lorota",
    "chip",
    "sign_in",
    "accounts",
    "lighthouse",
    "documents",
    "form526",
    "travel_pay",
    "sts",
    "va_profile",
)
ELSEWHERE = "no sandbox answers at {}; --url takes the address of the fault switches that `make run` prints"
_SECONDS = 30
# So much of a body is shown in the list of faults.
_SHOWN_CHARACTERS = 80


class Refused(Exception):
    """The sandbox did not accept the request. The text says why."""


class Control:
    """The admin APIs of a running sandbox, at the URL of its control page; raises Refused, or requests' errors."""

    def __init__(self, url: str = CONTROL_URL) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, upstream: str, path: str, **parts: Any) -> Any:
        """Any call of one fake's admin API, e.g. `call("POST", "btsss", "claims", json={…})`; returns its JSON."""
        return self._request(method, f"{self.url}/{upstream}/_sandbox/{path}", **parts)

    def set(self, upstream: str, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Turn one fault on, with the fields of `Fault`; returns the faults now active."""
        return list(self.call("POST", upstream, "faults", json={"kind": kind, **fields}))

    def clear(self, upstream: str, kind: str | None = None) -> None:
        """Turn the faults of an upstream off: all, or those of one kind."""
        self.call("DELETE", upstream, "faults", params={"kind": kind} if kind else {})

    def faults(self, upstream: str) -> list[dict[str, Any]]:
        return list(self.call("GET", upstream, "faults"))

    def received(self, upstream: str, operation: str = "") -> list[dict[str, Any]]:
        """What the upstream received, oldest first, only requests whose `METHOD /path` contains `operation`."""
        return list(self.call("GET", upstream, "received", params={"operation": operation}))

    def turn(self, upstream: str, **knobs: Any) -> dict[str, Any]:
        """Change knobs, e.g. `turn("btsss", skew_seconds=90)`; returns all knobs as they are now."""
        return dict(self.call("POST", upstream, "knobs", json=knobs))

    def play(self, upstream: str, scenario: str) -> None:
        """Replace an upstream's faults by those of a named scenario."""
        self._request("POST", f"{self.url}/scenario", data={"upstream": upstream, "scenario": scenario})

    def phone(self) -> list[dict[str, Any]]:
        """What people received, newest first."""
        return list(self._request("GET", f"{self.url}/phone.json"))

    def reset(self) -> None:
        """Everything as at the start."""
        self._request("POST", f"{self.url}/reset")

    def _request(self, method: str, url: str, **parts: Any) -> Any:
        reply = self._session.request(method, url, timeout=_SECONDS, allow_redirects=False, **parts)
        if reply.status_code >= 400:
            raise Refused(f"HTTP {reply.status_code}: {reply.text[:300]}")
        return reply.json() if reply.headers.get("Content-Type") == "application/json" else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments, for its own parser or a subcommand's."""
    kinds = "\n".join(f"  {kind:14}{text}" for kind, text in KINDS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Break and mend the upstreams of a running sandbox."
    parser.epilog = f"faults:\n{kinds}"
    parser.add_argument("upstream", nargs="?", default="all", choices=(*UPSTREAMS, "all"))
    parser.add_argument("fault", nargs="?", default="list", choices=("list", "clear", *KINDS), metavar="fault")
    parser.add_argument("--url", default=CONTROL_URL, help="the sandbox's control page (default %(default)s)")
    parser.add_argument("--operation", help="only calls whose METHOD /path holds this text; with $ behind it, ends so")
    parser.add_argument("--times", type=int, help="only so many calls")
    parser.add_argument("--chance", type=float, help="with this chance, 0 to 1")
    parser.add_argument("--seconds", type=float, help="how slow (see below)")
    parser.add_argument("--status", type=int, help="which HTTP status")
    parser.add_argument("--retry-after", help="the Retry-After header of a throttle or status")
    parser.add_argument("--works", action="store_true", default=None, help="do the work before answering badly")
    parser.add_argument(
        "--header", type=_header, action="append", metavar="'NAME: VALUE'", help="a header of an answer, repeatable"
    )
    parser.add_argument("--body-file", type=Path, help="the file that is the body of an answer")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("write NAME: VALUE")
    return name.strip(), value.strip()


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say and print the switches. Non-zero, and one line, when that was not possible."""
    names = UPSTREAMS if args.upstream == "all" else (args.upstream,)
    control = Control(args.url)
    try:
        for name in names:
            _turn(control, name, args)
            _print(name, control.faults(name))
    except (Refused, requests.RequestException) as error:
        message = str(error) if isinstance(error, Refused) else ELSEWHERE.format(args.url)
        print(message, file=sys.stderr)
        return 1
    finally:
        control.close()
    return 0


def _turn(control: Control, name: str, args: argparse.Namespace) -> None:
    if args.fault == "clear":
        control.clear(name)
    elif args.fault != "list":
        fields = ("operation", "times", "chance", "seconds", "status", "retry_after", "works")
        given = {field: getattr(args, field) for field in fields if getattr(args, field) is not None}
        control.set(name, args.fault, **given, **_content(args))


def _content(args: argparse.Namespace) -> dict[str, Any]:
    """Headers and body of an `answer`, as far as they were given; raises Refused when they cannot be used."""
    content: dict[str, Any] = {}
    if args.header:
        content["headers"] = dict(args.header)
        if len(content["headers"]) < len(args.header):
            raise Refused("--header: each name only once")
    if args.body_file is not None:
        try:
            body = args.body_file.read_bytes()
        except OSError as error:
            raise Refused(f"--body-file {args.body_file}: {error}") from None
        try:
            content["body"] = body.decode()
        except UnicodeDecodeError:
            content["body_base64"] = base64.b64encode(body).decode()
    return content


def _print(name: str, faults: list[dict[str, Any]]) -> None:
    print(f"{name}: {'works' if not faults else ''}".rstrip())
    for fault in faults:
        options = {field: value for field, value in fault.items() if value and field not in ("kind", "id")}
        for name in {"body", "body_base64"} & options.keys():
            options[name] = _shortened(options[name])
        print(f"  {fault['kind']} {json.dumps(options) if options != {'chance': 1.0} else ''}".rstrip())


def _shortened(body: str) -> str:
    return body if len(body) <= _SHOWN_CHARACTERS else f"{body[:_SHOWN_CHARACTERS]}…"
