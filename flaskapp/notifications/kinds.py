"""Every notice there is, by its sender: none of them can be sent before VANOTIFY_TEMPLATES names a template for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

TEXTS = ("created", "duplicate", "error", "unconfirmed", "denied")
NOTIFICATION_KINDS = {
    "cie": TEXTS,
    "oh": TEXTS,
    "itf": ("confirmed", "confirmed_late", "failed", "unconfirmed"),
    "form526": (
        "accepted",
        "failed",
        "unconfirmed",
        "document_failed",
        "document_unconfirmed",
        "document_incomplete",
    ),
    "travel_pay": ("submitted", "duplicate", "failed", "unfinished", "unconfirmed"),
}


def without_template(templates: Mapping[str, str], unused: Collection[str] = ()) -> list[str]:
    """The notices, as `<sender>.<notice>`, that nobody could be sent with these templates; those of senders that are
    `unused` need none yet."""
    known = [
        f"{sender}.{notification}"
        for sender, notifications in NOTIFICATION_KINDS.items()
        if sender not in unused
        for notification in notifications
    ]
    return [name for name in known if not templates.get(name)]
