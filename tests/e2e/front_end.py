"""The product and the outside world, with the browsers of people in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.promises import Witnesses
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System
from sandbox.upstreams.cast import Veteran, veteran_from
from tests.e2e.browser import Browser
from tests.e2e.neighbour import PATHS, Neighbour, running_neighbour
from tests.e2e.pages import CheckInPage
from tests.forks import ForkedProcess
from tests.memory import postgres_folder
from tests.processes.running import Running
from tests.product import SETTINGS, eventually

ROOT = Path(__file__).parents[2]
ORIGIN = "http://127.0.0.1:3001"
FOREIGN_ORIGIN = f"{ORIGIN}.example.com"
# What a page waits for has a limit of its own, so that a page may meet one; the rest as in all tests.
LIMIT_SECONDS = 20
# For what must come to pass however busy the machine is. It costs time only where something is broken.
PATIENCE_SECONDS = 300
HERE = {
    "FRONTEND_ORIGINS": ORIGIN,
    "HAND_OUT_CSRF_TOKENS": "no",
    "ITF_FIRST_LOOK_SECONDS": "2",
    # Its keys are the Sign-in Service's, read when a web process starts.
    "SIS_PUBLIC_KEYS": "",
    "DOCUMENT_POLL_MINUTES": "0.01",
    # An upload without an answer is sent again only when it can no longer arrive: after the sum of these two limits.
    "DOCUMENT_STATUS_SECONDS": "4",
    "DOCUMENT_UPLOAD_SECONDS": "4",
    "CHECK_IN_TOTAL_SECONDS": str(LIMIT_SECONDS),
    "TRAVEL_PAY_READ_SECONDS": str(LIMIT_SECONDS),
    "ITF_SYNC_SECONDS": str(LIMIT_SECONDS),
}
HELD = """
    SELECT COALESCE(n.subject_id, k.subject_id) AS subject_id
      FROM cases k LEFT JOIN notifications n ON k.subject_type = 'notification' AND n.id::text = k.subject_id
     WHERE k.closed_at IS NULL
"""


class FrontEnd:
    """`promises` holds what pages were answered with success: how the judge of promises knows it, and its subject."""

    def __init__(self, running: Running, neighbour: Neighbour, witnesses: Witnesses) -> None:
        self.running = running
        self.control = running.control
        self.neighbour = neighbour
        self.witnesses = witnesses
        self.promises: dict[str, Callable[[], str]] = {}

    def newcomer(self, zone: str = "America/Chicago", **fields: Any) -> Veteran:
        """Somebody new, whose only appointment was yesterday unless told otherwise."""
        fresh = veteran_from({})
        yesterday = datetime.now(ZoneInfo(zone)).date() - timedelta(days=1)
        appointment = {"day": yesterday.isoformat(), "time_zone": zone}
        known = {"uuid": fresh.uuid, "email": f"{fresh.uuid}@example.com", "appointments": [appointment], **fields}
        veteran = veteran_from(known)
        self.running.fakes.cast.add(veteran)
        return veteran

    def browser(self, origin: str = ORIGIN) -> Browser:
        def base_of(path: str) -> str:
            return self.neighbour.url if path.startswith(PATHS) else self.running.system.url

        return Browser(origin, base_of)

    def signed_in(self, veteran: Veteran, origin: str = ORIGIN, **session: Any) -> Browser:
        """A browser whose page has loaded what it needs first, and with it the neighbour's CSRF token."""
        browser = self.browser(origin)
        browser.signed_in = True
        for name, value in self.neighbour.sign_in(veteran.account, **session).items():
            browser.session.cookies.set(name, value, domain="127.0.0.1")
        if origin == ORIGIN:
            browser.api("/v0/feature_toggles?cookie_id=1")
            browser.api("/v0/user")
        return browser

    def check_in(self, veteran: Veteran) -> CheckInPage:
        facility_type = "oh" if veteran.is_oracle_health else ""
        return CheckInPage(self.browser(), veteran.uuid, veteran.last_name, veteran.dob, facility_type)

    # -- promises --------------------------------------------------------------

    def promised(self, key: str, subject: Callable[[], str] | None = None) -> None:
        self.promises[key] = subject or (lambda: key)

    def promised_itf(self, veteran: Veteran) -> None:
        query = "SELECT id::text FROM intents_to_file WHERE account_id::text = %s ORDER BY created_at DESC"
        self.promised(veteran.account, lambda: str(self.running.value(query, veteran.account)))

    def broken_promises(self) -> list[str]:
        """The promises of which nobody was told, and which nobody has a case for."""
        settled, held = self.witnesses.settled(), {row["subject_id"] for row in self.witnesses.rows(HELD)}
        return [key for key, subject in self.promises.items() if key not in settled and subject() not in held]

    def until_kept(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until no work is left and every promise is kept; what is missing is named. `meanwhile` is called again
        and again."""

        def is_kept() -> bool:
            meanwhile()
            return not self.running.outstanding() and not self.broken_promises()

        try:
            eventually(is_kept, PATIENCE_SECONDS)
        except AssertionError:
            left = self.running.rows("SELECT job, state, unresolved_why FROM outbox_messages WHERE state <> 'parked'")
            raise AssertionError(f"left: {left}; not kept: {self.broken_promises()}") from None

    def deliveries(self, subjects: list[str]) -> set[str]:
        """How the newest notification of each of these subjects stands with VANotify."""
        query = (
            "SELECT DISTINCT ON (subject_id) state FROM notifications WHERE subject_id = ANY(%s)"
            " ORDER BY subject_id, created_at DESC"
        )
        return {row["state"] for row in self.running.rows(query, subjects)}

    def mail(self, veteran: Veteran) -> list[Mapping[str, Any]]:
        """What reached this person, newest first."""
        return [each for each in self.control.phone() if each["to"] in (veteran.phone, veteran.email)]


@contextmanager
def running_front_end(folder: Path) -> Iterator[FrontEnd]:
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(postgres_folder(), settings={"fsync": "off"}))
        redis_server = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        servers = {"DATABASE_URL": postgres.url, "REDIS_URL": redis_server.url}
        environ = {**SETTINGS, **HERE, **servers}
        system = System(ROOT, environ=environ, folder=folder / "product", say=lambda step: None, process=ForkedProcess)
        running = Running(stack.enter_context(system), postgres, redis_server)
        for each in (running.redis, running.control, running.database):
            stack.callback(each.close)
        running.control.turn("documents", step_seconds=0.1)
        witnesses = Witnesses(postgres.url, running.control)
        stack.callback(witnesses.close)
        neighbour = stack.enter_context(running_neighbour(ORIGIN, running.control))
        yield FrontEnd(running, neighbour, witnesses)
