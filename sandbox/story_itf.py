"""The demo's scenes about intents to file (ITF): how the pages request one, and what goes wrong meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from sandbox.stage import Promise, Scene, Stage, expect, sign_in
from sandbox.upstreams.cast import Veteran

PATH, KEY = "/v0/intent_to_file/compensation", "intentToFile"
CREATE = "POST /services/claims"
LOG_INS = 20
AWAY_SECONDS = 5.0
AWAY = f"Lighthouse away {AWAY_SECONDS:.0f} s, Redis flushed"
REFUSALS = 2

# What Lighthouse's book says in the end. OVERTAKEN: another office filed one between our look-up and our create.
CREATED, ADOPTED, OVERTAKEN, NOT_FILED = "created", "adopted", "overtaken", "not filed"

Item = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the page was able to show, and between which times (UTC, this machine's clock) it received it."""

    itf_id: str
    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class ITFPromise(Promise):
    """One person's intent to file, with every answer about it. Its key is the person's account.

    `answer_ms` is how long the page was kept waiting until the person could go on: for the list, and as a rule for the
    POST after it.
    """

    answers: list[Answer] = field(default_factory=list)

    @property
    def requested_between(self) -> tuple[datetime, datetime]:
        """It was requested at the latest when the first of all parallel answers arrived."""
        return min(answer.began_at for answer in self.answers), min(answer.ended_at for answer in self.answers)


def look(stage: Stage, browser: requests.Session) -> list[Item]:
    """The person's ITFs, as the page lists them."""
    found: list[Item] = expect(browser.get(f"{stage.url}{PATH}", timeout=30), 200)["data"]["attributes"][KEY]
    return found


def create(stage: Stage, browser: requests.Session) -> list[Item]:
    """Request one, as the page does after an empty list. Somebody without an ICN is refused, and shown none."""
    response = browser.post(f"{stage.url}{PATH}", timeout=30)
    if response.status_code == 403:
        return []
    return [expect(response, 200, 202)["data"]["attributes"][KEY]]


def ask(stage: Stage, scene: Scene, veteran: Veteran, browser: requests.Session) -> None:
    """What the page does when the form is opened: look for an ITF, and request one when there is none."""
    answered(stage, scene, veteran, lambda: look(stage, browser) or create(stage, browser))


def answered(stage: Stage, scene: Scene, veteran: Veteran, page: Callable[[], list[Item]]) -> None:
    """What the page was able to show is a promise, and so is a refusal: a person of ours has it."""
    began_at, began = datetime.now(UTC), time.perf_counter()
    shown = page()
    took = (time.perf_counter() - began) * 1000
    promise = ITFPromise(veteran.account, veteran, scene.title, scene.planned, took)
    ended_at = datetime.now(UTC)
    # A refusal names no ITF.
    answers = [Answer(itf["id"], began_at, ended_at) for itf in shown] or [Answer("", began_at, ended_at)]
    stage.promised(promise).answers.extend(answers)


def ask_all(stage: Stage, scene: Scene) -> None:
    """Everybody of the scene opens the form."""
    browsers = dict(zip(scene.people, sign_in(stage, scene.people), strict=True))
    stage.each(scene, lambda veteran: ask(stage, scene, veteran, browsers[veteran]))


def log_ins(stage: Stage, scene: Scene) -> None:
    """One person's first log-in, twenty times at once: nobody finds an ITF, so all request one."""
    (veteran,) = scene.people
    browsers = sign_in(stage, [veteran] * LOG_INS)
    with ThreadPoolExecutor(LOG_INS) as hands:
        list(hands.map(lambda browser: look(stage, browser), browsers))
        list(hands.map(lambda browser: answered(stage, scene, veteran, lambda: create(stage, browser)), browsers))
    stage.until_settled(scene)


def reply_lost(stage: Stage, scene: Scene) -> None:
    with stage.broken("lighthouse", "drop", times=len(scene.people), operation=CREATE):
        ask_all(stage, scene)
        stage.until_struck("lighthouse")
    stage.until_settled(scene)


def refused(stage: Stage, scene: Scene) -> None:
    with stage.broken("lighthouse", "status", status=422, times=REFUSALS, operation=CREATE):
        ask_all(stage, scene)
        stage.until_struck("lighthouse")
    stage.until_settled(scene)


def overtaken(stage: Stage, scene: Scene) -> None:
    """We looked and found nothing. Before our create is done, another office files one, so ours is a duplicate."""
    (veteran,) = scene.people
    with stage.broken("lighthouse", "slow", seconds=1, times=1, operation=CREATE):
        ask_all(stage, scene)
        operation = f"{veteran.icn}/intent-to-file"
        stage.until(lambda: bool(creations(stage, operation)), "Lighthouse to be called")
        stage.control.call("POST", "lighthouse", "itfs", json={"icn": veteran.icn, "age_days": 0})
    stage.until_settled(scene)


def creations(stage: Stage, path: str) -> list[object]:
    return [call for call in stage.control.received("lighthouse", CREATE) if call["path"].endswith(path)]


def away(stage: Stage, scene: Scene) -> None:
    """Everybody goes on with the form at once. Then Redis forgets everything, and everybody comes back and sees the
    same."""
    with stage.broken("lighthouse", "refuse"):
        over = time.monotonic() + AWAY_SECONDS
        ask_all(stage, scene)
        stage.flush_redis()
        ask_all(stage, scene)
        stage.until_over(over, "lighthouse_claims")
