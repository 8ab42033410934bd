"""Route of a signed-in person's submissions: everything that they were promised, with its state in words."""

from __future__ import annotations

import re
import uuid
from typing import Any

from flask import Blueprint, Response, request

from flaskapp.db import DbSession, transaction
from flaskapp.subjects import states_of
from flaskapp.submissions.service import FIRST, Item, Place, read_place, submissions_of
from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import FLAG, TEXT, TIMESTAMP, UUID, data_of, listed, or_null, said, thing
from flaskapp.web.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in

blueprint = Blueprint("submissions", __name__, url_prefix="/v0/submissions")
require_sign_in(blueprint)

MOST, USUAL = 100, 20
SUBMISSION = thing(
    "PersonsSubmission",
    {
        "id": UUID,
        "type": said(
            TEXT,
            "`travel_claim`, `travel_pay_claim`, `intent_to_file`, `form526_submission` or `form526_document`; a word"
            " for each kind of submission that is new.",
        ),
        "state": said(TEXT, "One of the states of its type (docs/states.md)."),
        "message": said(TEXT, "The state in words, to be shown."),
        "requested_at": TIMESTAMP,
        "since": said(TIMESTAMP, "When it came to its end; when it was requested, while it has none."),
        "status_url": or_null(
            said(
                TEXT,
                "The path that says more about it; null for an intent to file that is not valid. That of a"
                " `travel_claim` asks for the check-in session.",
            )
        ),
        "synthetic": said(FLAG, "Filed by the service itself for a test person."),
    },
)


@blueprint.get("")
@describe(
    "The caller's submissions, newest first",
    tag="Submissions",
    security=CALLER,
    parameters=[
        {
            "name": "after",
            "in": "query",
            "schema": TEXT,
            "description": "`meta.next` of the page before. What is filed meanwhile moves no later page.",
        },
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": MOST},
            "description": f"Submissions on a page; {USUAL} if left out.",
        },
    ],
    answers={
        200: Answer(
            "`data` lists what was filed by this account, and at check-in by the person whose it is, once we know that"
            " person; an empty list for nothing. `meta.next` is null on the last page.",
            data_of("PersonsSubmissions", listed(SUBMISSION), {"meta": thing("NextPage", {"next": or_null(TEXT)})}),
        ),
        **TOKEN_ANSWERS,
    },
    problems={400: "`after` or `limit` cannot be read.", 503: "Our database is away."},
)
def list_submissions() -> Response:
    """From our database alone, so it answers whatever the upstreams do."""
    after, limit = requested_place(), requested_limit()
    with transaction() as session:
        # One more says whether there is another page.
        found = submissions_of(session, uuid.UUID(caller().account_id), after, limit + 1)
        items = found[:limit]
        following = items[-1].place.written() if len(found) > limit else None
        return answer({"data": [described(session, item) for item in items], "meta": {"next": following}})


def requested_place() -> Place:
    written = request.args.get("after")
    try:
        return read_place(written) if written else FIRST
    except ValueError:
        raise bad("after has to be the next of a page before.") from None


def requested_limit() -> int:
    written = request.args.get("limit") or str(USUAL)
    if not re.fullmatch(r"[0-9]{1,3}", written) or not 1 <= int(written) <= MOST:
        raise bad(f"limit has to be a number from 1 to {MOST}.")
    return int(written)


def bad(detail: str) -> Problem:
    return Problem(400, "Invalid field value", detail, "103")


def described(session: DbSession, item: Item) -> dict[str, Any]:
    subject, row, states = item.subject, item.row, states_of(item.subject)
    assert subject.sentence is not None
    return {
        "id": str(row.id),
        "type": subject.name,
        "state": getattr(row, states.column),
        "message": subject.sentence(session, row),
        "requested_at": item.began.isoformat(timespec="seconds"),
        "since": (getattr(row, states.ended) or item.began).isoformat(timespec="seconds"),
        "status_url": subject.status_url(row),
        "synthetic": row.synthetic_on is not None,
    }
