"""A stranger's program: it files one of everything with a client generated from our description, and nothing of ours.

`tests/contract/test_generated_client.py` runs it with the address, a check-in and an access token, all as JSON.
"""

from __future__ import annotations

import datetime
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from surefile_client import AuthenticatedClient, Client, models, types
from surefile_client.api.check_in import check_in_create_session, check_in_show_check_in
from surefile_client.api.form_526 import (
    form_526_show_documents,
    form_526_show_status,
    form_526_submit_form,
    form_526_upload_evidence,
)
from surefile_client.api.intent_to_file import intent_to_file_list_itfs, intent_to_file_request_itf
from surefile_client.api.travel_claims import travel_claims_request_claim, travel_claims_show_claim
from surefile_client.api.travel_pay import travel_pay_file_claim, travel_pay_list_claims

CAMEL = {"x_key_inflection": "camel"}
TRIES = 600


def wait_for(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    for _ in range(TRIES):
        if done(found := look()):
            return found
        time.sleep(0.1)
    raise SystemExit(f"still not done: {found}")


def claim_travel_at_check_in(client: Client, who: dict[str, str]) -> str:
    fields = models.SessionFields(uuid=who["uuid"], dob=datetime.date.fromisoformat(who["dob"]), last_name=who["name"])
    check_in_create_session.sync(client=client, body=models.SessionBody(session=fields), **CAMEL)
    loaded = check_in_show_check_in.sync(who["uuid"], client=client, **CAMEL)
    assert isinstance(loaded, models.CheckIn) and loaded.payload.appointments, loaded
    wanted = models.ClaimBody(models.ClaimFields(uuid=who["uuid"], appointment_date=who["day"]))
    accepted = travel_claims_request_claim.sync(client=client, body=wanted, **CAMEL)
    assert isinstance(accepted, models.AcceptedTravelClaim), accepted
    claim = accepted.data.id
    ended = wait_for(
        lambda: travel_claims_show_claim.sync(claim, client=client, **CAMEL).data, lambda seen: seen.state != "pending"
    )
    return str(ended.state)


def request_itf(client: AuthenticatedClient) -> str:
    made = intent_to_file_request_itf.sync("compensation", client=client, **CAMEL)
    assert isinstance(made, models.OneIntentToFile), made
    itfs = wait_for(
        lambda: intent_to_file_list_itfs.sync(client=client, **CAMEL).data.attributes.intent_to_file,
        lambda seen: seen[0].record_state != "pending",
    )
    return str(itfs[0].record_state)


def file_form(client: AuthenticatedClient) -> tuple[str, list[str]]:
    file = types.File(payload=io.BytesIO(b"A letter."), file_name="letter.txt", mime_type="text/plain")
    sent = form_526_upload_evidence.sync(client=client, body=models.Form526UploadEvidenceBody(file), **CAMEL)
    assert isinstance(sent, models.UploadedFile), sent
    attachment = {"name": "letter.txt", "confirmationCode": str(sent.data.attributes.guid), "attachmentId": "L015"}
    form = models.FormBodyForm526.from_dict({"form526": {"form526": {}}, "attachments": [attachment]})
    accepted = form_526_submit_form.sync(client=client, body=models.FormBody(form), **CAMEL)
    assert isinstance(accepted, models.AcceptedForm), accepted
    filed = accepted.data.attributes
    ended = wait_for(
        lambda: form_526_show_status.sync(filed.job_id, client=client, **CAMEL).data.attributes,
        lambda seen: seen.status != "try",
    )
    documents = form_526_show_documents.sync(filed.submission_id, client=client, **CAMEL)
    assert isinstance(documents, models.FormDocuments), documents
    return str(ended.status), [document.attributes.name for document in documents.data]


def file_mileage(client: AuthenticatedClient) -> tuple[str | None, int]:
    wanted = models.MileageClaimBody(appointment_date_time="2031-03-04T09:30:00", facility_station_number="983")
    accepted = travel_pay_file_claim.sync(client=client, body=wanted, **CAMEL)
    assert isinstance(accepted, models.FiledTravelPayClaim), accepted
    # Filed again, the same claim is answered, as it stands then.
    ended = wait_for(
        lambda: travel_pay_file_claim.sync(client=client, body=wanted, **CAMEL), lambda seen: seen.claim_id is not None
    )
    listed = travel_pay_list_claims.sync(client=client, **CAMEL)
    assert isinstance(listed, models.TravelPayClaims), listed
    return ended.record_state, len(listed.data)


def main() -> None:
    given = json.loads(sys.argv[1])
    client = Client(given["url"])
    signed_in = AuthenticatedClient(given["url"], token=given["token"])
    form, documents = file_form(signed_in)
    mileage, claims = file_mileage(signed_in)
    ended = {"travel claim": claim_travel_at_check_in(client, given), "itf": request_itf(signed_in), "form": form}
    print(json.dumps({**ended, "documents": documents, "mileage": mileage, "claims": claims}))


if __name__ == "__main__":
    main()
