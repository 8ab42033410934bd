"""Thousands of ITFs at once, and a quick way to make the comparisons that are due in a refresh."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from flaskapp import clock
from flaskapp.accounts.models import Account
from flaskapp.crypto import vault
from flaskapp.db import db, transaction
from flaskapp.intent_to_file.models import IntentToFile
from jobs.engine.runner import run
from jobs.intent_to_file import REFRESH
from outbox.parked import draw_fence
from tests.product import Product

CHUNK = 1_000
# Their persons are unknown, so they can be counted and scheduled, but not read. `due` is null for those outside the
# cycle.
ONLY_HERE = text("""
    WITH people AS (INSERT INTO accounts (id) SELECT gen_random_uuid() FROM generate_series(1, :count) RETURNING id)
    INSERT INTO intents_to_file
        (id, account_id, type, path, state, asked_at, effective_date, expires_at, legal_midnight_at, upstream_id,
         upstream_status, upstream_created_at, upstream_expires_at, how, last_synced_at, refresh_due_at, finished_at)
    SELECT gen_random_uuid(), id, 'compensation', 'background', 'confirmed', filed_at, filed_at,
           filed_at + interval '365 days', filed_at + interval '12 hours', '1', 'active', filed_at,
           filed_at + interval '365 days', 'created', filed_at,
           outbox_now() + CAST(:due_from AS interval) + random() * CAST(:due_within AS interval), filed_at
      FROM people, (SELECT outbox_now() - CAST(:age AS interval) AS filed_at) times
""")
PUBLISH = text("""
    UPDATE outbox_messages SET state = 'published', fence = :fence, published_at = outbox_now()
     WHERE job = :job AND state IN ('later', 'ready') AND due_at <= outbox_now() RETURNING id
""")


def plant_here(count: int, due_from: timedelta, due_within: timedelta) -> None:
    """ITFs confirmed ten days ago, with their next comparison at any time of that span."""
    values = {"count": count, "due_from": due_from, "due_within": due_within, "age": timedelta(days=10)}
    with transaction() as session:
        session.execute(ONLY_HERE, values)


def plant_expired(count: int) -> None:
    """ITFs two years old, and outside the cycle."""
    values = {"count": count, "due_from": None, "due_within": None, "age": timedelta(days=730)}
    with transaction() as session:
        session.execute(ONLY_HERE, values)


def plant_everywhere(product: Product, count: int, due_within: timedelta) -> list[dict[str, Any]]:
    """People whose ITFs upstream holds too, evenly due within that time. Returns what upstream says of each."""
    planted: list[dict[str, Any]] = []
    for first in range(0, count, CHUNK):
        wanted = [{"icn": icn(number), "age_days": 10} for number in range(first, min(first + CHUNK, count))]
        planted += product.control.call("POST", "lighthouse", "itfs", json=wanted)
    keep(planted, due_within / count)
    return planted


def icn(number: int) -> str:
    return f"1077{number:06d}V{number:06d}"


def keep(planted: list[dict[str, Any]], spacing: timedelta) -> None:
    now = clock.now()
    accounts = [uuid.uuid4() for _ in planted]
    owners = [owner(account, itf["icn"], now) for account, itf in zip(accounts, planted, strict=True)]
    itfs = [row(accounts[place], itf, now + place * spacing) for place, itf in enumerate(planted)]
    with transaction() as session:
        session.execute(insert(Account), owners)
        session.execute(insert(IntentToFile), itfs)
    db.session.remove()


def owner(account: uuid.UUID, icn: str, now: datetime) -> dict[str, Any]:
    return {"id": account, "identity": {"icn": icn}, "icn_digest": vault().digest(icn), "identified_at": now}


def row(account: uuid.UUID, itf: dict[str, Any], due_at: datetime) -> dict[str, Any]:
    created, expires = (datetime.fromisoformat(itf[name]) for name in ("created_at", "expires_at"))
    return {
        "account_id": account,
        "type": "compensation",
        "path": "background",
        "state": "confirmed",
        "asked_at": created,
        "effective_date": created,
        "expires_at": expires,
        "legal_midnight_at": created + timedelta(days=1),
        "upstream_id": itf["id"],
        "upstream_status": "active",
        "upstream_created_at": created,
        "upstream_expires_at": expires,
        "how": "created",
        "finished_at": created,
        "refresh_due_at": due_at,
    }


def compare_outstanding() -> int:
    """Grant, read over HTTP and settle what is due now, without Redis and RQ. Returns how many there were."""
    fence = draw_fence()
    with db.engine.begin() as connection:
        ids = [found.id for found in connection.execute(PUBLISH, {"fence": fence, "job": REFRESH.work.path})]
    for message_id in ids:
        run(REFRESH, message_id, fence)
    return len(ids)
