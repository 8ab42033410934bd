"""One account sends files that take long to read, as fast as it may: everybody else still adds theirs."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pikepdf
import pytest
import requests

from sandbox.upstreams.cast import ITF_CAST
from tests.hostile.conftest import Web
from tests.integration.form526_steps import FILE_FIELD, UPLOAD_URL
from tests.product import eventually
from tests.unit.test_form526_pdf_opening import zip_bomb

OTHERS = [veteran.account for veteran in ITF_CAST[:5]]
# Three that wait so long between two files send 120 a minute, the default rate.
SENDERS, PAUSE_SECONDS = 3, 1.5


def letter() -> bytes:
    kept = io.BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.save(kept)
    return kept.getvalue()


def add(web: Web, bearer: str, content: bytes) -> requests.Response:
    """Add a file, on a connection of its own."""
    headers = {"Authorization": bearer.partition(": ")[2], "Connection": "close"}
    return requests.post(
        f"{web.url}{UPLOAD_URL}", files={FILE_FIELD: ("letter.pdf", content)}, headers=headers, timeout=90
    )


@pytest.fixture
def flood(web: Web):
    """What the flooding account is answered, while it goes on."""
    answers: list[requests.Response] = []
    over, bomb, bearer = threading.Event(), zip_bomb(), web.bearer()

    def send() -> None:
        while not over.is_set():
            answers.append(add(web, bearer, bomb))
            over.wait(PAUSE_SECONDS)

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        eventually(lambda: any(answer.status_code == 422 for answer in answers))
        yield answers
    finally:
        over.set()
        for sender in senders:
            sender.join()


def test_five_of_five_others_add_their_pdfs_at_once_while_one_account_floods(
    web: Web, flood: list[requests.Response]
) -> None:
    bearers = [web.bearer(account) for account in OTHERS]
    with ThreadPoolExecutor(len(OTHERS)) as people:
        answers = list(people.map(partial(add, web, content=letter()), bearers))
    assert [answer.status_code for answer in answers] == [200] * len(OTHERS), [answer.text for answer in answers]
    eventually(lambda: any(answer.status_code == 429 for answer in flood))
    assert {answer.status_code for answer in flood} == {422, 429}
    refused = next(answer for answer in flood if answer.status_code == 429)
    assert refused.json()["errors"][0]["status"] == "429"
    assert int(refused.headers["Retry-After"]) > 0 and "X-RateLimit-Reset" in refused.headers
    assert web.is_alive()
