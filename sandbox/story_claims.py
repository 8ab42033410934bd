"""The demo's scenes about travel claims: how each is asked for, and what goes wrong meanwhile."""

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

# Told means a text with the right number; held means a named human has the case.
CREATED, DUPLICATE, REFUSED, UNDELIVERABLE = "created", "duplicate", "refused", "undeliverable"


@dataclass(frozen=True)
class ClaimPromise(Promise):
    """One claim we answered with 202; its key is the claim's id, `answer_ms` that of the POST."""

    day: date


def file_all(stage: Stage, scene: Scene) -> None:
    """Everybody of the scene asks for travel pay."""
    stage.each(scene, lambda veteran: file(stage, scene, veteran, check_in(stage, veteran)))


def check_in(stage: Stage, veteran: Veteran) -> requests.Session:
    """Check in as the pages do: prove who one is, load the appointments, keep the cookie."""
    browser = new_browser()
    who = {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}
    expect(browser.post(f"{stage.url}/check_in/v2/sessions/", json={"session": who}, timeout=30), 200)
    expect(browser.get(f"{stage.url}/check_in/v2/patient_check_ins/{veteran.uuid}", timeout=30), 200)
    return browser


def file(stage: Stage, scene: Scene, veteran: Veteran, browser: requests.Session) -> None:
    """One POST of the claim for today's appointment; its 202 is a promise."""
    day = veteran.appointments[0].today()
    requested = {"travelClaims": {"uuid": veteran.uuid, "appointmentDate": day.isoformat()}}
    began = time.perf_counter()
    reply = browser.post(f"{stage.url}/check_in/v0/travel_claims/", json=requested, timeout=30)
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
    """The first 429 closes the gate; a second one comes to whoever was on the way, or to whoever asks next."""
    with stage.broken("btsss", "throttle", times=2, retry_after=str(RETRY_AFTER_SECONDS), operation=SUBMIT):
        file_all(stage, scene)
        stage.play_meanwhile(scene)
        stage.until_struck("btsss")
    stage.until_settled(kind=ClaimPromise)


def worker_killed(stage: Stage, scene: Scene) -> None:
    """BTSSS has filed the claims but not answered yet; then the worker is gone, without a word, and a new one comes."""
    icns = {veteran.icn for veteran in scene.people}
    with stage.broken("btsss", "late", seconds=4, times=len(scene.people), operation=SUBMIT):
        file_all(stage, scene)
        stage.until(lambda: icns <= {claim["icn"] for claim in stage.control.call("GET", "btsss", "claims")}, "BTSSS")
        stage.crew["worker"].kill()
    stage.crew["worker"].start()


def outage(stage: Stage, scene: Scene) -> None:
    with stage.broken("btsss", "refuse"):
        file_all(stage, scene)
        over = time.monotonic() + OUTAGE_SECONDS
        stage.play_meanwhile(scene)
        stage.until_over(over, "btsss")
