"""The templates that the fake VANotify holds, with fixed ids, so that settings and tests can name them.

Keys are `<sender>.<kind>`, the form of the product's VANOTIFY_TEMPLATES setting: texts about travel claims by the kind
of facility (contract: travel 2.3), e-mails about intents to file, disability claims and travel claims of people who are
signed in.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\(\(([^()]+)\)\)")
_NAMESPACE = uuid.UUID("6f7f4a3e-2a51-4c0e-9f0f-1d2c3b4a5e6f")


@dataclass(frozen=True)
class Template:
    """One template. `channel` is `sms` or `email`, and only an e-mail has a subject."""

    id: str
    name: str
    channel: str
    body: str
    subject: str | None = None
    version: int = 1

    @property
    def placeholders(self) -> list[str]:
        return list(dict.fromkeys(PLACEHOLDER.findall(f"{self.subject or ''} {self.body}")))

    def filled(self, text: str, values: Mapping[str, object]) -> str:
        return PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), text)


_WORDS = {
    "created": "We filed your travel claim ending in ((claim_number)) for your ((appt_date)) appointment. "
    "We'll text you only if we need something.",
    "duplicate": "You already have a travel claim ending in ((claim_number)) for your ((appt_date)) appointment. "
    "You don't need to do anything.",
    "error": "We couldn't file your travel claim for your ((appt_date)) appointment (claim ((claim_number))). "
    "You have 30 days from the appointment to file another way.",
    "unconfirmed": "We sent your travel claim for your ((appt_date)) appointment (claim ((claim_number))), but could "
    "not confirm that it was filed. Please check its status before filing again.",
    "denied": "Your travel claim ending in ((claim_number)) for your ((appt_date)) appointment was not approved. "
    "Your decision letter explains why.",
}
_FACILITIES = {"cie": "VA travel pay: ", "oh": "VA travel pay, Oracle Health clinics: "}


def _template(key: str, channel: str, body: str, subject: str | None = None) -> Template:
    return Template(str(uuid.uuid5(_NAMESPACE, key)), key, channel, body, subject)


TEXTS = {
    f"{facility}.{notification}": _template(f"{facility}.{notification}", "sms", opening + words)
    for facility, opening in _FACILITIES.items()
    for notification, words in _WORDS.items()
}
EMAIL = _template(
    "email.created",
    "email",
    "Your travel claim ending in ((claim_number)) was filed for your appointment on ((appt_date)).",
    "Your travel claim for ((appt_date))",
)
_ITF_WORDS = {
    "confirmed": (
        "Your intent to file is on record",
        "We recorded your intent to file a claim for disability compensation.\n\n"
        "Effective date: ((effective_date))\nFile your claim by: ((expiration_date))\n\n"
        "If we approve your claim, your benefits may start on the effective date.",
    ),
    "confirmed_late": (
        "Your intent to file is on record, with a later date",
        "We received your request for an intent to file on ((asked_date)). A problem on our "
        "side delayed it, and it was recorded on ((recorded_date)).\n\n"
        "We are working to correct the date. You don't need to do anything, and you can file your claim now.",
    ),
    "failed": (
        "We couldn't record your intent to file",
        "We received your request for an intent to file on ((asked_date)). We tried for several "
        "days and couldn't record it.\n\n"
        "A member of our team has your request and its date. You can still file your claim now.",
    ),
    "unconfirmed": (
        "We couldn't confirm your intent to file",
        "We received your request for an intent to file on ((asked_date)). We sent it, and "
        "couldn't confirm that it was recorded.\n\n"
        "A member of our team is looking into it. You can still file your claim now.",
    ),
}
_FORM526_WORDS = {
    "accepted": (
        "We received your disability claim",
        "We received the disability claim you submitted on ((submitted_date)).\n\n"
        "Your claim number: ((claim_id))\n\n"
        "We are now sending your documents on to the team that decides your claim. We'll e-mail you again only if "
        "one of them doesn't arrive.",
    ),
    "failed": (
        "We couldn't file your disability claim",
        "We couldn't file the disability claim you submitted on ((submitted_date)).\n\n"
        "A member of our team has your claim and the date you submitted it, and will contact you. If you don't want "
        "to wait, you can file by mail or in person.",
    ),
    "unconfirmed": (
        "We couldn't confirm your disability claim",
        "We sent the disability claim you submitted on ((submitted_date)), and couldn't confirm that it was "
        "received.\n\n"
        "A member of our team is looking into it. Please don't submit it again before you hear from us.",
    ),
    "document_failed": (
        "One of your documents didn't reach us",
        "A document of the disability claim you submitted on ((submitted_date)) didn't reach your file: "
        "((file_name)).\n\n"
        "A member of our team is going to send it again. If you have a copy, you can also upload it to your "
        "claim yourself, mail it, or bring it in person.",
    ),
    "document_missing": (
        "Please send us one of your documents again",
        "The disability claim you submitted on ((submitted_date)) names a document that we don't have: "
        "((file_name)).\n\n"
        "Your claim was filed without it. Please send it again: you can upload it to your claim, mail it, or bring it "
        "in person. A member of our team is expecting it.",
    ),
    "document_unconfirmed": (
        "We couldn't confirm one of your documents",
        "We sent a document of the disability claim you submitted on ((submitted_date)), and couldn't confirm that it "
        "reached your file: ((file_name)).\n\n"
        "A member of our team is looking into it. You don't need to send it again before you hear from us.",
    ),
    "document_incomplete": (
        "One of your documents is delayed",
        "A document of the disability claim you submitted on ((submitted_date)) is safe in your file, but the team "
        "that decides your claim may not know of it yet: ((file_name)).\n\n"
        "A member of our team is looking into it. You don't need to send the document again.",
    ),
    "document_arrived": (
        "Your document is in your file after all",
        "We told you that there was a problem with a document of the disability claim you submitted on "
        "((submitted_date)): ((file_name)).\n\n"
        "It is in your file now. You don't need to do anything, and you don't need to send it again.",
    ),
}


_TRAVEL_PAY_WORDS = {
    "submitted": (
        "We filed your travel claim for ((appt_date))",
        "We filed your travel claim for your appointment on ((appt_date)).\n\n"
        "Your claim number: ((claim_number))\n\n"
        "You don't need to do anything. You can follow your claim online at any time.",
    ),
    "duplicate": (
        "You already have a travel claim for ((appt_date))",
        "You requested travel pay for your appointment on ((appt_date)). There already is a claim for that "
        "appointment, so we didn't file another.\n\n"
        "You don't need to do anything. You can follow your claim online at any time.",
    ),
    "failed": (
        "We couldn't file your travel claim for ((appt_date))",
        "We couldn't file the travel claim for your appointment on ((appt_date)).\n\n"
        "You have 30 days from the appointment to file by mail, by fax or in person.",
    ),
    "unfinished": (
        "Your travel claim for ((appt_date)) isn't finished yet",
        "We began your travel claim for your appointment on ((appt_date)), and couldn't finish it.\n\n"
        "A member of our team is finishing it for you. You don't need to do anything, and please don't file it again.",
    ),
    "unconfirmed": (
        "We couldn't confirm your travel claim for ((appt_date))",
        "We sent the travel claim for your appointment on ((appt_date)), and couldn't confirm that it was filed.\n\n"
        "A member of our team is looking into it. Please don't file it again before you hear from us.",
    ),
}


def _emails(sender: str, words: Mapping[str, tuple[str, str]]) -> dict[str, Template]:
    keyed = {f"{sender}.{notification}": template for notification, template in words.items()}
    return {key: _template(key, "email", body, subject) for key, (subject, body) in keyed.items()}


EMAILS = _emails("itf", _ITF_WORDS) | _emails("form526", _FORM526_WORDS) | _emails("travel_pay", _TRAVEL_PAY_WORDS)

TEMPLATES = {template.id: template for template in [*TEXTS.values(), EMAIL, *EMAILS.values()]}
TEMPLATE_IDS = {key: template.id for key, template in (TEXTS | EMAILS).items()}
