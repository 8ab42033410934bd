"""Outbox: work that is enqueued in the transaction of the rows it is about, and done later through Redis and RQ.

Work that was committed is never lost, whatever dies or forgets: a process, Redis, the answer to a COMMIT. It is
delivered at least once to the queue and takes effect once upstream: a write without an answer is looked up before it is
made again. docs/outbox.md explains this, and has a whole program.

An application imports names from this package only, never from a module inside it: `from outbox import add, attempts`.
Functions whose name says enough stand here themselves. The others are called through their module, which gives their
verb its noun: `attempts.park`, `holds.lift`. What `__all__` does not name is private.

- **Describe:** `QueueSpec`, `BreakerSettings`. `metadata` and `schema` make the tables, `breakers.ensure_breakers` the
  circuit breakers. `NOW`, `Timestamp`, `one_of` and `NAMING` are for the application's tables beside them.
- **Enqueue:** `add` in the caller's transaction; `begin` inserts the caller's row too, in one statement; `take_back`
  deletes what had no effect; `hasten` has tried at once what waits; `write_history`. Whatever adds has that
  transaction's commit wait for the disk; `commit_durably` does so for one that adds nothing.
- **Deliver:** `Relay` moves work to Redis, `rq_side` takes its pointer from there, `LedgerJob` runs listed functions
  only. `rescue` keeps the heartbeats of workers (`beat`), and makes due again what a dead one left.
- **Do:** `grant` gives one attempt, `grants.grant_all` one for each of many. One transaction settles it:
  `attempts.lock_message`, then `attempts.complete`, or `attempts.finish` with `attempts.postpone` or `attempts.park`;
  last `breakers.note_answer`, `note_unanswered` or `trip`. `attempts.complete_held` is the first two at once, for many.
  An answer whose fence is gone goes to `attempts.record_late`.
- **Operate:** `parked` parks by hand and requeues (`parked.reopen`); `registries` shows parked work in RQ; `holds` keep
  a breaker open; `sync_calls` are calls without a message behind the same breakers.
- **Read:** `messages`, `tally`, `timeline`, `forecast`, `counters`; `feed` gives what happened, once, to whoever has to
  tell others; `sql` has fragments for the application's own queries.
- **Connect:** a `Target` makes connections that are writable, limited and safe behind a pooler. A statement from
  `prepared` is planned once on each. `away` says which errors mean that Postgres is away, and why. `leases` let one
  process at a time do a piece of work.
- **Restore:** `eras` notice that the database was restored from a backup; `restores` have everything outstanding looked
  up before it is sent.
- **Keep:** `audit` finds what is wrong in the ledger, `repair` sets it right, `retention` removes what is old.

Functions that are given a `Database` work in the caller's transaction and never commit; those that are given an engine
commit by themselves. Times are aware, durations are seconds. An error of Postgres is raised as SQLAlchemy's
`DBAPIError`, an error of Redis as `RedisError`.
"""

from __future__ import annotations

from outbox import (
    attempts,
    audit,
    away,
    breakers,
    counters,
    eras,
    feed,
    forecast,
    grants,
    holds,
    leases,
    messages,
    parked,
    registries,
    repair,
    rescue,
    restores,
    retention,
    rq_side,
    schema,
    sql,
    sync_calls,
    tally,
    timeline,
)
from outbox.columns import NAMING, NOW, Timestamp, one_of
from outbox.connections import Target, autocommit, connect_autocommit, connect_plainly, read_options
from outbox.grants import grant
from outbox.relay import Relay
from outbox.rq_side import LedgerJob
from outbox.statements import prepared
from outbox.tables import metadata
from outbox.values import BreakerSettings, Ending, Grant, QueueSpec, Sibling
from outbox.write import (
    WAKE_CHANNEL,
    Database,
    add,
    add_all,
    begin,
    commit_durably,
    hasten,
    take_back,
    write_histories,
    write_history,
)

__all__ = [
    "NAMING",
    "NOW",
    "WAKE_CHANNEL",
    "BreakerSettings",
    "Database",
    "Ending",
    "Grant",
    "LedgerJob",
    "QueueSpec",
    "Relay",
    "Sibling",
    "Target",
    "Timestamp",
    "add",
    "add_all",
    "attempts",
    "audit",
    "autocommit",
    "away",
    "begin",
    "breakers",
    "commit_durably",
    "connect_autocommit",
    "connect_plainly",
    "counters",
    "eras",
    "feed",
    "forecast",
    "grant",
    "grants",
    "hasten",
    "holds",
    "leases",
    "messages",
    "metadata",
    "one_of",
    "parked",
    "prepared",
    "read_options",
    "registries",
    "repair",
    "rescue",
    "restores",
    "retention",
    "rq_side",
    "schema",
    "sql",
    "sync_calls",
    "take_back",
    "tally",
    "timeline",
    "write_histories",
    "write_history",
]
