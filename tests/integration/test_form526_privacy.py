"""What is in a form, in its files and in their names is looked for everywhere it must not be."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import Veteran
from tests.edge_app import log_in
from tests.house import House
from tests.integration.form526_steps import STATUS_URL, SUBMIT_URL, documents, filer, poll
from tests.integration.steps import command, reconfigure
from tests.integration.test_privacy import CANARY, SPELLED, searched
from tests.scanner import found_in
from tests.unit.loopback import serving, whole

FILE_NAME = "Vexillary_Zoë_Zzyzxfield_psych_eval.txt"
PASSWORD = "Quokka-lock-4711"
FORM_TEXT = "brontide at the depot"
BYTES = b"Xylothian syndrome, first seen by Dr. Nimbaugh"
WRITTEN = ["Vexillary", "psych_eval", PASSWORD, "brontide", "Xylothian", "Nimbaugh"]


def locked_pdf() -> bytes:
    kept, document = BytesIO(), pikepdf.new()
    document.add_blank_page()
    document.docinfo["/Title"] = BYTES.decode()
    document.save(kept, encryption=pikepdf.Encryption(owner="owner", user=PASSWORD))
    return kept.getvalue()


def file_everything(house: House, canary: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files taken and refused, a form in every outcome, and upstreams that quote what they were sent."""
    person = filer(house, canary)
    assert person.upload("Vexillary.pdf", locked_pdf(), f"{PASSWORD}?").status_code == 422
    assert person.upload("Vexillary.pdf", locked_pdf(), PASSWORD).status_code == 200
    assert person.upload(FILE_NAME, BYTES + b"\xff").status_code == 422
    client, headers = house.app.test_client(), person.signed.headers
    client.post(SUBMIT_URL, data=f'{{"form526": {{{FORM_TEXT}', content_type="application/json", headers=headers)
    assert client.get(f"{STATUS_URL}/{canary.last_name}?name={FILE_NAME}", headers=headers).status_code == 404
    named = person.attach(FILE_NAME, BYTES)
    missing = {"name": FILE_NAME, "confirmationCode": canary.last_name, "attachmentId": FORM_TEXT}

    def fail(*_: Any) -> Any:
        raise RuntimeError(f"person {canary.icn}, participant {canary.participant_id}")

    with monkeypatch.context() as patch:
        patch.setattr(type(house.app.extensions["upstreams"].form526), "submit", fail)
        person.file(named, missing, note=FORM_TEXT, form0781={"incidents": [{"what": FORM_TEXT}]})
        house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'"))
    house.control.turn("documents", plans={FILE_NAME: "fails_at_bgs"})
    house.work()
    poll(house)
    refuse_while_quoting_the_file(house, canary)


def refuse_while_quoting_the_file(house: House, canary: Veteran) -> None:
    """As Java's validation does: `rejected value [...]`."""
    reconfigure(house, bdd_instructions="qualified")
    person, before = filer(house, canary), len(documents(house))
    person.file(person.attach(FILE_NAME, BYTES), note="another")
    house.work(until=lambda: len(documents(house)) > before)
    url = house.app.extensions["config"].lighthouse_base_url
    said = f"Field error in object 'data' on field 'fileName': rejected value [{FILE_NAME}]"
    with serving(whole(400, {"errors": [{"detail": said, "status": 400}]})) as server:
        reconfigure(house, lighthouse_base_url=server.url)
        house.work()
        reconfigure(house, lighthouse_base_url=url)


def test_a_form_its_files_and_their_names_are_nowhere_but_encrypted(
    house: House,
    secrets_folder: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    added = house.control.call("POST", "lorota", "veterans", json=CANARY)
    canary = house.fakes.fakes.cast.by_uuid(added["uuid"])
    assert canary is not None
    file_everything(house, canary, monkeypatch)
    operator = house.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    shown = [command(house, "documents", "show", str(row["id"]), "--json").output for row in documents(house)]
    places = {
        **searched(house, operator, capsys),
        "documents show": shown,
        "the disk": [path.name for path in tmp_path.rglob("*")],
    }
    numbers = [str(canary.participant_id), str(canary.file_number)]
    assert found_in(places, [*SPELLED, *WRITTEN, *numbers]) == []
    assert {row["failed_step"] for row in documents(house)} == {None, "MISSING", "BENEFITS_GATEWAY_SERVICE", "UPLOAD"}
    assert "[withheld]" in "".join(places["the consoles"]) and "job failed" in places["the log"][0]
    assert any(str(documents(house)[0]["id"]) in text for text in places["Postgres"])
