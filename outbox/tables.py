"""Tables of the ledger, their constraints, and the partial indexes for the work that is outstanding.

Rules that must never break are constraints here, not checks in Python: a message cannot be granted twice under one
fence, an attempt cannot be open and finished, a parked message cannot lack its reason.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import UserDefinedType

from outbox.columns import NAMING, Timestamp, one_of


class XID8(UserDefinedType[str]):
    """The id of a transaction, which is never used twice."""

    cache_ok = True

    def get_col_spec(self, **options: object) -> str:
        return "xid8"


metadata = MetaData(naming_convention=NAMING)

MESSAGE_STATES = ("later", "ready", "published", "running", "parked")
ATTEMPT_STATUSES = ("try", "success", "error", "unknown", "expired")
ATTEMPT_PURPOSES = ("write", "look_up", "read", "give_up")

# Of the newest rows, which no vacuum has seen yet, too.
BRIN = {"pages_per_range": 16, "autosummarize": "on"}

# One row: how far tests have moved the clock, zero everywhere else. A trigger on it makes `outbox_now()` again.
clock = Table(
    "outbox_clock",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    Column("clock_offset", Interval, nullable=False, server_default=text("'0'")),
    CheckConstraint("single", name="single_row"),
)

# One row: before `kept_since` history and attempts may have been dropped. It only ever moves forward, whatever the
# setting says later: what is gone is gone.
retention = Table(
    "outbox_retention",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    Column("kept_since", Timestamp, nullable=False, server_default=text("'-infinity'")),
    CheckConstraint("single", name="single_row"),
)

messages = Table(
    "outbox_messages",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job", Text, nullable=False),
    Column("args", JSONB, nullable=False, server_default=text("'[]'")),
    Column("queue", Text, nullable=False),
    Column("upstream", Text),
    Column("subject_type", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("fence", BigInteger),
    Column("due_at", Timestamp, nullable=False),
    Column("deadline_at", Timestamp, nullable=False),
    Column("budget_from", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("give_up_at", Timestamp, nullable=False),
    Column("charged_attempts", Integer, nullable=False, server_default=text("0")),
    Column("unresolved_since", Timestamp),
    Column("unresolved_why", Text),
    Column("not_found_count", Integer, nullable=False, server_default=text("0")),
    Column("look_up_count", Integer, nullable=False, server_default=text("0")),
    Column("published_at", Timestamp),
    Column("worker_id", Text),
    Column("lease_expires_at", Timestamp),
    Column("parked_reason", Text),
    Column("created_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    # Of the request that asked for it, or for what it follows from.
    Column("request_id", Text),
    CheckConstraint(one_of("state", MESSAGE_STATES), name="state"),
    CheckConstraint("jsonb_typeof(args) = 'array'", name="args_array"),
    CheckConstraint(
        "(state = 'running') = (worker_id IS NOT NULL) AND (state = 'running') = (lease_expires_at IS NOT NULL)",
        name="running_has_lease",
    ),
    CheckConstraint("state NOT IN ('published', 'running', 'parked') OR fence IS NOT NULL", name="fenced"),
    # The search for lost pointers needs it.
    CheckConstraint("state <> 'published' OR published_at IS NOT NULL", name="published_has_time"),
    CheckConstraint("(state = 'parked') = (parked_reason IS NOT NULL)", name="parked_has_reason"),
    CheckConstraint("(unresolved_since IS NULL) = (unresolved_why IS NULL)", name="unresolved_has_why"),
    Index("ix_outbox_messages_later", "due_at", postgresql_where=text("state = 'later'")),
    Index("ix_outbox_messages_ready", "queue", "deadline_at", "id", postgresql_where=text("state = 'ready'")),
    Index(
        "ix_outbox_messages_in_flight",
        "queue",
        "published_at",
        postgresql_where=text("state IN ('published', 'running')"),
    ),
    Index("ix_outbox_messages_parked", "queue", postgresql_where=text("state = 'parked'")),
    Index("ix_outbox_messages_cause", "job", "parked_reason", "id", postgresql_where=text("state = 'parked'")),
    # A message exists as long as its work is outstanding: a job is never enqueued twice for one subject, not even while
    # it is parked.
    Index("uq_outbox_messages_subject", "subject_type", "subject_id", "job", unique=True),
    Index("ix_outbox_messages_give_up", "give_up_at", postgresql_where=text("state IN ('later', 'ready')")),
    # Without `subject_type`, the planner might look here for the next message of one queue, past those of all others.
    Index("ix_outbox_messages_overdue", "subject_type", "deadline_at", postgresql_where=text("state <> 'parked'")),
)

attempts = Table(
    "outbox_attempts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message_id", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("subject_type", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("upstream", Text),
    Column("purpose", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'try'")),
    Column("started_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("finished_at", Timestamp),
    Column("end_number", BigInteger),
    Column("answered", Boolean, nullable=False, server_default=text("false")),
    Column("charged", Boolean, nullable=False, server_default=text("false")),
    Column("late", Boolean, nullable=False, server_default=text("false")),
    Column("http_status", Integer),
    Column("error_class", Text),
    Column("error_detail", Text),
    Column("upstream_ids", JSONB, nullable=False, server_default=text("'{}'")),
    Column("worker_id", Text, nullable=False),
    # A fence is drawn fresh at every publication, so two grants under one fence are impossible.
    UniqueConstraint("message_id", "fence"),
    CheckConstraint(one_of("status", ATTEMPT_STATUSES), name="status"),
    CheckConstraint(one_of("purpose", ATTEMPT_PURPOSES), name="purpose"),
    CheckConstraint("(status = 'try') = (finished_at IS NULL)", name="finished"),
    Index("ix_outbox_attempts_subject", "subject_type", "subject_id", "id"),
    Index("ix_outbox_attempts_answered", "upstream", "finished_at", postgresql_where=text("answered")),
    Index("ix_outbox_attempts_started", "started_at"),
    Index("ix_outbox_attempts_open", "message_id", postgresql_where=text("status = 'try'")),
    # For what is counted in the order in which it ended; it costs next to nothing.
    Index("ix_outbox_attempts_end_number", "end_number", postgresql_using="brin", postgresql_with=BRIN),
)

# Append-only, partitioned by month so that retention drops a partition instead of deleting rows.
history = Table(
    "outbox_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("subject_type", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("moved_from", Text),
    Column("moved_to", Text),
    Column("actor", Text, nullable=False),
    Column("message_id", BigInteger),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("at", "id"),
    Index("ix_outbox_history_subject", "subject_type", "subject_id", "id"),
    # Only what a request asked for has one.
    Index(
        "ix_outbox_history_request",
        text("(detail ->> 'request_id')"),
        postgresql_where=text("(detail ->> 'request_id') IS NOT NULL"),
    ),
    # Rare, and looked for in all of history at once.
    Index(
        "ix_outbox_history_case_opened",
        "subject_type",
        "subject_id",
        postgresql_where=text("what = 'case.opened'"),
    ),
    # For what is counted in the order in which it was added; it costs next to nothing.
    Index("ix_outbox_history_id", "id", postgresql_using="brin", postgresql_with=BRIN),
    postgresql_partition_by="RANGE (at)",
)

breakers = Table(
    "outbox_breakers",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("opened_at", Timestamp),
    Column("open_until", Timestamp),
    Column("reason", Text),
    Column("trips", Integer, nullable=False, server_default=text("0")),
    Column("closed_at", Timestamp),
    Column("probe_message_id", BigInteger),
    Column("probe_fence", BigInteger),
    Column("unanswered", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    Column("refused", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    Column("tripped_at", Timestamp),
    Column("concurrency_limit", Integer, nullable=False),
    CheckConstraint("(opened_at IS NULL) = (open_until IS NULL)", name="open_has_end"),
    CheckConstraint("concurrency_limit > 0", name="limit"),
)

# One row for each trip, ended by the answer that closed the breaker again: budgets run in the time between trips.
breaker_trips = Table(
    "outbox_breaker_trips",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("upstream", Text, nullable=False),
    Column("opened_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("closed_at", Timestamp),
    Column("reason", Text, nullable=False),
    Index(
        "uq_outbox_breaker_trips_open",
        "upstream",
        unique=True,
        postgresql_where=text("closed_at IS NULL"),
    ),
    Index("ix_outbox_breaker_trips_upstream", "upstream", "opened_at"),
)

# While a hold lasts, nothing is sent to its upstream. An operator sets it, for now or for a maintenance window to come.
breaker_holds = Table(
    "outbox_breaker_holds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("upstream", Text, nullable=False),
    Column("starts_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("ends_at", Timestamp, nullable=False),
    Column("reason", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("lifted_at", Timestamp),
    Column("lifted_by", Text),
    CheckConstraint("ends_at > starts_at", name="ends_later"),
    CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="lifted_by_somebody"),
    Index("ix_outbox_breaker_holds_upstream", "upstream", "ends_at"),
)

processes = Table(
    "outbox_processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("started_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("beat_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    # When it beat again after a time in which it was alive and could not.
    Column("returned_at", Timestamp),
    # Which release it runs, where it says so.
    Column("version", Text),
)

# Work that one process at a time does, and when it was done last.
leases = Table(
    "outbox_leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text),
    Column("held_until", Timestamp),
    Column("ran_at", Timestamp),
    Column("passed_over", BigInteger, nullable=False, server_default=text("0")),
    Column("passed_over_since", Timestamp),
    CheckConstraint("(holder IS NULL) = (held_until IS NULL)", name="held_has_end"),
)

# One row, and none while there are few: what was outstanding when it was counted last (outbox/tally.py).
tally = Table(
    "outbox_tally",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    Column("counted_at", Timestamp, nullable=False),
    Column("counts", JSONB, nullable=False),
    CheckConstraint("single", name="single_row"),
)

# Counters of all processes together, and up to which id of history, end of an attempt and trip they have counted
# (outbox/counters.py).
counts = Table(
    "outbox_counts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("labels", JSONB, primary_key=True),
    Column("value", Double, nullable=False),
    postgresql_with={"fillfactor": 50},
)
counted = Table(
    "outbox_counted",
    metadata,
    Column("source", Text, primary_key=True),
    Column("upto", BigInteger, nullable=False),
    Column("next_upto", BigInteger, nullable=False),
    Column("next_xid", XID8, nullable=False, server_default=text("'0'")),
    CheckConstraint("next_upto >= upto", name="forward"),
)

# One row. An era is the time between two restores from a backup; its beats, kept in Redis too, and the oid of a table
# show that the database is not the one that it was (outbox/eras.py).
era = Table(
    "outbox_era",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=text("true")),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("messages_oid", BigInteger, nullable=False),
    Column("beat_at", Timestamp, nullable=False),
    Column("doubted_why", Text),
    CheckConstraint("single", name="single_row"),
)

# What an operator recorded of a restore: what may have happened between `restored_to` and `lost_at` is looked up before
# it is sent. Until `look_first_until` that also holds for what people file again.
restores = Table(
    "outbox_restores",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("recorded_at", Timestamp, nullable=False, server_default=text("outbox_now()")),
    Column("recorded_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("restored_to", Timestamp, nullable=False),
    Column("lost_at", Timestamp, nullable=False),
    Column("look_first_until", Timestamp, nullable=False),
    Column("last_message_id", BigInteger, nullable=False),
    Column("marked_to_id", BigInteger, nullable=False, server_default=text("0")),
    Column("ended_at", Timestamp),
    CheckConstraint("lost_at >= restored_to", name="lost_later"),
    # One at a time: whoever repeats the command goes on with it.
    Index("uq_outbox_restores_open", text("(true)"), unique=True, postgresql_where=text("ended_at IS NULL")),
)
