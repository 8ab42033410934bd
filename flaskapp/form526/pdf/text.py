"""Texts for our PDFs: keys and answers of a form, in the letters that every PDF viewer has without an embedded font.

Those are the letters of Windows-1252: our dependencies bring no font, and a missing letter must not stop a form.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from flaskapp.web.inflection import to_snake

_CAPITALS = frozenset({"va", "ptsd", "ssn", "id", "usa", "dd214", "bdd", "mst", "po"})
_LATIN = re.compile(r"LATIN (CAPITAL|SMALL) LETTER ([A-Z])(?: WITH .*)?")


def humanised(key: str) -> str:
    """`unitAssignedDates` and `unit_assigned_dates` → `Unit assigned dates`; `view:` of the front end is dropped."""
    words = to_snake(key.removeprefix("view:")).replace("_", " ").split()
    words = [word.upper() if word in _CAPITALS else word for word in words]
    text = " ".join(words)
    return text[:1].upper() + text[1:] if text else key or "(no name)"


def written(value: Any) -> str:
    """An answer as a person would write it."""
    if value is True:
        return "Yes"
    if value is False:
        return "No"
    text = "" if value is None or value in ({}, []) else str(value)
    return text if text.strip() else "(no answer)"


def composed(text: str) -> str:
    """The same text with its accents joined to their letters, with lines ended by line feeds only, and no tabs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4)
    return unicodedata.normalize("NFC", lines)


def printable(text: str) -> str:
    """A composed text in Windows-1252: other letters without their accents, anything else by name in square brackets.

    Line ends stay; characters that only control (joiners, directions) are left out.
    """
    return "".join(as_printable(letter) for letter in text)


def as_printable(letter: str) -> str:
    if letter == "\n" or fits(letter):
        return letter
    if unicodedata.category(letter) in ("Cc", "Cf", "Mn", "Me"):
        return ""
    plain = "".join(each for each in unicodedata.normalize("NFKD", letter) if fits(each))
    return plain or without_stroke(letter) or by_name(letter)


def without_stroke(letter: str) -> str:
    """`Ł` → `L`: a stroke or hook is no accent that could be removed, so the letter's name decides."""
    if found := _LATIN.fullmatch(unicodedata.name(letter, "")):
        return found[2] if found[1] == "CAPITAL" else found[2].lower()
    return ""


def fits(letter: str) -> bool:
    """Whether it can be printed. A soft hyphen (Cf) is in the table, but printing would take it for an instruction."""
    if unicodedata.category(letter) in ("Cc", "Cf"):
        return False
    try:
        letter.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def by_name(letter: str) -> str:
    """A symbol by its name, a letter of another script by its number: a page of such names would not be readable."""
    name = unicodedata.name(letter, "").lower() if unicodedata.category(letter).startswith("S") else ""
    return f"[{name}]" if name else f"[U+{ord(letter):04X}]"
