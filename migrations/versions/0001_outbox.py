"""Tables of the outbox: outstanding work, its attempts, its history, circuit breakers, processes, and the clock."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The database's own time plus an offset, which is zero outside tests. The offset is written into the function's text
# instead of being read from the table at every call: a claim calls it about a hundred times, and this way the planner
# sees a plain `now()`. A body given as text can be inlined without being parsed again, one given with RETURN cannot.
CLOCK = """
    CREATE TABLE outbox_clock (
        single boolean DEFAULT true NOT NULL,
        clock_offset interval DEFAULT '0' NOT NULL,
        CONSTRAINT pk_outbox_clock PRIMARY KEY (single),
        -- Forbids a second row.
        CONSTRAINT ck_outbox_clock_single_row CHECK (single)
    );
    COMMENT ON TABLE outbox_clock IS 'One row: how far tests have moved the clock; zero everywhere else.';
    INSERT INTO outbox_clock (single) VALUES (true);

    CREATE FUNCTION outbox_now() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$ SELECT now() + interval '0' $$;
    COMMENT ON FUNCTION outbox_now() IS 'The time that every lease, deadline and breaker is compared with.';

    CREATE FUNCTION outbox_set_clock() RETURNS trigger LANGUAGE plpgsql AS $outer$
    BEGIN
        EXECUTE format('CREATE OR REPLACE FUNCTION %I.outbox_now() RETURNS timestamptz LANGUAGE sql STABLE'
                       ' AS $$ SELECT now() + %L::interval $$', TG_TABLE_SCHEMA, NEW.clock_offset);
        RETURN NULL;
    END
    $outer$;
    COMMENT ON FUNCTION outbox_set_clock() IS 'Writes outbox_now() anew with the offset of the clock table.';

    CREATE TRIGGER outbox_clock_set AFTER UPDATE OF clock_offset ON outbox_clock
        FOR EACH ROW WHEN (OLD.clock_offset IS DISTINCT FROM NEW.clock_offset) EXECUTE FUNCTION outbox_set_clock();
"""

MESSAGES = """
    CREATE TABLE outbox_messages (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        job text NOT NULL,
        args jsonb DEFAULT '[]' NOT NULL,
        queue text NOT NULL,
        upstream text,
        subject_type text NOT NULL,
        subject_id text NOT NULL,
        state text NOT NULL,
        fence bigint,
        due_at timestamptz NOT NULL,
        deadline_at timestamptz NOT NULL,
        budget_from timestamptz DEFAULT outbox_now() NOT NULL,
        give_up_at timestamptz NOT NULL,
        charged_attempts integer DEFAULT 0 NOT NULL,
        unresolved_since timestamptz,
        unresolved_why text,
        not_found_count integer DEFAULT 0 NOT NULL,
        look_up_count integer DEFAULT 0 NOT NULL,
        published_at timestamptz,
        worker_id text,
        lease_expires_at timestamptz,
        parked_reason text,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        CONSTRAINT pk_outbox_messages PRIMARY KEY (id),
        CONSTRAINT ck_outbox_messages_state CHECK (state IN ('later', 'ready', 'published', 'running', 'parked')),
        -- Forbids arguments that cannot be passed to the job by position.
        CONSTRAINT ck_outbox_messages_args_array CHECK (jsonb_typeof(args) = 'array'),
        -- Forbids running without a worker and an end of its lease, and a lease on what is not running.
        CONSTRAINT ck_outbox_messages_running_has_lease CHECK (
            (state = 'running') = (worker_id IS NOT NULL) AND (state = 'running') = (lease_expires_at IS NOT NULL)),
        -- Forbids handing work out, or parking it, without the number that makes older pointers to it stale.
        CONSTRAINT ck_outbox_messages_fenced CHECK (
            state NOT IN ('published', 'running', 'parked') OR fence IS NOT NULL),
        -- Forbids a published message that the search for lost pointers, which goes by this time, would never find.
        CONSTRAINT ck_outbox_messages_published_has_time CHECK (state <> 'published' OR published_at IS NOT NULL),
        -- Forbids parking without a reason for the human who finds it, and a reason left on what is not parked.
        CONSTRAINT ck_outbox_messages_parked_has_reason CHECK ((state = 'parked') = (parked_reason IS NOT NULL)),
        -- Forbids a write that may have happened without the cause of that doubt.
        CONSTRAINT ck_outbox_messages_unresolved_has_why CHECK (
            (unresolved_since IS NULL) = (unresolved_why IS NULL))
    );
    COMMENT ON TABLE outbox_messages IS 'Outstanding work, one row each. Work that is done is deleted.';

    -- Forbids enqueueing a job for a subject that already has it, parked or not.
    CREATE UNIQUE INDEX uq_outbox_messages_subject ON outbox_messages (subject_type, subject_id, job);

    -- The partial indexes hold one state each, so that a round of the relay reads what it needs and nothing that waits.
    -- What has become due:
    CREATE INDEX ix_outbox_messages_later ON outbox_messages (due_at) WHERE state = 'later';
    -- The next of one queue, by deadline:
    CREATE INDEX ix_outbox_messages_ready ON outbox_messages (queue, deadline_at, id) WHERE state = 'ready';
    -- How many of a queue are out, and since when:
    CREATE INDEX ix_outbox_messages_in_flight ON outbox_messages (queue, published_at)
        WHERE state IN ('published', 'running');
    -- What the failed jobs of a queue must show:
    CREATE INDEX ix_outbox_messages_parked ON outbox_messages (queue) WHERE state = 'parked';
    -- What has run out of time and is in nobody's hands:
    CREATE INDEX ix_outbox_messages_give_up ON outbox_messages (give_up_at) WHERE state IN ('later', 'ready');
    -- What is late and has no case yet. By subject first: with the deadline first, the planner would look here for the
    -- next of one queue and read past the work of all others.
    CREATE INDEX ix_outbox_messages_overdue ON outbox_messages (subject_type, deadline_at) WHERE state <> 'parked';
