"""*My submissions*: every promise made to this person, with its state drawn.

The product lists intents to file and travel pay claims. Of check-in claims and forms it has no list for the person, so
those that were sent from here are asked for one by one.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request

from sandbox.site import itf, travel
from sandbox.site.current import person, tried, visitor, words
from sandbox.site.form526 import Sent
from sandbox.site.product import Trouble
from sandbox.site.progress import Progress, progress_of

pages = Blueprint("submissions", __name__)


def claim_progress(claim_id: str) -> Progress:
    found = visitor().product.get(f"/check_in/v0/travel_claims/{claim_id}").body["data"]
    return progress_of(words(), "claim", found["message"], found["state"])


def pay_claims() -> list[tuple[dict[str, Any], Progress | None]]:
    return [(item, travel.progress_of_claim(item)) for item in travel.read_claims().body["data"]]


@pages.get("/my-submissions")
def mine() -> str:
    holder, shelf = person(), visitor().shelf
    claims = [(claim_id, kept, tried(claim_progress, claim_id)) for claim_id, kept in newest(shelf.claims)]
    forms = [(job_id, kept, tried(Sent, job_id)) for job_id, kept in newest(shelf.forms)]
    return render_template(
        "mine.html",
        holder=holder,
        claims=claims,
        forms=forms,
        itf=tried(itf.read),
        pay=tried(pay_claims),
        is_trouble=lambda found: isinstance(found, Trouble),
        here=request.path,
    )


def newest(kept: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return list(reversed(kept.items()))
