"""`make run`: the whole system for one person at one terminal, and a line to paste for each thing people ask for."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from flaskapp.config import ConfigError
from sandbox.processes import Terminal, procfile
from sandbox.server import ServerError
from sandbox.settings import OPERATOR
from sandbox.system import Ports, System
from sandbox.unprivileged import Unsafe
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from sandbox.upstreams.serve import PORTS

CONTENT = "-H 'Content-Type: application/json'"
BEARER = '-H "Authorization: Bearer $T"'
WEB_PORT = 8000
# How far above the web process's port those of the fakes begin, and how far from each other two tries are.
FAKES_AFTER = 100
WEB_STEP = 1000
LAST_PORT = 65_535
# What people at a terminal do not want to wait an hour for.
FOR_WATCHING = {"DOCUMENT_POLL_MINUTES": "0.1"}
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or None,
        help=f"where the web process listens: else PORT, else {WEB_PORT} or, when that is taken, elsewhere",
    )
    parser.add_argument(
        "--upstream-port",
        type=int,
        help=f"the first of the upstreams' {len(PORTS)}, then of the person's pages: else {FAKES_AFTER} above the web "
        "process, or elsewhere; 0: any free",
    )
    parser.add_argument("--verbose", action="store_true", help="show every line the processes write, not only warnings")


def run(arguments: argparse.Namespace) -> int:
    """Run this folder's Procfile until Ctrl-C (0), or until something fails (1, its reason on standard error)."""
    for number in STOPS:
        signal.signal(number, interrupt)
    try:
        with system_from(arguments) as system:
            say(welcome(system))
            while True:
                system.must_run()
                time.sleep(0.5)
    except KeyboardInterrupt:
        say("Everything is stopped. The data stays in .run/ for the next start; `make clean` forgets it.")
        return 0
    except (ConfigError, ServerError, Unsafe, OSError) as error:
        print(f"surefile: {error}", file=sys.stderr, flush=True)
        return 1


def interrupt(number: int, frame: FrameType | None) -> None:
    """End the run. Further signals are ignored: each step of the stop has its own limit, a cut one leaves a mess."""
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def system_from(arguments: argparse.Namespace) -> System:
    return System(
        Path.cwd(),
        ports=choices(arguments.port, arguments.upstream_port),
        environ={**FOR_WATCHING, **os.environ},
        say=say,
        hear=Terminal(procfile(Path("Procfile")), arguments.verbose).hear,
    )


def choices(web: int | None, first_fake: int | None) -> Iterator[Ports]:
    """Ports to try, best first. A port that the caller gave stays; the others move until all are free."""
    for port in [web] if web else range(WEB_PORT, WEB_PORT + 10 * WEB_STEP, WEB_STEP):
        if first_fake is not None:
            yield ports_from(port, first_fake)
        elif web:
            nearby = range(port + FAKES_AFTER, min(port + WEB_STEP, LAST_PORT - len(PORTS)), FAKES_AFTER)
            yield from (ports_from(port, first) for first in nearby)
            yield ports_from(port, 0)
        else:
            # Both move: of two runs that start at once, the one that gets the fakes' ports gets the web port too.
            yield ports_from(port, port + FAKES_AFTER)


def ports_from(web: int, first: int) -> Ports:
    """The fakes from `first` on, and behind them the person's pages; 0: each takes any."""
    return Ports(web, side_by_side(first), first + len(PORTS) if first else 0)


def side_by_side(first: int) -> dict[str, int]:
    """A port for each fake; 0: none, so that each takes any."""
    return {name: first + place for place, name in enumerate(PORTS)} if first else {}


def say(text: str) -> None:
    print(text, flush=True)


def welcome(system: System) -> str:
    """What a person needs now that all is up: addresses, the operator's password, and something to request."""
    veteran = DEFAULT_CAST[0]
    return f"""
Surefile is running. Logs: {system.folder / "logs"}

Begin here, in a browser: be somebody, send something, break what you like, and watch the promise:

  the pages       {system.site}/

Behind them:

  application     {system.url}
  API reference   {system.url}/docs
  console         {system.url}/ops     {OPERATOR} / {system.secrets.operator_password}
  RQ dashboard    {system.url}/rq
  sign-in page    {system.upstreams["sign_in"]}/
  the phone       {system.upstreams["va_notify"]}/phone
  fault switches  {system.upstreams["control"]}
{ports_line(system.upstreams)}

File a travel claim for {veteran.name}:

  {claim_line(system.url, veteran)}

Sign {veteran.first_name} in and request an intent to file; the phone shows the e-mail when it is on record:

  {itf_line(system.url, system.upstreams["sign_in"], veteran)}

Upload a letter for {veteran.first_name} and submit a 526 that names it; the phone shows the e-mail when it is filed.
Lighthouse is polled for the documents every few seconds here, once an hour without DOCUMENT_POLL_MINUTES:

  {form_line(system.url, system.upstreams["sign_in"], veteran)}

File travel pay for {veteran.first_name} as the signed-in pages do; 201 means that Travel Pay has it submitted:

  {pay_line(system.url, system.upstreams["sign_in"], veteran)}

In another terminal, in this folder, `make shell` opens a shell in which every command reaches this system:

  flask --help
  flask cases list
  flask audit

Ctrl-C stops everything.
"""


