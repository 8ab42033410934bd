"""PDFs that we make ourselves: the answers about PTSD as 21-0781 and 21-0781a, and the BDD instructions.

The same answers make the same bytes, so a second try uploads the same file. Nothing that a person wrote is left out:
an answer that we do not know is printed under its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fpdf import FPDF

from flaskapp.form526.pdf.text import composed, humanised, printable, written

FIXED_DATE = datetime(2024, 1, 1, tzinfo=UTC)
INDENT, DEEPEST_INDENT = 5, 12
NOTE = (
    "Some characters that the person typed cannot be printed here. Accents this font lacks are left out; any other such"
    " character stands as its name or its Unicode number in square brackets."
)
SOURCE = "Made from the answers that the Veteran gave in the online application (VA Form 21-526EZ)."


def form_0781(answers: Mapping[str, Any]) -> bytes:
    return of_answers("VA Form 21-0781", "Statement in support of claim for service connection for PTSD", answers)


def form_0781a(answers: Mapping[str, Any]) -> bytes:
    return of_answers(
        "VA Form 21-0781a",
        "Statement in support of claim for service connection for PTSD secondary to personal assault",
        answers,
    )


def bdd_instructions() -> bytes:
    """The same page for every claim (what the upstream wants it for is unknown)."""
    page = Page("BDD instructions", "Benefits Delivery at Discharge: what to do after filing")
    for heading, text in BDD:
        page.heading(heading, 0)
        page.paragraph(text, 1)
    return bytes(page.output())


BDD = (
    (
        "Who this is for",
        "Service members who file a disability claim between 180 and 90 days before they leave active duty.",
    ),
    (
        "Service treatment records",
        "Send a copy of the service treatment records for the current period of service as soon as the claim is filed.",
    ),
    (
        "Separation Health Assessment",
        "Fill in Part A of the Separation Health Assessment and send it with the claim, or soon after.",
    ),
    (
        "Examinations",
        "Be available for 45 days after filing, in the area of the duty station, for the examinations of the claim. Go"
        " to each appointment, or ask early for another date.",
    ),
    (
        "If plans change",
        "Tell VA about a new date of separation, a new address, or a claim that is not to go on. A claim that cannot be"
        " finished before separation goes on as any other claim; nothing has to be filed again.",
    ),
)


def of_answers(title: str, subtitle: str, answers: Mapping[str, Any]) -> bytes:
    page = Page(title, subtitle)
    page.paragraph(SOURCE, 0)
    for depth, name, value in lines_of(answers):
        if value is None:
            page.heading(name, depth)
        else:
            page.answer(name, value, depth)
    if page.changed:
        page.heading("About this print", 0)
        page.paragraph(NOTE, 0)
    return bytes(page.output())


def lines_of(answers: Mapping[str, Any]) -> Iterator[tuple[int, str, str | None]]:
    """Depth, name and printed value of every answer, in the order they were given; a group's value is None.

    It has a stack of its own, so that no depth of nesting can end it.
    """
    todo: list[tuple[int, str, Any]] = named(0, answers.items())
    while todo:
        depth, name, value = todo.pop()
        if isinstance(value, Mapping) and value:
            yield depth, name, None
            todo += named(depth + 1, value.items())
        elif isinstance(value, list) and value:
            yield depth, f"{name} ({len(value)})", None
            todo += named(depth + 1, ((f"No. {place}", item) for place, item in enumerate(value, start=1)))
        else:
            yield depth, name, written(value)


def named(depth: int, pairs: Iterable[tuple[Any, Any]]) -> list[tuple[int, str, Any]]:
    return [(depth, humanised(str(key)), value) for key, value in pairs][::-1]


# -- the page -----------------------------------------------------------------


class Page(FPDF):
    """Letter pages with a title, numbered at the foot. `changed` says whether any text could not be printed as is."""

    def __init__(self, title: str, subtitle: str) -> None:
        super().__init__(format="letter", unit="mm")
        self.changed = False
        self.core_fonts_encoding = "cp1252"
        # No placeholder for the count of pages: a person might have written the same text.
        self.alias_nb_pages("")
        self.set_creation_date(FIXED_DATE)
        self.set_title(f"{title}: {subtitle}")
        self.set_producer("")
        self.set_margin(18)
        self.set_auto_page_break(auto=True, margin=18)
        self.add_page()
        self.write_block(title, 0, "B", 15)
        self.write_block(subtitle, 0, "", 11)

    def footer(self) -> None:
        self.set_y(-13)
        self.set_font("Helvetica", size=8)
        self.cell(0, 5, f"{self.title} - page {self.page_no()}", align="C")

    def heading(self, text: str, depth: int) -> None:
        self.ln(1.5)
        self.write_block(text, depth, "B", 10.5)

    def answer(self, name: str, value: str, depth: int) -> None:
        self.write_block(f"{name}:", depth, "B", 9)
        self.write_block(value, depth + 1, "", 10)

    def paragraph(self, text: str, depth: int) -> None:
        self.write_block(text, depth, "", 10)

    def write_block(self, text: str, depth: int, style: str, size: float) -> None:
        typed = composed(text)
        shown = printable(typed)
        self.changed = self.changed or shown != typed
        self.set_font("Helvetica", style=style, size=size)
        self.set_x(self.l_margin + INDENT * min(depth, DEEPEST_INDENT))
        self.multi_cell(0, size * 0.48, shown, align="L", new_x="LMARGIN", new_y="NEXT")
