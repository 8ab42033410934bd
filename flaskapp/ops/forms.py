"""What forms of the console have in common."""

from __future__ import annotations

from flask import request

from flaskapp.web.errors import Problem

LONGEST = 1_000


def given(name: str) -> str:
    """A text that an act needs. Raises Problem 422 without it."""
    text = request.form.get(name, "").strip()
    if not text or len(text) > LONGEST or "\0" in text:
        raise Problem(422, detail=f"Say something in the field “{name}”, in at most {LONGEST} characters.")
    return text
