"""The templates the fake VANotify holds: fixed ids, so that settings and tests can name them.

Keys are `<facility>.<notice>`, the form of the product's VANOTIFY_TEMPLATES setting.
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

TEMPLATES = {template.id: template for template in [*TEXTS.values(), EMAIL]}
TEMPLATE_IDS = {key: template.id for key, template in TEXTS.items()}
