"""The demo's scenes about travel claims: how each is requested, and what goes wrong meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import requests

from sandbox.stage import Promise, Scene, Stage, expect, new_browser
from sandbox.upstreams.cast import Veteran

SUBMIT = "POST /EC/ClaimIngestSvc/api/ClaimIngest/submitclaim"
TEXT = "POST /v2/notifications/sms"
IDENTICAL_POSTS = 20
OUTAGE_SECONDS = 7.0
RETRY_AFTER_SECONDS = 3

# The endings. A notified person has a text with the right number; for the others a named human has the case.
CREATED, DUPLICATE, REFUSED, UNDELIVERABLE = "created", "duplicate", "refused", "undeliverable"


@dataclass(frozen=True)
class ClaimPromise(Promise):
    """One claim that we answered with 202. Its key is the claim's id, `answer_ms` that of the POST."""

    day: date


def file_all(stage: Stage, scene: Scene) -> None:
    """Everybody of the scene requests travel pay."""
    stage.each(scene, lambda veteran: file(stage, scene, veteran, check_in(stage, veteran)))


def check_in(stage: Stage, veteran: Veteran) -> requests.Session:
    """Check in as the pages do: prove who it is, load the appointments, keep the cookie."""
    browser = new_browser()
    who = {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}
    expect(browser.post(f"{stage.url}/check_in/v2/sessions/", json={"session": who}, timeout=30), 200)
    expect(browser.get(f"{stage.url}/check_in/v2/patient_check_ins/{veteran.uuid}", timeout=30), 200)
    return browser


def file(stage: Stage, scene: Scene, veteran: Veteran, browser: requests.Session) -> None:
    """One POST of the claim for today's appointment. Its 202 is a promise."""
    day = veteran.appointments[0].today()
    body = {"travelClaims": {"uuid": veteran.uuid, "appointmentDate": day.isoformat()}}
    began = time.perf_counter()
    reply = browser.post(f"{stage.url}/check_in/v0/travel_claims/", json=body, timeout=30)
    took = (time.perf_counter() - began) * 1000
    claim_id = expect(reply, 202)["data"]["id"]
    stage.promised(ClaimPromise(claim_id, veteran, scene.title, scene.planned, took, day))


def impatient(stage: Stage, scene: Scene) -> None:
    """Twenty identical POSTs at once: a double click, a retrying network and a second tab, all together."""
    (veteran,) = scene.people
    cookies = check_in(stage, veteran).cookies
    tabs = [new_browser(cookies) for _ in range(IDENTICAL_POSTS)]
    with ThreadPoolExecutor(IDENTICAL_POSTS) as hands:
        list(hands.map(lambda tab: file(stage, scene, veteran, tab), tabs))
    stage.until_settled(kind=ClaimPromise)


def reply_lost(stage: Stage, scene: Scene) -> None:
    with stage.broken("btsss", "drop", times=len(scene.people), operation=SUBMIT):
        file_all(stage, scene)
        stage.until_struck("btsss")
    stage.until_settled(kind=ClaimPromise)


def text_reply_lost(stage: Stage, scene: Scene) -> None:
    with stage.broken("va_notify", "drop", times=len(scene.people), operation=TEXT):
        file_all(stage, scene)
        stage.until_struck("va_notify")
    stage.until_settled(kind=ClaimPromise)


def throttled(stage: Stage, scene: Scene) -> None:
    """The first 429 opens the breaker. A second one goes to a call that was on its way, or to the next one."""
    with stage.broken("btsss", "throttle", times=2, retry_after=str(RETRY_AFTER_SECONDS), operation=SUBMIT):
        file_all(stage, scene)
        stage.play_meanwhile(scene)
        stage.until_struck("btsss")
    stage.until_settled(kind=ClaimPromise)


def worker_killed(stage: Stage, scene: Scene) -> None:
    """BTSSS has filed a claim and not answered yet; then the worker is killed without a word, and a new one comes."""
    icns = {veteran.icn for veteran in scene.people}
    with stage.broken("btsss", "late", seconds=4, times=len(scene.people), operation=SUBMIT):
        file_all(stage, scene)
        # The first is enough: where the machine is slow, it is answered before the next one is filed.
        stage.until(lambda: any(each["icn"] in icns for each in stage.control.call("GET", "btsss", "claims")), "BTSSS")
        stage.crew["worker"].kill()
    stage.crew["worker"].start()


def outage(stage: Stage, scene: Scene) -> None:
    with stage.broken("btsss", "refuse"):
        file_all(stage, scene)
        over = time.monotonic() + OUTAGE_SECONDS
        stage.play_meanwhile(scene)
        stage.until_over(over, "btsss")
