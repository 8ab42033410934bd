"""Processes that freeze, as a stopped or swapped-out one does.

A frozen transaction must not keep others waiting for its locks. When the process goes on, it must not do what another
one has been allowed to do meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from flaskapp import db as database
from flaskapp.db import db
from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from jobs.engine import runner
from outbox import breakers
from tests.integration.steps import SUBMIT, file_claim


def test_a_relay_that_froze_with_a_breaker_locked_delays_the_other_one_by_seconds_only(product, monkeypatch):
    """Otherwise every round of the living relay would end at that lock, before any other queue and any rescue."""
    monkeypatch.setattr(database.Patience, "seconds", 0.0)
    database.wait_as_a_process(product.app)
    db.session.remove()
    db.engine.dispose()
    product.ask(product.sign_in())
    with db.engine.connect() as frozen:
        frozen.execute(breakers.LOCK, {"upstream": TRAVEL_CLAIMS.upstream})
        assert product.relay.move(TRAVEL_CLAIMS) == 1
        with pytest.raises(OperationalError):
            frozen.execute(text("SELECT 1"))
        frozen.invalidate()


def frozen_for(seconds, monkeypatch, read):
    """The process's own clock has moved on by so many seconds when it has read what to send."""

    def load(session, about):
        monkeypatch.setattr(runner.time, "monotonic", lambda: began + seconds)
        return read(session, about)

    began = time.monotonic()
    monkeypatch.setattr(runner.time, "monotonic", lambda: began)
    return load


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("seconds", "sent"), [(179, 1), (181, 0)])
def test_a_frozen_attempt_writes_only_while_no_look_up_may_confirm_its_absence(
    product, monkeypatch, seconds, sent, together
):
    """A call takes at most a minute, a look-up may confirm its absence after four; the lease is eight and a half."""
    claim = file_claim(product)
    limits = {"call_seconds": 60.0, "confirm_after_seconds": 240.0, "lease_seconds": 510.0}
    fixed = {name: lambda config, value=value: value for name, value in limits.items()}
    product.relay.run_once()
    message = claim.message
    with monkeypatch.context() as patch:
        if together:
            reading = {"load_all": frozen_for(seconds, patch, SUBMIT.load_all)}
        else:
            reading = {"load_all": None, "load": frozen_for(seconds, patch, SUBMIT.load)}
        spec = replace(SUBMIT, **reading, **fixed)
        runner.run(spec, message["id"], message["fence"])
    assert len(product.submits()) == sent
    product.work()
    assert (len(product.submits()), claim.state["state"]) == (1, "submitted")
