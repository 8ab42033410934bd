"""The templates the fake VANotify holds: fixed ids, so that settings and tests can name them.

Keys are `<sender>.<notice>`, the form of the product's VANOTIFY_TEMPLATES setting: texts about travel claims by the
kind of facility, e-mails about intents to file.
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
    """One template; `channel` is `sms` or `email`, and only an e-mail has a subject."""

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
    f"{facility}.{notice}": _template(f"{facility}.{notice}", "sms", opening + words)
    for facility, opening in _FACILITIES.items()
    for notice, words in _WORDS.items()
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
        "You asked us to record your intent to file on ((asked_date)). A problem on our side delayed it, and it was "
        "recorded on ((recorded_date)).\n\n"
        "We are working to correct the date. You don't need to do anything, and you can file your claim now.",
    ),
    "failed": (
        "We couldn't record your intent to file",
        "You asked us to record your intent to file on ((asked_date)). We tried for several days and couldn't.\n\n"
        "A member of our team has your request and the date you asked. You can still file your claim now.",
    ),
    "unconfirmed": (
        "We couldn't confirm your intent to file",
        "You asked us to record your intent to file on ((asked_date)). We sent it, and couldn't confirm that it was "
        "recorded.\n\n"
        "A member of our team is looking into it. You can still file your claim now.",
    ),
}
EMAILS = {
    f"itf.{notice}": _template(f"itf.{notice}", "email", body, subject)
    for notice, (subject, body) in _ITF_WORDS.items()
}

TEMPLATES = {template.id: template for template in [*TEXTS.values(), EMAIL, *EMAILS.values()]}
TEMPLATE_IDS = {key: template.id for key, template in (TEXTS | EMAILS).items()}
