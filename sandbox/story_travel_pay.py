"""The demo's scenes about travel pay of signed-in people: how the page files a claim, and what goes wrong meanwhile.

The page receives the ending if it comes soon. Every answer to the page is a promise.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import requests

from sandbox.stage import Promise, Scene, Stage, Stuck, expect, sign_in
from sandbox.upstreams.cast import Veteran

CLAIMS_PATH, CONTACTS_PATH = "/travel_pay/v0/claims", "/travel_pay/v0/contact_discrepancies"
CREATE, SUBMIT = "POST /api/v3/claims", "PATCH /api/v3/claims"
# How long a page waits, and how long a slow upstream takes.
WAIT_SECONDS, LATE_SECONDS = 2.0, 3.0
AWAY = "Travel Pay away"
TABS = 2

# What Travel Pay's book says in the end. UNFINISHED: we began it, and a person on our side has to finish it.
SUBMITTED, DUPLICATE, UNFINISHED = "submitted", "duplicate", "unfinished"

DISCREPANCIES = "contactDiscrepancies"
ALREADY_FILED = "ALREADY_FILED"


@dataclass(frozen=True)
class Answer:
    """What the page was answered, by `ended_at` (UTC, this machine's clock): the status line, the id and the words."""

    status: int
    id: str | None
    claim_id: str | None
    words: str | None
    ended_at: datetime


@dataclass(frozen=True)
class TravelPayPromise(Promise):
    """One person's claim for one appointment, with every answer about it. Its key is the person's account.

    `shown` are the contact details that the page was shown as different; None when it did not check.
    """

    day: date
    starts_at: str
    answers: list[Answer] = field(default_factory=list)
    shown: list[dict[str, Any]] | None = None


def file_all(stage: Stage, scene: Scene) -> None:
    """Everybody of the scene files a claim for today's appointment."""
    browsers = dict(zip(scene.people, sign_in(stage, scene.people), strict=True))
    stage.each(scene, lambda veteran: file(stage, scene, veteran, browsers[veteran]))


def file(
    stage: Stage, scene: Scene, veteran: Veteran, browser: requests.Session, shown: list[dict[str, Any]] | None = None
) -> None:
    """One POST of the claim; 201, 202 and the refusal of a second one are all promises."""
    day, starts_at = appointment_of(veteran)
    began = time.perf_counter()
    reply = browser.post(f"{stage.url}{CLAIMS_PATH}", json=form_of(veteran), timeout=30)
    took = (time.perf_counter() - began) * 1000
    answer = read(reply)
    promise = TravelPayPromise(
        veteran.account, veteran, scene.title, scene.planned, took, day=day, starts_at=starts_at, shown=shown
    )
    stage.promised(promise).answers.append(answer)


def appointment_of(veteran: Veteran) -> tuple[date, str]:
    """The day of the person's first appointment, and when it starts by the facility's wall clock."""
    appointment = veteran.appointments[0]
    day = appointment.today()
    return day, f"{day.isoformat()}T{appointment.start}:00"


def form_of(veteran: Veteran) -> dict[str, Any]:
    return {
        "appointmentDateTime": appointment_of(veteran)[1],
        "facilityStationNumber": veteran.station,
        "facilityName": "Example VA",
        "appointmentType": "Other",
        "isComplete": True,
    }


def read(reply: requests.Response) -> Answer:
    ended_at = datetime.now(UTC)
    answer = expect(reply, 201, 202, 400)
    if reply.status_code != 400:
        return Answer(reply.status_code, answer["id"], answer["claimId"], answer["status"], ended_at)
    code = answer["errors"][0]["code"]
    if code != ALREADY_FILED:
        raise Stuck(f"a claim for an appointment of today was refused: {answer}")
    return Answer(400, None, None, code, ended_at)


def two_tabs(stage: Stage, scene: Scene) -> None:
    """People with an appointment at the same minute, each of whom posts it from two tabs at once."""
    people = [veteran for veteran in scene.people for _ in range(TABS)]
    with ThreadPoolExecutor(len(people)) as hands:
        list(hands.map(lambda veteran, tab: file(stage, scene, veteran, tab), people, sign_in(stage, people)))


def filed_before(stage: Stage, scene: Scene) -> None:
    """Somebody filed for the same appointments before, on paper or by phone."""
    for veteran in scene.people:
        planted = {"icn": veteran.icn, "station": veteran.station, "appointmentDateTime": appointment_of(veteran)[1]}
        stage.control.call("POST", "travel_pay", "claims", json=planted)
    file_all(stage, scene)


def contacts_compared(stage: Stage, scene: Scene) -> None:
    """Before filing, the page checks whether both systems have the same contact details."""
    for veteran, browser in zip(scene.people, sign_in(stage, scene.people), strict=True):
        found = expect(browser.get(f"{stage.url}{CONTACTS_PATH}", timeout=30), 200)
        file(stage, scene, veteran, browser, found["data"]["attributes"][DISCREPANCIES])


def refused(stage: Stage, scene: Scene) -> None:
    """BTSSS takes the claim and its mileage, and does not find it when it is submitted: half of it stays there."""
    with stage.broken("travel_pay", "status", status=404, times=len(scene.people), operation=SUBMIT):
        file_all(stage, scene)
        stage.until_struck("travel_pay")


def late(stage: Stage, scene: Scene) -> None:
    """The answer takes longer than the page waits."""
    with stage.broken("travel_pay", "late", seconds=LATE_SECONDS, times=len(scene.people), operation=SUBMIT):
        file_all(stage, scene)
        stage.until_struck("travel_pay")


def reply_lost(stage: Stage, scene: Scene) -> None:
    with stage.broken("travel_pay", "drop", times=len(scene.people), operation=CREATE):
        file_all(stage, scene)
        stage.until_struck("travel_pay")


def away(stage: Stage, scene: Scene) -> None:
    """Nobody waits for an upstream that cannot be reached."""
    with stage.broken("travel_pay", "refuse"):
        file_all(stage, scene)
        stage.play_meanwhile(scene)
