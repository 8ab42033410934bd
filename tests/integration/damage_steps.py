"""Steps for tests in which Postgres refuses a change to one row, or cuts the connection that makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs import housekeeping
from jobs.periodic.isolated import PartsFailed
from tests.product import Product

# Like a constraint: this row cannot be written.
REFUSED = "RAISE EXCEPTION 'in the way' USING ERRCODE = 'check_violation'"
# Like a restart: the process that writes this row loses its connection.
CUT_OFF = "PERFORM pg_terminate_backend(pg_backend_pid())"


@contextmanager
def in_the_way(product: Product, event: str, where: str, then: str = REFUSED) -> Iterator[None]:
    """Within the block, Postgres does `then` at every `event` (`UPDATE ON cases`, say) on rows that match `where`."""
    table = event.rpartition(" ")[2]
    body = f"BEGIN IF {where} THEN {then}; END IF; RETURN NEW; END"
    product.rows(f"CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS $${body}$$; SELECT 1")
    product.rows(f"CREATE TRIGGER stand BEFORE {event} FOR EACH ROW EXECUTE FUNCTION stand(); SELECT 1")
    yield
    product.rows(f"DROP TRIGGER stand ON {table}; DROP FUNCTION stand; SELECT 1")


def overdue(product: Product, subject_id: str, hours: float = 1.0) -> None:
    """Its wall-clock limit passed so many hours ago, and so did its deadline."""
    product.rows(
        "UPDATE outbox_messages SET state = 'ready', give_up_at = outbox_now() - make_interval(secs => :seconds),"
        " deadline_at = outbox_now() - interval '1 minute' WHERE subject_id = :id RETURNING 1",
        seconds=hours * 3600,
        id=subject_id,
    )


def failing_sweep(product: Product) -> str:
    """Run a sweep that did all it could but failed in some part; returns its message."""
    product.beat()
    try:
        housekeeping.sweep()
    except PartsFailed as failed:
        return str(failed)
    raise AssertionError("every part succeeded")


def cases_of(product: Product, subject_id: str) -> list[str]:
    query = "SELECT kind FROM cases WHERE subject_id = :id AND closed_at IS NULL ORDER BY kind"
    return [row.kind for row in product.rows(query, id=subject_id)]
