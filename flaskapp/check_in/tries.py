"""Tries at a check-in link: how often somebody may name the person behind it wrongly (contract: travel 1.1).

LoROTA compares and does not count. A try is taken before LoROTA is called, so that many at once are no more than many
after each other; it is given back unless the answer was wrong.
"""

from __future__ import annotations

from flaskapp.current import settings
from flaskapp.db import db
from flaskapp.upstreams.errors import Rejected
from flaskapp.upstreams.lorota import UPSTREAM
from outbox import connect_plainly, prepared

# For so long after the last wrong answer they count.
KEPT = "interval '7 days'"
# A try that began so long ago has ended, whatever became of its process: each call has a limit.
LONGEST = "interval '2 minutes'"

_STANDING = f"""
    CASE WHEN t.expires_at <= outbox_now() THEN 0
         WHEN t.taken_at <= outbox_now() - {LONGEST} THEN t.wrong ELSE t.taken END
"""
_TAKE = prepared(f"""
    INSERT INTO check_in_tries AS t (uuid, wrong, taken, taken_at, expires_at)
    VALUES (:uuid, 0, 1, outbox_now(), outbox_now() + {KEPT})
    ON CONFLICT (uuid) DO UPDATE
       SET taken = {_STANDING} + 1, taken_at = outbox_now(),
           wrong = CASE WHEN t.expires_at <= outbox_now() THEN 0 ELSE t.wrong END,
           expires_at = CASE WHEN t.expires_at <= outbox_now() THEN EXCLUDED.expires_at ELSE t.expires_at END
     WHERE {_STANDING} < :most
    RETURNING uuid
""")
_IS_CLOSED = prepared("""
    SELECT wrong >= :most AS closed FROM check_in_tries WHERE uuid = :uuid AND expires_at > outbox_now()
""")
_COUNT_WRONG = prepared(f"""
    INSERT INTO check_in_tries AS t (uuid, wrong, taken, taken_at, expires_at)
    VALUES (:uuid, 1, 1, outbox_now(), outbox_now() + {KEPT})
    ON CONFLICT (uuid) DO UPDATE
       SET wrong = t.wrong + 1, taken = GREATEST(t.taken, t.wrong + 1), expires_at = EXCLUDED.expires_at
    RETURNING uuid
""")
_GIVE_BACK = prepared("""
    WITH forgotten AS (DELETE FROM check_in_tries WHERE uuid = :uuid AND wrong = 0 AND taken <= 1 RETURNING uuid)
    UPDATE check_in_tries SET taken = GREATEST(wrong, taken - 1)
     WHERE uuid = :uuid AND NOT EXISTS (SELECT FROM forgotten) RETURNING uuid
""")


class OthersRunning(Exception):
    """As many tries as are left are being made at this moment."""


def take_try(uuid: str) -> None:
    """Take one of the tries that are left. Raises Rejected with code `too_many` when there is none; OthersRunning when
    one may be left after all, once the others are answered."""
    values = {"uuid": uuid, "most": settings().check_in_tries}
    with connect_plainly(db.engine) as connection:
        if connection.execute(_TAKE, values).one_or_none() is not None:
            return
        standing = connection.execute(_IS_CLOSED, values).one_or_none()
    if standing is not None and standing.closed:
        raise Rejected(UPSTREAM, "no tries left", code="too_many", from_upstream=False)
    raise OthersRunning


def end_try(uuid: str, is_wrong: bool) -> None:
    """The try was answered: wrong. Or it was not, or not wrongly: then it is given back, and nothing is kept of a link
    without a wrong answer."""
    with connect_plainly(db.engine) as connection:
        connection.execute(_COUNT_WRONG if is_wrong else _GIVE_BACK, {"uuid": uuid})
