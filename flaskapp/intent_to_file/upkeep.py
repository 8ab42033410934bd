"""Upkeep of ITFs between requests: the legal midnight passes, and the rolling refresh compares them with upstream.

The refresh is steady: every minute a tick enqueues its share of reads, spread over that minute. Where each ITF stands
in the cycle is on its own row. So it can be stopped at any time, and what was missed is never made up in a burst.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import select, text

from flaskapp import subjects
from flaskapp.cases.service import close_cases, open_case
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import (
    ITF,
    REFRESH,
    SUBJECT,
    adopt_upstream,
    dates_of,
    is_dated_late,
    store_confirmed,
)
from flaskapp.intent_to_file.states import BROKEN, CONFIRMED, PENDING, USED
from flaskapp.notifications.service import supersede_notifications
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from outbox import NOW, sql

MINUTE_SECONDS = 60.0
SECOND_LOOK = timedelta(hours=1)
# A little faster than the cycle needs, so that a stopped refresh catches up in days rather than never.
HEADROOM = 1.25

# One tick a minute, however many processes call it and however often. One in the future is of a clock put back since.
TICK = text("""
    UPDATE itf_refresh_ticks SET ticked_at = outbox_now()
     WHERE ticked_at NOT BETWEEN outbox_now() - interval '55 seconds' AND outbox_now() RETURNING single
""")
# While vacuum is behind, the planner would rather count by reading the whole table than by its partial index.
BY_INDEX = text("SET LOCAL enable_seqscan = off")
# The share of a minute: what the cycle needs, at most the limit, less what is still outstanding and due.
SHARE = text(f"""
    SELECT LEAST(:most, ceil(:headroom * (SELECT count(*) FROM intents_to_file WHERE refresh_due_at IS NOT NULL)
                             / (:days * 1440.0)))
           - (SELECT count(*) {sql.messages(job=":job", queue=":queue")} AND m.state <> 'parked'
                 AND m.due_at <= outbox_now() + interval '1 minute')
""")
# Oldest first. One that has expired leaves the cycle instead.
TAKE = text("""
    WITH due AS (
        SELECT id FROM intents_to_file WHERE refresh_due_at <= outbox_now()
         ORDER BY refresh_due_at LIMIT :share FOR UPDATE SKIP LOCKED)
    UPDATE intents_to_file f
       SET refresh_due_at = CASE WHEN f.expires_at > outbox_now() THEN outbox_now() + make_interval(days => :days) END
      FROM due WHERE f.id = due.id
    RETURNING f.id::text, f.refresh_due_at IS NOT NULL AS goes_on
