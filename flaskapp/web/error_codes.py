"""Catalogue of the codes in `errors[]`: what each means and what to do. `docs/errors.md` is printed from it.

Codes of upstreams that are passed on, because the caller waits for that upstream's own answer, are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = "Send the same again, under the same `Idempotency-Key` if it files something; `Retry-After` says when."
CORRECT = "Correct what `detail` names; `source.pointer` says where it stands in the body."
SHOW = "Show `detail`."


@dataclass(frozen=True)
class Code:
    """One code: the statuses that it comes with, its meaning, and what a caller does about it."""

    statuses: tuple[int, ...]
    meaning: str
    remedy: str


# Nothing more can be said than the status says, so the code repeats it.
OF_STATUSES = {
    "400": Code((400,), "The request could not be read.", "Do not repeat it: what is sent has to change."),
    "401": Code((401,), "Nobody is signed in.", "Sign in, then repeat."),
    "403": Code((403,), "The caller may not do this.", f"{SHOW} Do not repeat it."),
    "404": Code((404,), "There is no such thing, or not of this person.", f"{SHOW} Do not repeat it."),
    "405": Code((405,), "The address does not take this method.", "Use a method of `Allow`."),
    "408": Code((408,), "The request did not arrive in time.", "Send it again."),
    "409": Code((409,), "It is in conflict with what is stored.", "Read again what is stored."),
    "413": Code((413,), "The request is larger than is accepted.", f"{SHOW} Send less."),
    "415": Code((415,), "The body is not `application/json`.", "Send `Content-Type: application/json`."),
    "422": Code((422,), "A field is missing or not acceptable; one entry for each.", CORRECT),
    "429": Code((429,), "Too many requests; nothing was accepted.", "Wait as long as `Retry-After` says."),
    "500": Code((500,), "A fault of ours.", "Send it again later; report `meta.requestId` if it stays."),
    "502": Code((502,), "An upstream failed or sent what cannot be read.", "Send it again later."),
    "503": Code((503,), "Our database, an upstream or a free place is missing; nothing was accepted.", AGAIN),
    "504": Code((504,), "An upstream did not answer in time.", "Send it again in a minute."),
}
NAMED = {
    "103": Code(
        (400,), "A part of the address, or a value in the query, cannot be read.", "Correct what `detail` names."
    ),
    "ALREADY_FILED": Code((400,), "A travel pay claim for this appointment was on file.", f"{SHOW} There is a claim."),
    "CHECK_IN_NOT_LOADED": Code(
        (409,),
        "The check-in was never loaded, so we do not know who this is.",
        "`GET /check_in/v2/patient_check_ins/{uuid}` first, then repeat.",
    ),
    "CHIP-API_404": Code((404,), "CHIP knows no such check-in.", "Send the person to a staff member."),
    "CHIP-API_5xx": Code(
        (502,), "CHIP failed; the digits are its status.", "Try again; else send the person to a staff member."
    ),
    "CIE-VETS-API_404": Code((404,), "The check-in link has expired.", SHOW),
    "CIE-VETS-API_410": Code((410,), "Too many wrong tries to sign in; for seven days.", SHOW),
    "CSRF": Code(
        (403,),
        "A change by cookie named neither an `Origin` that may call nor a valid `X-CSRF-Token`.",
        "Take `X-CSRF-Token` from any answer and repeat once.",
    ),
    "IDEMPOTENCY_KEY_REUSED": Code(
        (422,), "The `Idempotency-Key` named another request before.", "Use a new key for a new request."
    ),
    "INVALID_IDEMPOTENCY_KEY": Code((400,), "The `Idempotency-Key` is empty or too long.", "Use 1 to 255 characters."),
    "KEYS": Code((503,), "Our own keys do not open what is stored; nothing was accepted.", AGAIN),
    "LOROTA-API_401": Code((401,), "Last name and date of birth do not fit the check-in.", f"{SHOW} Ask again."),
    "MISSING_PARAMETER": Code((400,), "The body confirms nothing.", "Send at least one of the three answers."),
    "NOT_FILED": Code((422,), "The claim cannot be filed; a person is working on it.", f"{SHOW} Do not repeat it."),
    "NO_EMAIL": Code((403,), "VA's records hold no e-mail address, which travel pay needs.", SHOW),
    "NO_ICN": Code((403,), "VA's records do not know this account.", f"{SHOW} It says whom to call."),
    "NO_SUCH_APPOINTMENT": Code(
        (422,),
        "The check-in has no appointment on that day.",
        "Post the `startTime` of an appointment as it was served.",
    ),
    "TOO_MANY_OPEN": Code(
        (422,), "Too many submissions of this account are still being filed.", f"{SHOW} Try again when one has ended."
    ),
    "VA900": Code((400,), "CHIP refused or failed.", "Try again; else send the person to a staff member."),
}
CODES = {**OF_STATUSES, **NAMED}


def code_of(written: str) -> Code | None:
    """The catalogue's entry for a code as it was sent; None for an upstream's own."""
    return CODES.get(written) or (CODES["CHIP-API_5xx"] if written.startswith("CHIP-API_") else None)
