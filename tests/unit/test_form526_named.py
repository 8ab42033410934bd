"""Files that a form names, in every way in which a client may name them (contract: frontend 4.2)."""

from __future__ import annotations

import uuid
from typing import Any

from flaskapp.form526.attachments.named import UPLOADS, NamedFile, named_files
from flaskapp.web.inflection import to_snake, with_keys

A, B = uuid.UUID(int=1), uuid.UUID(int=2)
# As the pages write them.
KEYS = [
    "attachments",
    "form781Upload",
    "form781aUpload",
    "form8940Upload",
    "form4192Upload",
    "serviceTreatmentRecordsAttachments",
    "privateMedicalRecordAttachments",
    "additionalDocuments",
    "unemployabilitySupportingDocuments",
    "secondaryUploadSources0",
    "secondaryUploadSources1",
    "secondaryUploadSources2",
    "separationHealthAssessmentUploads",
]


def files_of(form: dict[str, Any]) -> list[NamedFile]:
    return named_files(with_keys(form, to_snake))


def test_every_entry_of_a_list_of_uploads_is_a_file() -> None:
    assert {to_snake(key) for key in KEYS} == UPLOADS
    without_guid: list[dict[str, Any]] = [
        {},
        {"confirmationCode": None},
        {"confirmationCode": ""},
        {"confirmationCode": 7},
        {"confirmationCode": "undefined"},
        {"confirmationCode": "undefined"},
        {"errorMessage": "too large"},
        {"uploading": True},
    ]
    for key in KEYS:
        entries = [{"name": f"{place}.pdf", **entry} for place, entry in enumerate(without_guid)]
        odd = ["c.pdf", None, [], 0, False, [["d.pdf"]], str(A)]
        found = files_of({key: [*entries, *odd, {"name": "a.pdf", "confirmationCode": str(A).upper()}]})
        assert [each.name for each in found] == [
            *(entry["name"] for entry in entries),
            "c.pdf",
            *["document"] * 4,
            "d.pdf",
            "document",
        ], key
        assert [each.guid for each in found] == [*[None] * (len(found) - 1), A], key
        assert files_of({key: None}) == files_of({key: []}) == files_of({key: {}}) == files_of({key: ""}) == []
        assert [each.name for each in files_of({"deep": [{key: {"name": "e.pdf"}}]})] == ["e.pdf"]


def test_one_upload_is_one_file_wherever_it_stands_and_the_forms_order_holds() -> None:
    upload = {"name": "b.pdf", "confirmationCode": f" {{{B}}} ", "attachmentId": 1489, "additionalData": {"note": "x"}}
    form = {
        "veteran": {"name": "no file"},
        "attachments": [upload, {"name": "late.pdf", "attachmentId": "L015"}],
        "elsewhere": {
            "anything": [{"name": "a.pdf", "confirmationCode": A.hex}, {"name": "code", "attachmentId": "x"}]
        },
        "additionalDocuments": [{"name": "again.pdf", "confirmationCode": str(B)}],
    }
    assert files_of(form) == [
        NamedFile(B, "1489", "b.pdf"),
        NamedFile(None, "L015", "late.pdf"),
        NamedFile(A, "", "a.pdf"),
    ]
