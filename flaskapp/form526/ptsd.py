"""PTSD forms of a 526: which ones it needs, and which answers go into which. Answers about assaults are kept separate.

This is separate from making the PDFs, which needs a library that only a worker should have to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flaskapp.web.inflection import to_snake, with_keys

# Two texts of the front end: the first is about further assaults, the second about all other events.
ABOUT_ASSAULT, ABOUT_OTHERS = "additional_secondary_incident_text", "additional_incident_text"


@dataclass(frozen=True)
class Ptsd:
    """The answers of each form, keys in snake case; None when the form is not needed."""

    form_0781: Mapping[str, Any] | None
    form_0781a: Mapping[str, Any] | None


def ptsd_parts(form: Mapping[str, Any]) -> Ptsd:
    """Which PTSD forms a 526 needs, by its `form0781`: 0781a for what is about personal assault, 0781 for all else.

    Answers that belong to neither (remarks, changes in behaviour) go into each form that is made. The two texts about
    further events go into the other form only when their own is not made.
    """
    given = form.get("form0781")
    answers = with_keys(given, to_snake) if isinstance(given, Mapping) else {"answers": given}
    filled = {key: value for key, value in answers.items() if answered(value)}
    incidents = filled.pop("incidents", [])
    incidents = [each for each in (incidents if isinstance(incidents, list) else [incidents]) if answered(each)]
    assaults = [each for each in incidents if is_assault(each)]
    others = [each for each in incidents if not is_assault(each)]
    with_assault = bool(assaults) or ABOUT_ASSAULT in filled
    without = bool(others) or ABOUT_OTHERS in filled or (bool(filled) and not with_assault)
    return Ptsd(
        part(filled, others, ABOUT_ASSAULT if with_assault else "") if without else None,
        part(filled, assaults, ABOUT_OTHERS if without else "") if with_assault else None,
    )


def part(filled: Mapping[str, Any], incidents: list[Any], left_out: str) -> dict[str, Any]:
    shared = {key: value for key, value in filled.items() if key != left_out}
    return {"incidents": incidents, **shared} if incidents else shared


def answered(value: Any) -> bool:
    """Whether anything in it was answered: a no is an answer, an empty field at any depth is none."""
    if isinstance(value, Mapping):
        return any(answered(item) for item in value.values())
    if isinstance(value, list):
        return any(answered(item) for item in value)
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def is_assault(incident: Any) -> bool:
    said = incident.get("personal_assault") if isinstance(incident, Mapping) else None
    return said is True or (isinstance(said, str) and said.strip().lower() in ("true", "yes"))
