"""What a person does on our pages, flow by flow: one person's way through the site. Every answer to the page is a
promise.

At the clinic somebody checks in and requests travel pay, for today and for days to come. Signed in, somebody requests
an intent to file, files travel pay for an appointment, and sends a form with a letter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta

from sandbox.chaos.page import Page
from sandbox.faults import Control
from sandbox.story_form526 import DELIVERED, LETTER, LETTERS, NOT_STORED, SUBMIT_PATH, UPLOAD_PATH
from sandbox.story_itf import KEY, PATH
from sandbox.story_travel_pay import CLAIMS_PATH, appointment_of, form_of
from sandbox.upstreams.cast import Appointment, Veteran, veteran_from

TRAVEL_CLAIM, ITF, FORM, TRAVEL_PAY = "travel_claim", "intent_to_file", "form526_submission", "travel_pay_claim"
FLOWS = (TRAVEL_CLAIM, ITF, FORM, TRAVEL_PAY)
FIRST_DAY = date(2031, 1, 1)
DAYS = 15
VISITS = tuple((FIRST_DAY + timedelta(days=number)).isoformat() for number in range(DAYS))
# Of twelve journeys these are by signed-in people, who make three submissions each.
JOURNEYS, SIGNED_IN = 12, (2, 7)
# At the clinic one in forty filed at the kiosk before, is refused by BTSSS, or has a phone that nobody can reach.
HABIT_EVERY, HABITS = 40, {3: "filed", 17: "refused", 31: "blocked"}
ORACLE_HEALTH_EVERY = 4
# Of the letters one in ten fails on its way through Lighthouse.
LETTER_FAILS_EVERY = 10


@dataclass(frozen=True)
class Promise:
    """What somebody was answered: `key` is the name by which Postgres knows it, `about` the one thing of this person's
    that an upstream may hold once. `accepted_at` is by this machine's clock, in seconds."""

    flow: str
    key: str
    veteran: Veteran
    about: str
    accepted_at: float


class Person:
    """One person after another, on one page. `turn` waits until another submission may be made; `kept` is called with
    each promise. Raises what its page raises, and what `turn` ends a journey with."""

    def __init__(self, page: Page, control: Control, turn: Callable[[], None], kept: Callable[[Promise], None]) -> None:
        self._page = page
        self._control = control
        self._turn = turn
        self._kept = kept
        control.turn("lorota", days=VISITS)

    def close(self) -> None:
        self._page.close()
        self._control.close()

    def journey(self, number: int, days: int = DAYS) -> None:
        """The journey of this number, which decides who comes and for what; at the clinic, for so many days."""
        if number % JOURNEYS in SIGNED_IN:
            self._signed_in(number)
        else:
            self._at_the_clinic(number, days)

    def only(self, flow: str) -> None:
        """Somebody new makes one submission of this flow."""
        if flow == TRAVEL_CLAIM:
            self._at_the_clinic(0, days=1)
        else:
            veteran = self._newcomer()
            with self._token_of(veteran):
                {ITF: self._ask_for_itf, FORM: self._send_form, TRAVEL_PAY: self._file_travel_pay}[flow](veteran)

    def _signed_in(self, number: int) -> None:
        veteran = self._newcomer()
        with self._token_of(veteran):
            self._ask_for_itf(veteran)
            self._file_travel_pay(veteran)
            self._send_form(veteran, NOT_STORED if number % LETTER_FAILS_EVERY == 0 else DELIVERED)

    def _at_the_clinic(self, number: int, days: int) -> None:
        habit = HABITS.get(number % HABIT_EVERY, "ok")
        veteran = self._newcomer(habit, oracle_health=number % ORACLE_HEALTH_EVERY == 1)
        with self._checked_in(veteran):
            for day in (date.fromisoformat(each) for each in VISITS[:days]):
                self._ask_for_travel_pay(veteran, day)

    def _newcomer(self, habit: str = "ok", oracle_health: bool = False) -> Veteran:
        """Somebody new, made known to every fake."""
        veteran = veteran_from({"habit": habit, "facility_type": "oh" if oracle_health else "vista"})
        veteran = veteran_from(
            asdict(veteran)
            | {
                "email": f"{veteran.uuid}@example.com",
                "appointments": [asdict(Appointment(station="757" if oracle_health else "983"))],
            }
        )
        self._control.call("POST", "lorota", "veterans", json=[asdict(veteran)])
        return veteran

    @contextmanager
    def _checked_in(self, veteran: Veteran) -> Iterator[None]:
        who = {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}
        begun = self._page.post("/check_in/v2/sessions/", {"session": who}, 200)
        with self._page.carrying("Cookie", begun.headers["Set-Cookie"].partition(";")[0]):
            self._page.get(f"/check_in/v2/patient_check_ins/{veteran.uuid}", 200)
            yield

    @contextmanager
    def _token_of(self, veteran: Veteran) -> Iterator[None]:
        issued = self._control.call("POST", "sign_in", "tokens", json=[{"account": veteran.account}])
        with self._page.carrying("Authorization", f"Bearer {issued[0]['access_token']}"):
            yield

    def _ask_for_travel_pay(self, veteran: Veteran, day: date) -> None:
        self._turn()
        body = {"travelClaims": {"uuid": veteran.uuid, "appointmentDate": day.isoformat()}}
        answer = self._page.post("/check_in/v0/travel_claims/", body, 202).json()
        self._promised(TRAVEL_CLAIM, answer["data"]["id"], veteran, day.isoformat())

    def _ask_for_itf(self, veteran: Veteran) -> None:
        """An ITF is known by its person's account: the id that the page shows changes once the ITF is upstream."""
        self._turn()
        self._page.get(PATH, 200)
        answer = self._page.post(PATH, {}, 200, 202).json()
        if answer["data"]["attributes"][KEY]["id"]:
            self._promised(ITF, veteran.account, veteran, "compensation")

    def _file_travel_pay(self, veteran: Veteran) -> None:
        self._turn()
        answer = self._page.post(CLAIMS_PATH, form_of(veteran), 201, 202).json()
        self._promised(TRAVEL_PAY, answer["id"], veteran, appointment_of(veteran)[1])

    def _send_form(self, veteran: Veteran, ending: str = DELIVERED) -> None:
        self._turn()
        name = LETTERS[ending]
        sent = self._page.send_file(UPLOAD_PATH, name, f"What {veteran.uuid} has to show.\n".encode(), 200).json()
        guid = sent["data"]["attributes"]["guid"]
        attachment = {"name": name, "confirmationCode": guid, "attachmentId": LETTER}
        form = {"attachments": [attachment], "veteran": {"remarks": f"I am {veteran.uuid}."}}
        answer = self._page.post(SUBMIT_PATH, {"form526": form}, 202).json()
        self._promised(FORM, answer["data"]["attributes"]["submissionId"], veteran, "form526")

    def _promised(self, flow: str, key: str, veteran: Veteran, about: str) -> None:
        self._kept(Promise(flow, key, veteran, about, time.time()))
