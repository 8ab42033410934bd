"""What a browser's JSON may hold: keys that a person typed, and characters that nobody sees."""

from __future__ import annotations

import json

import pytest

from flaskapp.web.errors import Problem
from flaskapp.web.json_body import parse


def test_a_key_may_be_the_longest_condition_that_a_526_form_takes() -> None:
    """The page names a condition's toxic exposure by the condition, up to 255 letters, without anything between."""
    conditions = {"lowbackstrain" + "x" * 242: True, "none": False}
    body = {"form526": {"toxicExposure": {"conditions": conditions}}}
    assert parse(json.dumps(body).encode())["form526"]["toxic_exposure"]["conditions"] == conditions


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b'"from a PDF\\u0000 pasted"', "from a PDF\N{REPLACEMENT CHARACTER} pasted"),
        (b'"half an emoji \\ud83d"', "half an emoji \N{REPLACEMENT CHARACTER}"),
        (b'"a whole one \\ud83d\\ude00"', "a whole one \N{GRINNING FACE}"),
        (b'["Pe\xc3\xb1a", {"b": "\\u0000"}]', ["Pe\u00f1a", {"b": "\N{REPLACEMENT CHARACTER}"}]),
    ],
)
def test_one_character_that_cannot_be_stored_does_not_cost_the_form(sent: bytes, kept: object) -> None:
    assert parse(b'{"a":' + sent + b"}") == {"a": kept}


def test_such_a_character_in_a_key_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        parse(b'{"\\u0000":1}')
    assert refused.value.status == 400
