"""How far a submission has come, drawn: the steps of each flow, and how each of them stands in each state.

Only what the product says is drawn as done. It does not say whether a text arrived, so the last step of a claim is
never more than under way (docs/states.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.site.words import Said, Words

DONE, NOW, LATER, TROUBLE = "done", "now", "later", "trouble"
# The steps of each flow, by the name under which the catalogue has them.
STEPS = {
    "claim": ("received", "filing", "filed", "told"),
    "itf": ("received", "creating", "on_record"),
    "form": ("received", "sending", "accepted"),
    "document": ("received", "efolder", "linked"),
    "pay": ("appointment", "begun", "mileage", "submitted"),
}
# How the steps stand for each thing that the product says (`said.<flow>.<what>` of the catalogue).
DRAWN: dict[str, dict[str, tuple[str, ...]]] = {
    "claim": {
        "pending": (DONE, NOW, LATER, LATER),
        "submitted": (DONE, DONE, DONE, NOW),
        "duplicate": (DONE, DONE, DONE, NOW),
        "failed": (DONE, TROUBLE, LATER, NOW),
        "unconfirmed": (DONE, TROUBLE, LATER, NOW),
    },
    "itf": {
        "unchecked": (DONE, NOW, LATER),
        "pending": (DONE, NOW, LATER),
        "confirmed": (DONE, DONE, DONE),
        "used": (DONE, DONE, DONE),
    },
    "form": {
        "pending": (DONE, NOW, LATER),
        "accepted": (DONE, DONE, DONE),
        "failed": (DONE, TROUBLE, LATER),
        "unconfirmed": (DONE, TROUBLE, LATER),
    },
    "document": {
        "sending": (NOW, LATER, LATER),
        "received": (DONE, NOW, LATER),
        "done": (DONE, DONE, DONE),
        "not_linked": (DONE, DONE, TROUBLE),
        "missing": (TROUBLE, LATER, LATER),
        "unconfirmed": (DONE, TROUBLE, LATER),
        "failed_ours": (DONE, TROUBLE, LATER),
        "failed": (DONE, TROUBLE, LATER),
    },
    "pay": {
        # The product does not say at which of its four steps a claim stands.
        "pending": (NOW, NOW, NOW, NOW),
        "submitted": (DONE, DONE, DONE, DONE),
        "duplicate": (DONE, TROUBLE, LATER, LATER),
        "failed": (TROUBLE, LATER, LATER, LATER),
        "unconfirmed": (TROUBLE, LATER, LATER, LATER),
        "unfinished": (DONE, DONE, TROUBLE, LATER),
    },
}
# What Travel Pay's own word says of the four steps of a claim. With any other word it is in decision, or decided.
BEGUN = {
    "incomplete": (DONE, DONE, NOW, LATER),
    "saved": (DONE, DONE, DONE, NOW),
}
# Our words for claims that Travel Pay does not have completely: of these the sentence decides.
OURS = {"received", "not_filed", "not_confirmed", "on_file"}
# As long as one of these is said, something will follow by itself.
UNDER_WAY = {
    "claim.pending",
    "itf.unchecked",
    "itf.pending",
    "form.pending",
    "document.sending",
    "document.received",
    "pay.pending",
}


@dataclass(frozen=True)
class Step:
    label: str
    state: str


@dataclass(frozen=True)
class Progress:
    """`happened` is the product's own sentence; `follows` and `worry` are empty for one that we do not know."""

    flow: str
    steps: tuple[Step, ...]
    happened: Said
    follows: str
    worry: str

    @property
    def under_way(self) -> bool:
        return self.happened.key in UNDER_WAY

    @property
    def is_trouble(self) -> bool:
        return any(step.state == TROUBLE for step in self.steps)

    @property
    def is_over(self) -> bool:
        return not self.under_way and not self.is_trouble


def progress_of(words: Words, flow: str, sentence: str | None, state: str | None) -> Progress:
    """The drawing for the product's sentence. A new sentence is shown as it is, drawn by its `state` if that is known,
    and else with nothing done but that it was received."""
    said = words.said(sentence)
    drawn = DRAWN[flow].get((said.key or f"{flow}.{state}").partition(".")[2])
    if drawn is None:
        drawn = (DONE, NOW, *(LATER for _ in STEPS[flow][2:]))
    follows, worry = (words(f"{kind}.{said.key}") if said.key else "" for kind in ("next", "worry"))
    return Progress(flow, labelled(words, flow, drawn), said, follows, worry)


def steps_by_status(words: Words, status: str | None) -> tuple[Step, ...]:
    """The four steps of a claim that Travel Pay has; none for a word that we do not know."""
    key = (status or "").lower().replace(" ", "_")
    known = words.known(f"status.{key}") and key not in OURS
    return labelled(words, "pay", BEGUN.get(key, (DONE, DONE, DONE, DONE))) if known else ()


def labelled(words: Words, flow: str, drawn: tuple[str, ...]) -> tuple[Step, ...]:
    return tuple(Step(words(f"step.{flow}.{name}"), how) for name, how in zip(STEPS[flow], drawn, strict=True))
