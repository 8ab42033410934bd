"""Steps of tests in which one row is in the way: Postgres refuses it, or loses the connection over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs import housekeeping
from jobs.periodic.isolated import PartsFailed
from tests.product import Product

# As a constraint would: this row cannot be written as it is.
REFUSED = "RAISE EXCEPTION 'in the way' USING ERRCODE = 'check_violation'"
# As a restart would: whoever writes it loses the connection.
CUT_OFF = "PERFORM pg_terminate_backend(pg_backend_pid())"


@contextmanager
def in_the_way(product: Product, event: str, where: str, then: str = REFUSED) -> Iterator[None]:
    """While it lasts, Postgres does this to whoever makes this change (`UPDATE ON cases`, say) where it applies."""
    table = event.rpartition(" ")[2]
    body = f"BEGIN IF {where} THEN {then}; END IF; RETURN NEW; END"
    product.rows(f"CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS $${body}$$; SELECT 1")
    product.rows(f"CREATE TRIGGER stand BEFORE {event} FOR EACH ROW EXECUTE FUNCTION stand(); SELECT 1")
    yield
    product.rows(f"DROP TRIGGER stand ON {table}; DROP FUNCTION stand; SELECT 1")


def overdue(product: Product, subject_id: str, hours: float = 1.0) -> None:
    """Its wall-clock limit passed so long ago, and its deadline with it."""
    product.rows(
        "UPDATE outbox_messages SET state = 'ready', give_up_at = outbox_now() - make_interval(secs => :seconds),"
        " deadline_at = outbox_now() - interval '1 minute' WHERE subject_id = :id RETURNING 1",
        seconds=hours * 3600,
        id=subject_id,
    )


def failing_sweep(product: Product) -> str:
    """What a sweep says that did all it could."""
    product.beat()
    try:
        housekeeping.sweep()
    except PartsFailed as failed:
        return str(failed)
    raise AssertionError("every part of it went well")


def cases_of(product: Product, subject_id: str) -> list[str]:
    query = "SELECT kind FROM cases WHERE subject_id = :id AND closed_at IS NULL ORDER BY kind"
    return [row.kind for row in product.rows(query, id=subject_id)]
