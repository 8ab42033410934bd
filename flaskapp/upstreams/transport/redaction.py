"""Redaction of an upstream's words, so that they are safe to store: no personal identifiers, no markup, one line."""

from __future__ import annotations

import re

LONGEST = 300
_LONGEST_READ = 20_000

# In this order: the specific before the general, so that the mask still says what kind of thing was there.
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<[a-zA-Z!/?][^>]{0,2000}>?"), " "),
    (re.compile(r"[^\s@<>\"'(),;:]{1,64}@[^\s@<>\"'(),;:]{1,255}"), "[e-mail]"),
    (re.compile(r"\d{10}V\d{6}", re.IGNORECASE), "[icn]"),
    (re.compile(r"TC\d{4,}", re.IGNORECASE), "[claim number]"),
    (re.compile(r"(?<!\d)(?:\+?1[\s.-]?)?(?:\(\d{3}\)\s?|\d{3}[\s.-]?)\d{3}[\s.-]?\d{4}(?!\d)"), "[phone]"),
    (re.compile(r"\+\d[\d\s.-]{6,18}\d"), "[phone]"),
    (re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)"), "[number]"),
    (re.compile(r"(?<![\d-])\d{3}[\s.-]\d{4}(?!\d)"), "[number]"),
    (re.compile(r"\d{7,}"), "[number]"),
)


def redact(text: str) -> str:
    """Mask ICNs, phones, claim numbers, e-mails and any run of seven digits; drop markup; cut at 300 characters."""
    text = text[:_LONGEST_READ]
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    text = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