def ports_line(upstreams: Mapping[str, str]) -> str:
    """Where each fake listens, as far as the lines above have not said so: all on this machine."""
    ports = [f"{name}:{urlsplit(url).port}" for name, url in upstreams.items() if name != "control"]
    return textwrap.fill(", ".join(ports), 100, initial_indent="  ports of fakes  ", subsequent_indent=" " * 18)


def claim_line(url: str, veteran: Veteran) -> str:
    """One line of shell that checks in as `veteran`, loads the appointment and files the claim for it."""
    session = {"session": {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}}
    day = veteran.appointments[0].today().isoformat()
    claim = {"travelClaims": {"uuid": veteran.uuid, "appointmentDate": day}}
    return (
        f"C=$(mktemp) && curl -sSf -c $C {CONTENT} -d {quoted(session)} {url}/check_in/v2/sessions/ -o /dev/null"
        f" && curl -sSf -b $C {url}/check_in/v2/patient_check_ins/{veteran.uuid} -o /dev/null"
        f" && curl -sS -i -b $C {CONTENT} -d {quoted(claim)} {url}/check_in/v0/travel_claims/"
    )


def itf_line(url: str, sign_in: str, veteran: Veteran) -> str:
    """One line of shell that gets `veteran` an access token and asks for an intent to file with it."""
    return (
        f"{token_line(sign_in, veteran)}"
        f" && curl -sS -i -X POST {BEARER} -H 'X-Key-Inflection: camel' {url}/v0/intent_to_file/compensation"
    )


def form_line(url: str, sign_in: str, veteran: Veteran) -> str:
    """One line of shell that uploads a letter as `veteran` and submits a form with it as its only attachment."""
    file = "'supporting_evidence_attachment[file_data]=@-;filename=doctors-letter.txt'"
    attachment = {"name": "doctors-letter.txt", "confirmationCode": "'$G'", "attachmentId": "L015"}
    return (
        f"{token_line(sign_in, veteran)}"
        f" && G=$(echo 'A letter.' | curl -sSf {BEARER} -F {file} {url}/v0/upload_supporting_evidence"
        f" | {text_of('guid')})"
        f" && curl -sS -i {BEARER} -H 'X-Key-Inflection: camel' {CONTENT}"
        f" -d {quoted({'form526': {'attachments': [attachment]}})}"
        f" {url}/v0/disability_compensation_form/submit_all_claim"
    )


def pay_line(url: str, sign_in: str, veteran: Veteran) -> str:
    """One line of shell that files travel pay for `veteran`'s first appointment, as the signed-in pages do."""
    appointment = veteran.appointments[0]
    claim = {
        "appointmentDateTime": f"{appointment.today().isoformat()}T{appointment.start}:00",
        "facilityStationNumber": appointment.station,
        "appointmentType": "Other",
        "isComplete": True,
    }
    return (
        f"{token_line(sign_in, veteran)}"
        f" && curl -sS -i {BEARER} -H 'X-Key-Inflection: camel' {CONTENT} -d {quoted(claim)} {url}/travel_pay/v0/claims"
    )


def token_line(sign_in: str, veteran: Veteran) -> str:
    """Keeps an access token for `veteran` in the shell's T, which `BEARER` sends."""
    account = quoted({"account": veteran.account})
    return f"T=$(curl -sSf {CONTENT} -d {account} {sign_in}/_sandbox/tokens | {text_of('access_token')})"


def text_of(key: str) -> str:
    """A filter that leaves of JSON the text under `key`."""
    return rf"""sed 's/.*"{key}": *"\([^"]*\)".*/\1/'"""


def quoted(body: Mapping[str, object]) -> str:
    return "'" + json.dumps(body, separators=(",", ":")) + "'"