"""

ATTEMPTS = """
    CREATE TABLE outbox_attempts (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        -- No foreign key: the attempt stays when its message is done and deleted.
        message_id bigint NOT NULL,
        fence bigint NOT NULL,
        subject_type text NOT NULL,
        subject_id text NOT NULL,
        job text NOT NULL,
        upstream text,
        purpose text NOT NULL,
        status text DEFAULT 'try' NOT NULL,
        started_at timestamptz DEFAULT outbox_now() NOT NULL,
        finished_at timestamptz,
        -- Drawn from the sequence of the ids: says which of two came first, even if a clock was put back in between.
        end_number bigint,
        answered boolean DEFAULT false NOT NULL,
        charged boolean DEFAULT false NOT NULL,
        late boolean DEFAULT false NOT NULL,
        http_status integer,
        error_class text,
        error_detail text,
        upstream_ids jsonb DEFAULT '{}' NOT NULL,
        worker_id text NOT NULL,
        CONSTRAINT pk_outbox_attempts PRIMARY KEY (id),
        -- Forbids two attempts with one grant: every publication draws a new fence.
        CONSTRAINT uq_outbox_attempts_message_id_fence UNIQUE (message_id, fence),
        CONSTRAINT ck_outbox_attempts_status CHECK (
            status IN ('try', 'success', 'error', 'unknown', 'expired')),
        CONSTRAINT ck_outbox_attempts_purpose CHECK (purpose IN ('write', 'look_up', 'read', 'give_up')),
        -- Forbids an attempt that is both open and finished, or neither.
        CONSTRAINT ck_outbox_attempts_finished CHECK ((status = 'try') = (finished_at IS NULL))
    );
    COMMENT ON TABLE outbox_attempts IS 'Every attempt at a message, kept after the message is deleted.';

    CREATE INDEX ix_outbox_attempts_subject ON outbox_attempts (subject_type, subject_id, id);
    CREATE INDEX ix_outbox_attempts_started ON outbox_attempts (started_at);
    -- The latest answer of one upstream. In an outage there is none: without the index, years of attempts are read.
    CREATE INDEX ix_outbox_attempts_answered ON outbox_attempts (upstream, finished_at) WHERE answered;
    -- The few that are open, among all that ever were.
    CREATE INDEX ix_outbox_attempts_open ON outbox_attempts (message_id) WHERE status = 'try';
"""

HISTORY = """
    CREATE TABLE outbox_history (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        at timestamptz DEFAULT outbox_now() NOT NULL,
        subject_type text NOT NULL,
        subject_id text NOT NULL,
        what text NOT NULL,
        moved_from text,
        moved_to text,
        actor text NOT NULL,
        message_id bigint,
        detail jsonb DEFAULT '{}' NOT NULL,
        -- With the time in it, because a partitioned table needs its partition key in every unique key.
        CONSTRAINT pk_outbox_history PRIMARY KEY (at, id)
    ) PARTITION BY RANGE (at);
    COMMENT ON TABLE outbox_history IS
        'What happened to whom, only ever added to. One partition a month: old months are dropped, not deleted by row.';

    CREATE INDEX ix_outbox_history_subject ON outbox_history (subject_type, subject_id, id);
    -- Rare, and looked for in all of history by the audit of every minute.
    CREATE INDEX ix_outbox_history_case_opened ON outbox_history (subject_type, subject_id)
        WHERE what = 'case.opened';

    -- Takes what falls into a month without a partition: history is never refused. The release makes the months.
    CREATE TABLE outbox_history_rest PARTITION OF outbox_history DEFAULT;
