"""The demo's table on terminals of every width: nothing is cut, and no word is broken to pieces."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from sandbox.board import table_of
from sandbox.promises import Verdict

VERDICT = Verdict(
    subject="travel_claim",
    who="Ada Testperson",
    scene="BTSSS accepts, the reply is lost",
    happened="submit: no reply → look-up: found → filed → text sent",
    state="unconfirmed",
    received="Your travel claim for Mar 04 was filed. Claim number ends 0012.",
    seconds=12.3,
    kept_how="notified: created",
    faults=(),
    messages=(1,),
)


@pytest.mark.parametrize("width", [80, 100, 240])
def test_the_table_fits_and_holds_every_word_whole(width: int) -> None:
    output = StringIO()
    console = Console(file=output, width=width, highlight=False)
    console.print(table_of({"travel pay of the signed-in": [VERDICT]}, console.width))
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= width
    words = (
        f"{VERDICT.who} {VERDICT.scene} {VERDICT.happened} {VERDICT.state} {VERDICT.received} {VERDICT.kept_how} 12.3"
    )
    assert set(words.split()) <= set(text.split())
    assert "…" not in text
