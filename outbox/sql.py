"""SQL fragments of the ledger, for statements in which an application joins them with its own tables.

Each function returns SQL text; nothing is executed here. Arguments are SQL expressions of the statement around it: a
bind parameter (`:subject`), a column (`s.id`) or a literal (`'notification'`). Never pass text that somebody sent.

`messages`, `attempts` and `history` return `FROM … WHERE …`, to be continued with `AND …`:

    SELECT c.id FROM claims c WHERE NOT EXISTS (SELECT 1 {messages(subject_type="'claim'", subject_id="c.id::text")})

Where a join needs a table, make a subquery of it, `(SELECT m.* {messages(…)}) m`: Postgres plans it like the table
itself. The columns that a statement may name are listed at each function. All times are aware. Compare them with
`outbox_now()`, the ledger's clock.
"""

from __future__ import annotations

from outbox.holds import IN_FORCE


def rows_of(table: str, alias: str, **equal: str | None) -> str:
    conditions = [f"{alias}.{column} = {value}" for column, value in equal.items() if value is not None]
    return f"FROM {table} {alias} WHERE {' AND '.join(conditions) or 'true'}"


def messages(
    *,
    subject_type: str | None = None,
    subject_id: str | None = None,
    job: str | None = None,
    queue: str | None = None,
    alias: str = "m",
) -> str:
    """Outstanding messages, those with these values only: one row for each piece of work that is not done.

    Columns: `id`, `job`, `queue`, `upstream`, `subject_type`, `subject_id` (text), `state` (`later`, `ready`,
    `published`, `running` or `parked`), `due_at`, `deadline_at`, `created_at`, `charged_attempts`, `unresolved_since`.
    Indexes: subject and job; queue with state; `due_at`; subject type with `deadline_at` of what is not parked.
    """
    return rows_of("outbox_messages", alias, subject_type=subject_type, subject_id=subject_id, job=job, queue=queue)


def attempts(
    *,
    subject_type: str | None = None,
    subject_id: str | None = None,
    message_id: str | None = None,
    alias: str = "a",
) -> str:
    """Attempts at messages, those with these values only, until retention deletes them; done work's included.

    Columns: `id` (in the order of their start), `message_id`, `subject_type`, `subject_id` (text), `job`, `upstream`,
    `purpose` (`write`, `look_up`, `read` or `give_up`), `status` (`try` while it is open, then `success`, `error`,
    `unknown` or `expired`), `started_at`, `finished_at`, `http_status`, `error_class`. Indexes: subject; message.
    """
    return rows_of("outbox_attempts", alias, subject_type=subject_type, subject_id=subject_id, message_id=message_id)


def history(*, subject_type: str, subject_id: str | None = None, alias: str = "h") -> str:
    """What happened to one subject, or to all of a type, until retention drops it; `id` gives the order.

    Columns: `id`, `at`, `subject_type`, `subject_id` (text), `what`, `moved_from`, `moved_to`, `actor`, `message_id`,
    `detail` (jsonb). Indexes: subject; subject of the rows `case.opened`.
    """
    return rows_of("outbox_history", alias, subject_type=subject_type, subject_id=subject_id)


def history_between(since: str, until: str) -> str:
    """What happened to anything from one time until just before another, with the columns of `history` under `h`.
    Index: `at`."""
    return f"FROM outbox_history h WHERE h.at >= {since} AND h.at < {until}"


def kept_since() -> str:
    """Since when history and attempts are kept: from before, they may have been dropped. `-infinity` while none were. A
    value in parentheses."""
    return "(SELECT kept_since FROM outbox_retention)"


def held_until(upstream: str) -> str:
    """When the holds in force on an upstream end; null when there is none. A value in parentheses."""
    return f"({IN_FORCE.format(upstream=upstream)})"


def open_reason(upstream: str) -> str:
    """Why an upstream's circuit breaker is open; null when it is closed, and when it is missing. A value in
    parentheses."""
    return f"(SELECT reason FROM outbox_breakers b WHERE b.upstream = {upstream} AND b.opened_at IS NOT NULL)"


def held_up(subject_type: str, subject_id: str) -> str:
    """Whether a subject has work to which nothing will happen at once: it waits for a later try, or its circuit breaker
    is open, held or missing. Work without an upstream counts as held up, too. A condition."""
    return f"""EXISTS (SELECT 1 FROM outbox_messages m LEFT JOIN outbox_breakers g ON g.upstream = m.upstream
                             WHERE m.subject_type = {subject_type} AND m.subject_id = {subject_id}
                               AND (g.upstream IS NULL OR g.opened_at IS NOT NULL OR m.state = 'later'
                                    OR {held_until("g.upstream")} IS NOT NULL))"""
