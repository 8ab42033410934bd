"""What will happen to each person of the cast, in the words of the start page, and where their story begins."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.upstreams.cast import DEFAULT_CAST, DOCUMENT_CAST, EVERYBODY, ITF_CAST, TRAVEL_PAY_CAST, Veteran

# The list of the cast decides where a story begins.
BEGINNINGS = ((DEFAULT_CAST, "check_in"), (ITF_CAST, "itf"), (DOCUMENT_CAST, "form"), (TRAVEL_PAY_CAST, "travel"))


@dataclass(frozen=True)
class Story:
    """`key` names the words in the catalogue (`story.<key>`), `begins` the page to open first."""

    person: Veteran
    key: str
    begins: str


def stories() -> dict[str, list[Story]]:
    """Everybody, by where their story begins."""
    return {begins: [Story(person, story_of(person), begins) for person in people] for people, begins in BEGINNINGS}


def person_with(uuid: str) -> Veteran | None:
    return next((person for person in EVERYBODY if person.uuid == uuid), None)


def begins_at(person: Veteran) -> str:
    return next(begins for people, begins in BEGINNINGS if person in people)


def story_of(person: Veteran) -> str:
    """What is special about them: who they are to the upstreams decides what they will live through."""
    if not person.identified:
        return "unidentified"
    if person.habit != "ok":
        return person.habit
    if person.itf != "none":
        return f"itf_{person.itf}"
    if person.documents != "ok":
        return f"documents_{person.documents}"
    if person.travel_pay != "none":
        return f"pay_{person.travel_pay}"
    if person.participant_id is None:
        return "file_number_only" if person.file_number else "no_benefit_ids"
    if person.email is None:
        return "no_email"
    if len(person.appointments) > 1:
        return "two_appointments"
    return "oracle_health" if person.is_oracle_health else "ok"
