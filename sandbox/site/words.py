"""The words of the pages, in one catalogue for each language, and dates as they are written there.

A sentence of the product is shown as it came. Where it is one that we know, another language has its translation, and
the words beside it say what happens next and when to worry.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

FOLDER = Path(__file__).parent / "words"
LANGUAGES = ("en", "es")
# The product's own sentences, by flow and state: in English exactly as it sends them.
SAID = "said."
# Legal dates are those of this zone (LEGAL_TIME_ZONE of the product has the same default).
ZONE = ZoneInfo("America/Chicago")


@cache
def catalogue(language: str) -> dict[str, str]:
    """Every text of a language by its dotted key."""
    return dict(flat(tomllib.loads((FOLDER / f"{language}.toml").read_text())))


def flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


@cache
def keys_of_sentences() -> dict[str, str]:
    """`claim.pending` and the like, by the product's sentence."""
    return {text: key.removeprefix(SAID) for key, text in catalogue("en").items() if key.startswith(SAID)}


@dataclass(frozen=True)
class Said:
    """A sentence of the product. `language` is the one that it is in, `key` what it says, if we know that."""

    text: str
    language: str
    key: str | None = None


class Words:
    """The texts of one language; called with a key. An unknown key raises KeyError."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, key: str, **values: object) -> str:
        return self._texts[key].format(**values) if values else self._texts[key]

    def known(self, key: str) -> bool:
        return key in self._texts

    def said(self, sentence: str | None) -> Said:
        key = keys_of_sentences().get(sentence or "")
        if key is None:
            return Said(sentence or "", "en")
        return Said(self._texts[SAID + key], self.language, key)

    def day(self, at: str | date | None) -> str:
        """`March 4, 2031`, of an ISO text with an offset in the zone of legal dates; of one without, as written."""
        if at is None:
            return ""
        if isinstance(at, str):
            at = timestamp(at)
        shown = at.astimezone(ZONE) if isinstance(at, datetime) and at.tzinfo else at
        return self("date.day", month=self(f"date.month_{shown.month}"), day=shown.day, year=shown.year)

    def clock(self, at: str) -> str:
        """The day and the time of a facility's own clock, whatever its offset."""
        shown = timestamp(at).replace(tzinfo=None)
        return self("date.clock", day=self.day(shown), time=f"{shown:%H:%M}")

    def money(self, amount: object) -> str:
        return f"${float(str(amount)):,.2f}"


def timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


def now() -> datetime:
    return datetime.now(UTC)
