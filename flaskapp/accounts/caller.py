"""Identity of a caller, looked up while they wait, and upstream failures as answers to a caller who waits."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from flaskapp.accounts.identify import identity_in
from flaskapp.accounts.service import Identity, identity_of, remember_nobody, remember_person
from flaskapp.current import upstreams
from flaskapp.db import db, transaction
from flaskapp.upstreams.accounts import Person
from flaskapp.upstreams.errors import NO_ICN, Rejected, Throttled, Unauthorized, UpstreamError
from flaskapp.web.errors import RETRY_AFTER_SECONDS, Problem
from flaskapp.web.passthrough import waiting_for


def identity_of_caller(account_id: uuid.UUID, needs_email: bool = False) -> Identity:
    """Who the caller's account belongs to, from our accounts or else from the account service; Problem 403 if nobody.

    Where an e-mail is needed and we kept none, the account service is called again. No connection is held meanwhile.
    """
    with transaction() as session:
        kept = identity_of(session, account_id)
    db.session.remove()
    if kept is not None and (kept.email is not None or not needs_email):
        return kept
    found = identity_in(find_person(account_id))
    if found is None:
        raise nobody_there(account_id)
    with transaction() as session:
        remember_person(session, account_id, found)
    db.session.remove()
    return found


def find_person(account_id: uuid.UUID) -> Person:
    """Who the account service says it is. Raises Problem: 403 for nobody, else as `waiting_for` and for its failure."""
    with waiting_for("accounts"):
        try:
            person = upstreams().accounts.find(str(account_id))
        except UpstreamError as error:
            raise problem_of_upstream(error) from error
    if person is None:
        raise nobody_there(account_id)
    return person


def nobody_there(account_id: uuid.UUID) -> Problem:
    """Keep that there is no ICN for the account, so that no flow promises it anything; the answer that says so."""
    with transaction() as session:
        remember_nobody(session, account_id)
    db.session.remove()
    return unknown_person()


def unknown_person(noted: str = "") -> Problem:
    """Nothing can be filed for this account (contract: frontend 3.3): pages that go on say so.

    `noted` is a sentence about what was kept of the request.
    """
    detail = (
        f"We could not find you in VA's records under this account, so we cannot file anything for you here. {noted}"
        " Call VA at 800-698-2411 (TTY: 711) to have your records checked and to file in another way."
    )
    return Problem(403, detail=" ".join(detail.split()), code=NO_ICN)


def problem_of_upstream(error: UpstreamError) -> Problem:
    """The answer to the caller for an upstream's failure: upstream's own status.

    A lost or late answer gives a 504, and what cannot be read, or is a gateway's word about its paths, a 502. That our
    own key or token was refused says nothing about the caller, whom a 401 would sign out: it is a 503.
    """
    if isinstance(error, Unauthorized) or error.http_status in (401, 403):
        return Problem(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    if isinstance(error, Throttled):
        headers = {"Retry-After": str(int(error.retry_after))} if error.retry_after else {}
        return Problem(429, headers=headers)
    status = error.http_status or 504
    gateways = status < 500 and not isinstance(error, Rejected)
    if gateways or status not in HTTPStatus._value2member_map_:
        status = 502
    return Problem(status, detail=error.detail or None, code=error.code or str(status))
