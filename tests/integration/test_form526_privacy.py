"""Privacy of Form 526: a form's content, its files and their names are searched for wherever they must not be."""

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
from tests.integration.form526_steps import STATUS_URL, SUBMIT_URL, documents, filer, poll
from tests.integration.steps import command, reconfigure
from tests.integration.test_privacy import PROBE, SPELLED, searched
from tests.product import Product
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


def file_everything(product: Product, probe: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted and refused files, a form in every outcome, and upstreams that quote what they received."""
    person = filer(product, probe)
    assert person.upload("Vexillary.pdf", locked_pdf(), f"{PASSWORD}?").status_code == 422
    assert person.upload("Vexillary.pdf", locked_pdf(), PASSWORD).status_code == 200
    assert person.upload(FILE_NAME, BYTES + b"\xff").status_code == 422
    client, headers = product.app.test_client(), person.signed.headers
    client.post(SUBMIT_URL, data=f'{{"form526": {{{FORM_TEXT}', content_type="application/json", headers=headers)
    assert client.get(f"{STATUS_URL}/{probe.last_name}?name={FILE_NAME}", headers=headers).status_code == 404
    named = person.attach(FILE_NAME, BYTES)
    missing = {"name": FILE_NAME, "confirmationCode": probe.last_name, "attachmentId": FORM_TEXT}

    def fail(*_: Any) -> Any:
        raise RuntimeError(f"person {probe.icn}, participant {probe.participant_id}")

    with monkeypatch.context() as patch:
        patch.setattr(type(product.app.extensions["upstreams"].form526), "submit", fail)
        person.file(named, missing, note=FORM_TEXT, form0781={"incidents": [{"what": FORM_TEXT}]})
        product.work(
            until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'")
        )
    product.control.turn("documents", plans={FILE_NAME: "fails_at_bgs"})
    product.work()
    poll(product)
    refuse_while_quoting_the_file(product, probe)


def refuse_while_quoting_the_file(product: Product, probe: Veteran) -> None:
    """Refuse as Java's validation does, `rejected value [...]`, and then for good."""
    reconfigure(product, bdd_instructions="qualified")
    person, before = filer(product, probe), len(documents(product))
    person.file(person.attach(FILE_NAME, BYTES), note="another")
    product.work(until=lambda: len(documents(product)) > before)
    url = product.app.extensions["config"].lighthouse_base_url
    detail = f"Field error in object 'data' on field 'fileName': rejected value [{FILE_NAME}]"
    with serving(whole(400, {"errors": [{"detail": detail, "status": 400}]})) as server:
        reconfigure(product, lighthouse_base_url=server.url)
        refused = "SELECT count(*) > 0 FROM outbox_attempts WHERE error_class = 'Unexplained'"
        product.work(until=lambda: bool(product.value(refused)))
    with serving(whole(413, {"message": f"Request size limit exceeded by {FILE_NAME}"})) as server:
        reconfigure(product, lighthouse_base_url=server.url)
        product.work()
    reconfigure(product, lighthouse_base_url=url)
    product.work()


def test_a_form_its_files_and_their_names_are_stored_only_encrypted(
    product: Product,
    secrets_folder: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    added = product.control.call("POST", "lorota", "veterans", json=PROBE)
    probe = product.fakes.fakes.cast.by_uuid(added["uuid"])
    assert probe is not None
    file_everything(product, probe, monkeypatch)
    operator = product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    shown = [command(product, "documents", "show", str(row["id"]), "--json").output for row in documents(product)]
    stores = {
        **searched(product, operator, capsys),
        "documents show": shown,
        "the disk": [path.name for path in tmp_path.rglob("*")],
    }
    numbers = [str(probe.participant_id), str(probe.file_number)]
    assert found_in(stores, [*SPELLED, *WRITTEN, *numbers]) == []
    assert {row["failed_step"] for row in documents(product)} == {None, "MISSING", "BENEFITS_GATEWAY_SERVICE", "UPLOAD"}
    assert "[withheld]" in "".join(stores["the consoles"]) and "job failed" in stores["the log"][0]
    assert any(str(documents(product)[0]["id"]) in text for text in stores["Postgres"])