""")


PAST_MIDNIGHT = (IntentToFile.state == PENDING, ~IntentToFile.past_midnight, IntentToFile.legal_midnight_at <= NOW)


def find_past_midnight(session: DbSession, batch: int = 200) -> list[str]:
    """Ids of those still pending at their first legal midnight, the longest ago first."""
    statement = select(IntentToFile.id).where(*PAST_MIDNIGHT).order_by(IntentToFile.legal_midnight_at).limit(batch)
    return [str(itf_id) for itf_id in session.execute(statement).scalars()]


def open_past_midnight(session: DbSession, itf_id: str) -> None:
    """Open a case at once: upstream can only date it late now. An ITF that is locked waits for the next sweep."""
    statement = select(IntentToFile).where(IntentToFile.id == uuid.UUID(itf_id), *PAST_MIDNIGHT)
    itf = session.execute(statement.with_for_update(skip_locked=True)).scalar_one_or_none()
    if itf is not None:
        itf.past_midnight = True
        open_case(session, "past_midnight", SUBJECT, itf_id, dates_of(itf))


def mark_used(session: DbSession, itf_id: str, actor: str) -> bool:
    """An accepted 526 used this ITF, which upstream will show no more, sooner or later. False if known."""
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    if itf.used_at is not None:
        return False
    itf.used_at, itf.doubted_at = database_now(session), None
    subjects.note(session, ITF, itf_id, "used", actor)
    return True


def enqueue_refreshes(session: DbSession) -> int:
    """Enqueue this minute's share of reads, evenly spread; returns 0 when this minute's share was taken already."""
    if session.execute(TICK).scalar_one_or_none() is None:
        return 0
    session.execute(BY_INDEX)
    config = settings()
    values = {"most": config.itf_refresh_per_minute, "days": config.itf_refresh_days, "headroom": HEADROOM}
    share = session.execute(SHARE, {**values, "job": REFRESH.path, "queue": REFRESH.queue.name}).scalar_one()
    if share <= 0:
        return 0
    taken = session.execute(TAKE, {"share": int(share), "days": config.itf_refresh_days}).all()
    going = [row.id for row in taken if row.goes_on]
    for place, itf_id in enumerate(going):
        REFRESH.enqueue(session, itf_id, delay_seconds=place * MINUTE_SECONDS / len(going))
    return len(going)


def record_read(session: DbSession, itf_id: str, seen: UpstreamITF | None, actor: str = "refresh") -> None:
    """Compare what upstream shows now with what it showed before. `seen` is its active ITF, None if it shows none.

    An earlier one than we knew is adopted. Any other difference is read again an hour later before it counts: upstream
    also answers "none" for a passing fault. One that a form has used is expected to go.
    """
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    now = database_now(session)
    if itf.state != CONFIRMED or itf.expires_at <= now:
        return
    if itf.used_at is not None:
        record_used(session, itf, seen, actor)
    elif seen is not None and (same(itf, seen) or is_earlier(itf, seen)):
        keep_seen(session, itf, seen, actor)
        itf.last_synced_at, itf.doubted_at = now, None
    elif itf.doubted_at is None:
        itf.doubted_at = now
        REFRESH.enqueue(session, itf_id, delay_seconds=SECOND_LOOK.total_seconds())
    elif now - itf.doubted_at >= SECOND_LOOK:
        break_itf(session, itf, "none" if seen is None else "another")


def record_used(session: DbSession, itf: IntentToFile, seen: UpstreamITF | None, actor: str) -> None:
    """Compare one that a form has used with what upstream shows. It is the person's valid one as long as it is shown;
    then it is over, and what is shown instead is kept.

    One look is enough. Had upstream shown none by a passing fault, the next creation would find it again.
    """
    assert itf.upstream_created_at is not None
    if seen is not None and seen.created_at <= itf.upstream_created_at:
        itf.last_synced_at = database_now(session)
        return
    itf.finished_at, itf.refresh_due_at = NOW, None
    subjects.move(session, ITF, itf, USED, actor, upstream_shows="none" if seen is None else "another")
    if seen is not None:
        store_confirmed(session, itf.account_id, itf.type, seen, itf.path, actor)


def let_used_go(session: DbSession, itf_id: str) -> None:
    """The person requests one, and nobody could see whether upstream still shows the one that a form has used: what is
    requested today must not be lost for it. The new one is created as soon as upstream shows this one no more."""
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    if itf.state == CONFIRMED and itf.used_at is not None:
        itf.finished_at, itf.refresh_due_at = NOW, None
        subjects.move(session, ITF, itf, USED, "person", upstream_shows="unknown")


def keep_seen(session: DbSession, itf: IntentToFile, seen: UpstreamITF, actor: str) -> None:
    """Keep what upstream shows. Another ITF, whose date can only be earlier, is noted in the history."""
    known = itf.upstream_id
    adopt_upstream(itf, seen)
    if known != seen.id:
        subjects.note(session, ITF, itf.id, "adopted", actor, upstream_id=seen.id, instead_of=known)


def reconsider(session: DbSession, itf_id: str, created: UpstreamITF | None) -> None:
    """A creation was answered late. The earlier of what upstream holds counts; whoever was told of a later day is told
    again."""
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    if created is None or itf.state != CONFIRMED or not is_earlier(itf, created):
        return
    was_late = is_dated_late(itf)
    keep_seen(session, itf, created, "worker")
    if was_late and not is_dated_late(itf):
        subjects.tell_again(session, ITF, itf, "confirmed", "upstream holds an earlier one")
        close_cases(session, SUBJECT, itf_id, "upstream holds an earlier one, dated in time", kinds=["dated_late"])


def same(itf: IntentToFile, seen: UpstreamITF) -> bool:
    """Whether its stored id and dates are still the same."""
    known = (itf.upstream_id, itf.upstream_created_at, itf.upstream_expires_at)
    return known == (seen.id, seen.created_at, seen.expires_at)


def is_earlier(itf: IntentToFile, seen: UpstreamITF) -> bool:
    """Whether upstream counts an older one than ours: nothing is lost by that."""
    assert itf.upstream_created_at is not None
    return seen.created_at < itf.upstream_created_at


def break_itf(session: DbSession, itf: IntentToFile, shows: str) -> None:
    """Upstream did not show what it had confirmed, twice with an hour between: a human finds out why."""
    itf.finished_at, itf.refresh_due_at = NOW, None
    subjects.move(session, ITF, itf, BROKEN, "refresh", upstream_shows=shows)
    supersede_notifications(session, SUBJECT, str(itf.id), "it is broken", "refresh")
    open_case(session, "broken", SUBJECT, str(itf.id), {**dates_of(itf), "upstream_shows": shows})
