"""A process that freezes inside a transaction, as a stopped or swapped-out dyno does, must not keep the others waiting
for its locks: Postgres ends its session before theirs give up."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from flaskapp.db import db
from flaskapp.queues import TRAVEL_CLAIMS
from outbox import gates


def test_a_relay_that_froze_while_it_held_a_gate_delays_the_other_one_by_seconds(house):
    """Without it, every round of the living relay would end at that lock, before any other queue and any rescue."""
    house.ask(house.sign_in())
    with db.engine.connect() as frozen:
        frozen.execute(gates.LOCK, {"upstream": TRAVEL_CLAIMS.upstream})
        assert house.relay.move(TRAVEL_CLAIMS) == 1
        with pytest.raises(OperationalError):
            frozen.execute(text("SELECT 1"))
        frozen.invalidate()
