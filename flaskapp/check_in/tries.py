"""Tries at a check-in link: how often somebody may name the person behind it wrongly (contract: travel 1.1).

LoROTA compares and does not count. A try is taken before LoROTA is called, so that many at once are no more than many
after each other; it is given back unless the answer was wrong.
"""

from __future__ import annotations

from sqlalchemy import text

from flaskapp.current import settings
from flaskapp.db import DbSession, transaction
from flaskapp.upstreams.errors import Rejected
from flaskapp.upstreams.lorota import UPSTREAM

# For so long after the last wrong answer they count.
KEPT = "interval '7 days'"
# A try that began so long ago has ended, whatever became of its process: each call has a limit.
LONGEST = "interval '2 minutes'"

_STANDING = f"""
    CASE WHEN t.expires_at <= outbox_now() THEN 0
         WHEN t.taken_at <= outbox_now() - {LONGEST} THEN t.wrong ELSE t.taken END
"""
_TAKE = text(f"""
    INSERT INTO check_in_tries AS t (uuid, wrong, taken, taken_at, expires_at)
    VALUES (:uuid, 0, 1, outbox_now(), outbox_now() + {KEPT})
    ON CONFLICT (uuid) DO UPDATE
       SET taken = {_STANDING} + 1, taken_at = outbox_now(),
           wrong = CASE WHEN t.expires_at <= outbox_now() THEN 0 ELSE t.wrong END,
           expires_at = CASE WHEN t.expires_at <= outbox_now() THEN EXCLUDED.expires_at ELSE t.expires_at END
     WHERE {_STANDING} < :most
    RETURNING uuid
""")
_IS_CLOSED = text("SELECT wrong >= :most FROM check_in_tries WHERE uuid = :uuid AND expires_at > outbox_now()")
_COUNT_WRONG = text(f"""
    INSERT INTO check_in_tries AS t (uuid, wrong, taken, taken_at, expires_at)
    VALUES (:uuid, 1, 1, outbox_now(), outbox_now() + {KEPT})
    ON CONFLICT (uuid) DO UPDATE
       SET wrong = t.wrong + 1, taken = GREATEST(t.taken, t.wrong + 1), expires_at = EXCLUDED.expires_at
""")
_FORGET = text("DELETE FROM check_in_tries WHERE uuid = :uuid AND wrong = 0 AND taken <= 1")
_GIVE_BACK = text("UPDATE check_in_tries SET taken = GREATEST(wrong, taken - 1) WHERE uuid = :uuid")


class OthersRunning(Exception):
    """As many tries as are left are being made at this moment."""


def take_try(uuid: str) -> None:
    """Take one of the tries that are left. Raises Rejected with code `too_many` when there is none; OthersRunning when
    one may be left after all, once the others are answered."""
    values = {"uuid": uuid, "most": settings().check_in_tries}
    with transaction() as session:
        if session.execute(_TAKE, values).first() is not None:
            return
        closed = session.execute(_IS_CLOSED, values).scalar_one_or_none()
    if closed:
        raise Rejected(UPSTREAM, "no tries left", code="too_many", from_upstream=False)
    raise OthersRunning


def count_wrong(session: DbSession, uuid: str) -> None:
    """The try was answered: wrong."""
    session.execute(_COUNT_WRONG, {"uuid": uuid})


def give_back(session: DbSession, uuid: str) -> None:
    """The try was not answered, or not wrongly. Nothing is kept of a link without a wrong answer."""
    if session.execute(_FORGET, {"uuid": uuid}).rowcount == 0:  # type: ignore[attr-defined]
        session.execute(_GIVE_BACK, {"uuid": uuid})
