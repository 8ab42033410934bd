"""Contact details of a person, in one form for the two upstreams that have them, so that they can be compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from flaskapp.upstreams.transport.fields import text_or_none


@dataclass(frozen=True)
class Contact:
    """Each field as its upstream writes it, None where it has none. Kept out of every repr, and so out of logs."""

    street: str | None = field(repr=False)
    city: str | None = field(repr=False)
    state: str | None = field(repr=False)
    zip: str | None = field(repr=False)
    country: str | None = field(repr=False)
    phone: str | None = field(repr=False)
    email: str | None = field(repr=False)


def one_line(*lines: object) -> str | None:
    """The lines of a street address that are given, as one text. Raises TypeError for a line that is not a text."""
    return ", ".join(line for line in map(text_or_none, lines) if line) or None