"""

BREAKERS = """
    CREATE TABLE outbox_breakers (
        upstream text NOT NULL,
        opened_at timestamptz,
        open_until timestamptz,
        reason text,
        trips integer DEFAULT 0 NOT NULL,
        closed_at timestamptz,
        probe_message_id bigint,
        probe_fence bigint,
        unanswered bigint[] DEFAULT '{}' NOT NULL,
        concurrency_limit integer NOT NULL,
        CONSTRAINT pk_outbox_breakers PRIMARY KEY (upstream),
        -- Forbids an open breaker without the time of its next probe: it would stay open for ever.
        CONSTRAINT ck_outbox_breakers_open_has_end CHECK ((opened_at IS NULL) = (open_until IS NULL)),
        -- Forbids a limit under which nothing is ever sent.
        CONSTRAINT ck_outbox_breakers_limit CHECK (concurrency_limit > 0)
    );
    COMMENT ON TABLE outbox_breakers IS 'One circuit breaker for each upstream. Open: nothing passes but a probe.';
"""

BREAKER_TRIPS = """
    CREATE TABLE outbox_breaker_trips (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        upstream text NOT NULL,
        opened_at timestamptz DEFAULT outbox_now() NOT NULL,
        closed_at timestamptz,
        reason text NOT NULL,
        CONSTRAINT pk_outbox_breaker_trips PRIMARY KEY (id)
    );
    COMMENT ON TABLE outbox_breaker_trips IS 'When each breaker was open: that time is not charged to any budget.';

    CREATE INDEX ix_outbox_breaker_trips_upstream ON outbox_breaker_trips (upstream, opened_at);
    -- Forbids two open trips of one upstream; any number may have ended.
    CREATE UNIQUE INDEX uq_outbox_breaker_trips_open ON outbox_breaker_trips (upstream) WHERE closed_at IS NULL;
"""

BREAKER_HOLDS = """
    CREATE TABLE outbox_breaker_holds (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        upstream text NOT NULL,
        starts_at timestamptz DEFAULT outbox_now() NOT NULL,
        ends_at timestamptz NOT NULL,
        reason text NOT NULL,
        set_by text NOT NULL,
        lifted_at timestamptz,
        lifted_by text,
        CONSTRAINT pk_outbox_breaker_holds PRIMARY KEY (id),
        -- Forbids a hold that is over before it begins. A hold without an end is forbidden by its type.
        CONSTRAINT ck_outbox_breaker_holds_ends_later CHECK (ends_at > starts_at),
        -- Forbids lifting a hold without a name.
        CONSTRAINT ck_outbox_breaker_holds_lifted_by_somebody CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
    );
    COMMENT ON TABLE outbox_breaker_holds IS 'Times in which an operator keeps a breaker open, now or in the future.';

    CREATE INDEX ix_outbox_breaker_holds_upstream ON outbox_breaker_holds (upstream, ends_at);
"""

PROCESSES = """
    CREATE TABLE outbox_processes (
        id text NOT NULL,
        kind text NOT NULL,
        started_at timestamptz DEFAULT outbox_now() NOT NULL,
        beat_at timestamptz DEFAULT outbox_now() NOT NULL,
        CONSTRAINT pk_outbox_processes PRIMARY KEY (id)
    );
    COMMENT ON TABLE outbox_processes IS 'Heartbeats: the work of a process that stays silent is rescued.';
"""


def upgrade() -> None:
    # The clock comes first: the other tables have it in their defaults.
    for statements in (CLOCK, MESSAGES, ATTEMPTS, HISTORY, BREAKERS, BREAKER_TRIPS, BREAKER_HOLDS, PROCESSES):
        op.execute(statements)


def downgrade() -> None:
    for table in ("processes", "breaker_holds", "breaker_trips", "breakers", "history", "attempts", "messages"):
        op.drop_table(f"outbox_{table}")
    op.execute("DROP FUNCTION outbox_now()")
    op.drop_table("outbox_clock")
    op.execute("DROP FUNCTION outbox_set_clock()")
