"""The largest file that is allowed, from the form to Lighthouse, through processes that fit into a small dyno."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, BinaryIO

import psutil
import requests
from pikepdf import Dictionary, Encryption, Name, Page, Pdf, Stream

from sandbox.faults import Control
from sandbox.system import System
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.benchmarks.figures import figure, title
from tests.product import eventually

MIB = 1024 * 1024
DYNO_BYTES = 512 * MIB
WORD = "open sesame"
FILE_FIELD = "supporting_evidence_attachment[file_data]"


@contextmanager
def locked_pdf() -> Iterator[BinaryIO]:
    """98 MiB of photo under a password: it has to be opened, which takes the memory."""
    with Pdf.new() as pdf, tempfile.TemporaryFile() as stream:
        photo = Stream(pdf, Random(526).randbytes(MIB) * 98, Filter=Name.DCTDecode)
        pdf.pages.append(Page(Dictionary(Type=Name.Page, MediaBox=[0, 0, 99, 99], Contents=pdf.make_indirect(photo))))
        pdf.save(stream, encryption=Encryption(user=WORD, owner=WORD), compress_streams=False)
        stream.seek(0)
        yield stream


class Watch:
    """The most memory that a process and its children held together, measured several times a second."""

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self.most = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self) -> None:
        while not self.over.wait(0.15):
            held = 0
            for process in (self.root, *self.root.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.most = max(self.most, held)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def test_99_mib_go_from_the_form_to_lighthouse_within_512_mib(system: System) -> None:
    control = Control(system.upstreams["control"])
    account, participant = DEFAULT_CAST[0].account, DEFAULT_CAST[0].participant_id
    issued = control.call("POST", "sign_in", "tokens", json={"account": account})
    caller = requests.Session()
    caller.headers.update({"Authorization": f"Bearer {issued['access_token']}", "X-Key-Inflection": "camel"})
    with locked_pdf() as stream, Watch(system.crew["web"].pid) as web:
        parts = {FILE_FIELD: ("largest.pdf", stream), "supporting_evidence_attachment[password]": (None, WORD)}
        reply = caller.post(f"{system.url}/v0/upload_supporting_evidence", files=parts, timeout=60)
    assert reply.status_code == 200, reply.text
    guid = reply.json()["data"]["attributes"]["guid"]
    form = {"form526": {"attachments": [{"name": "largest.pdf", "confirmationCode": guid, "attachmentId": "L015"}]}}

    def taken() -> list[dict[str, Any]]:
        found = control.call("GET", "documents", "uploads", params={"participant_id": participant})
        return [upload for upload in found if upload["size"] > 98 * MIB]

    with Watch(system.crew["worker"].pid) as worker:
        reply = caller.post(f"{system.url}/v0/disability_compensation_form/submit_all_claim", json=form, timeout=30)
        assert reply.status_code == 202, reply.text
        assert len(eventually(taken, 90)) == 1
    title("A locked PDF of 98 MiB, from the form to Lighthouse")
    figure("most memory of the web dyno, child and both servers", f"{web.most / MIB:.0f} MiB")
    figure("most memory of the worker", f"{worker.most / MIB:.0f} MiB")
    assert 0 < web.most < DYNO_BYTES and 0 < worker.most < DYNO_BYTES
