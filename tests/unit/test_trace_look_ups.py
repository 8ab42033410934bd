"""The look-ups that must come before a second send: two in a row that said *not there*, even if a worker died
between."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flaskapp.audit.trace import after


def look_up(
    *, answered: bool = False, error_class: str | None = None, error_detail: str | None = None
) -> SimpleNamespace:
    return SimpleNamespace(
        id=9, purpose="look_up", status="error", answered=answered, error_class=error_class, error_detail=error_detail
    )


def test_a_look_up_that_says_not_there_counts() -> None:
    assert after(look_up(answered=True), 3, 1) == (3, 2)


@pytest.mark.parametrize("error_class", ["WorkerLost", "HandedBack", None])
def test_a_look_up_without_a_known_end_counts_neither_way(error_class: str | None) -> None:
    assert after(look_up(error_class=error_class), 3, 1) == (3, 1)


@pytest.mark.parametrize(
    "ended",
    [look_up(error_class="Unavailable"), look_up(answered=True, error_detail="several on file here")],
    ids=["failed", "unclear"],
)
def test_a_look_up_that_did_not_answer_the_question_starts_the_count_again(ended: SimpleNamespace) -> None:
    assert after(ended, 3, 1) == (3, 0)
