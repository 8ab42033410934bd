"""The demo's scenes about 526 forms: a file, then the form that names it.

Received is not delivered, so each document is a promise of its own.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from sandbox.stage import Promise, Scene, Stage, expect, sign_in
from sandbox.upstreams.cast import Veteran

UPLOAD_PATH, SUBMIT_PATH = "/v0/upload_supporting_evidence", "/v0/disability_compensation_form/submit_all_claim"
FILE_FIELD = "supporting_evidence_attachment[file_data]"
UPLOAD = "POST /services/benefits-documents/v1/documents"
IDENTICAL_FORMS = 10
AWAY_SECONDS = 5.0
AWAY = f"526 service away for {AWAY_SECONDS:.0f} s"

# What Lighthouse's book says of a document in the end. A form is always accepted.
ACCEPTED = "accepted"
DELIVERED, TWICE, IN_EFOLDER, NOT_STORED = "delivered", "delivered twice", "fails at BGS", "fails at Claims Evidence"
UPLOADS_OF = {DELIVERED: 1, TWICE: 2, IN_EFOLDER: 1, NOT_STORED: 1}

LETTERS = {
    DELIVERED: "doctors-letter.txt",
    TWICE: "service-record.txt",
    IN_EFOLDER: "buddy-statement.txt",
    NOT_STORED: "hearing-test.txt",
}
KNOBS = {
    "step_seconds": 1.0,
    "plans": {LETTERS[IN_EFOLDER]: "fails_at_bgs", LETTERS[NOT_STORED]: "fails_at_claims_evidence"},
}
LETTER = "L015"
# What we make ourselves, by kind: the file's name and type.
INSTRUCTIONS = {"bdd_instructions": ("BDD instructions.pdf", "L023")}
FORMS_OF_ANSWERS = {"form_0781": ("Form 0781.pdf", "L228"), "form_0781a": ("Form 0781a.pdf", "L229")}
# One event that was an assault, and one that was not: these answers make two forms.
ANSWERS: dict[str, Any] = {
    "form0781": {"incidents": [{"personalAssault": True}, {"incidentLocation": "Camp Example"}]},
}


@dataclass(frozen=True)
class Document:
    """One document of a form, and the ending that its scene sets up. `key` is the guid of a file, or the kind of what
    we make ourselves; only we know the bytes of the latter, so they have no `sha256`."""

    key: str
    name: str
    doc_type: str
    planned: str
    sha256: str | None = None


@dataclass(frozen=True)
class FormPromise(Promise):
    """One form that we answered with 202, and its documents. Its key is the submission's id, `answer_ms` that of the
    POST.

    `form` is what the page sent, `job_ids` the ids it was given to poll with, one for each time it posted.
    """

    form: dict[str, Any]
    documents: tuple[Document, ...]
    job_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Filled:
    """A form as its page would send it, with the documents that follow from it."""

    form: dict[str, Any]
    documents: tuple[Document, ...]


def submit_all(stage: Stage, scene: Scene, answers: dict[str, Any] | None = None) -> None:
    """Everybody of the scene uploads a letter and submits a form that names it."""
    browsers = dict(zip(scene.people, sign_in(stage, scene.people), strict=True))

    def file(veteran: Veteran) -> None:
        filled = fill_in(stage, scene, veteran, browsers[veteran], answers or {})
        submit(stage, scene, veteran, browsers[veteran], filled)

    stage.each(scene, file)


def with_answers(stage: Stage, scene: Scene) -> None:
    submit_all(stage, scene, ANSWERS)


def fill_in(stage: Stage, scene: Scene, veteran: Veteran, browser: requests.Session, answers: dict[str, Any]) -> Filled:
    name = LETTERS[scene.planned]
    content = f"{veteran.name}: what I have to show for my claim.\n".encode()
    sent = browser.post(f"{stage.url}{UPLOAD_PATH}", files={FILE_FIELD: (name, content)}, timeout=30)
    guid = expect(sent, 200)["data"]["attributes"]["guid"]
    attachment = {"name": name, "confirmationCode": guid, "attachmentId": LETTER}
    form = {"attachments": [attachment], "veteran": {"remarks": f"I am {veteran.name}."}, **answers}
    letter = Document(guid, name, LETTER, scene.planned, hashlib.sha256(content).hexdigest())
    return Filled(form, (letter, *made(answers, TWICE if scene.planned == TWICE else DELIVERED)))


def made(answers: dict[str, Any], planned: str) -> tuple[Document, ...]:
    """What we make ourselves: the forms of these answers, and the instructions that every form gets."""
    kinds = {**(FORMS_OF_ANSWERS if answers else {}), **INSTRUCTIONS}
    return tuple(Document(kind, name, doc_type, planned) for kind, (name, doc_type) in kinds.items())


def submit(stage: Stage, scene: Scene, veteran: Veteran, browser: requests.Session, filled: Filled) -> None:
    """One POST of the form. Its 202 is a promise."""
    began = time.perf_counter()
    reply = browser.post(f"{stage.url}{SUBMIT_PATH}", json={"form526": filled.form}, timeout=30)
    took = (time.perf_counter() - began) * 1000
    attributes = expect(reply, 202)["data"]["attributes"]
    promise = FormPromise(
        attributes["submissionId"], veteran, scene.title, ACCEPTED, took, filled.form, filled.documents
    )
    stage.promised(promise).job_ids.append(attributes["jobId"])


def impatient(stage: Stage, scene: Scene) -> None:
    """The same form ten times at once, from as many tabs."""
    (veteran,) = scene.people
    tabs = sign_in(stage, [veteran] * IDENTICAL_FORMS)
    filled = fill_in(stage, scene, veteran, tabs[0], {})
    with ThreadPoolExecutor(IDENTICAL_FORMS) as hands:
        list(hands.map(lambda tab: submit(stage, scene, veteran, tab, filled), tabs))


def replies_lost(stage: Stage, scene: Scene) -> None:
    """Lighthouse takes each document of the scene, and its replies are lost. No other document may be on its way
    then."""
    until_uploaded(stage)
    documents_each = 2
    with stage.broken("documents", "drop", times=documents_each * len(scene.people), operation=UPLOAD):
        submit_all(stage, scene)
        stage.until_struck("documents")


def away(stage: Stage, scene: Scene) -> None:
    with stage.broken("form526", "refuse"):
        submit_all(stage, scene)
        over = time.monotonic() + AWAY_SECONDS
        stage.play_meanwhile(scene)
        stage.until_over(over, "form526")


def until_uploaded(stage: Stage) -> None:
    """Wait until Lighthouse has every document of every form so far, as often as its scene sets up."""
    forms = [promise for promise in stage.promises.values() if isinstance(promise, FormPromise)]
    expected = sum(UPLOADS_OF[document.planned] for form in forms for document in form.documents)
    stage.until(
        lambda: len(stage.control.call("GET", "documents", "uploads")) >= expected, "every document to be uploaded"
    )
