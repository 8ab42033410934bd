"""Steps of the rolling refresh: people whose ITFs are on record, a cycle that goes by, and what upstream then holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobs import housekeeping
from sandbox.upstreams.cast import Veteran
from tests.house import ADA, House
from tests.integration.itf_steps import itfs, on_file, pass_time, sign_in

DUE = "SELECT count(*) FROM intents_to_file WHERE refresh_due_at <= outbox_now()"
OWED_NOW = "SELECT count(*) FROM outbox_messages WHERE state <> 'parked' AND due_at <= outbox_now()"


def confirm(house: House, *people: Veteran) -> None:
    """Each of them asks, and is answered by upstream."""
    for veteran in people:
        sign_in(house, veteran).ask()
    house.work()
    assert [row_of(house, veteran)["state"] for veteran in people] == ["confirmed"] * len(people)


def row_of(house: House, veteran: Veteran = ADA) -> dict[str, Any]:
    """The person's latest ITF, as our database holds it."""
    return [row for row in itfs(house) if str(row["account_id"]) == veteran.account][-1]


def compare_all_due(house: House) -> None:
    """Minute after minute a tick owes its share, which is read, until nothing is due any more."""
    while house.value(DUE):
        pass_time(house, minutes=1)
        housekeeping.refresh_itfs()
        work_what_is_due(house)


def work_what_is_due(house: House) -> None:
    """All but what is owed for later, as a second look is."""
    house.work(until=lambda: house.value(OWED_NOW) == 0)


def let_a_cycle_pass(house: House) -> None:
    """A week goes by, and whatever fell due in it is compared."""
    pass_time(house, days=7)
    compare_all_due(house)


def change(house: House, veteran: Veteran, **values: str) -> None:
    """Upstream gives its one ITF of this person another status or other dates."""
    (filed,) = on_file(house, veteran)
    house.control.call("PATCH", "lighthouse", f"itfs/{filed['id']}", json=values)


def remove(house: House, veteran: Veteran) -> dict[str, Any]:
    """Upstream loses its one ITF of this person; what it was."""
    (filed,) = on_file(house, veteran)
    house.control.call("DELETE", "lighthouse", f"itfs/{filed['id']}")
    return filed


def plant(house: House, veteran: Veteran, **values: Any) -> datetime:
    """Upstream has an active one of this person that we did not create; when it began."""
    planted = house.control.call("POST", "lighthouse", "itfs", json={"icn": veteran.icn, **values})
    return datetime.fromisoformat(planted["created_at"])


def replace_upstream(house: House, veteran: Veteran, **values: Any) -> datetime:
    remove(house, veteran)
    return plant(house, veteran, **values)
