"""Prepared statements: what they conclude from values, and what they live through."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from flaskapp.db import db
from outbox import away, prepared
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.steps import file_claim, texts
from tests.product import Product

CHANGED = (
    *("outbox_messages", "outbox_attempts", "outbox_history", "outbox_breakers", "outbox_restores", "notifications"),
    *("travel_claims", "check_in_sessions", "idempotency_keys", "cases"),
)
LISTS = prepared("""
    SELECT CAST(CAST(:ids AS uuid[]) AS text[]) AS ids, CAST(:numbers AS int[]) AS numbers,
           (CAST(:sealed AS bytea[]))[1] = CAST(:first AS bytea) AS sealed
""")
KINDS = prepared("SELECT :part > 0 AS part, :whole + 1 AS whole, CAST(:name AS text) = 'x' AS named")


@contextmanager
def one_column_more(product: Product) -> Iterator[None]:
    """As a release adds it while the processes of the one before still run."""
    for table in CHANGED:
        product.rows(f"ALTER TABLE {table} ADD COLUMN added int; SELECT 1")
    try:
        yield
    finally:
        for table in CHANGED:
            product.rows(f"ALTER TABLE {table} DROP COLUMN added; SELECT 1")


def test_a_release_that_adds_columns_disturbs_no_statement_that_is_prepared(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    file_claim(product)
    product.work()
    assert product.value("SELECT count(*) FROM pg_prepared_statements") > 8
    with one_column_more(product):
        claim = file_claim(product, DEFAULT_CAST[1])
        product.work()
    assert (claim.state["state"], len(texts(product, 2))) == ("submitted", 2)
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_a_parameter_is_never_rounded_to_what_stands_beside_it(product: Product) -> None:
    with product.app.app_context(), db.engine.connect() as connection:
        for values in ((0.3, 2, "x"), (0.6, 2, None), (1, 2.5, "y")):
            part, whole, name = values
            row = connection.execute(KINDS, {"part": part, "whole": whole, "name": name}).one()
            assert tuple(row) == (True, whole + 1, None if name is None else name == "x")
        of_this = text("SELECT parameter_types[1:2]::text FROM pg_prepared_statements WHERE statement LIKE '%part%'")
        types = set(connection.execute(of_this).scalars())
        assert types == {'{"double precision",bigint}', '{bigint,"double precision"}'}


def test_lists_are_what_they_are_made_of(product: Product) -> None:
    ids = [str(uuid.uuid4())]
    with product.app.app_context(), db.engine.connect() as connection:
        for numbers in ([1, None], [None, None], []):
            values = {"ids": ids, "numbers": numbers, "sealed": [b"\0", None], "first": b"\0"}
            assert tuple(connection.execute(LISTS, values).one()) == (ids, numbers, True)


def test_what_a_session_forgot_fails_once_as_postgres_away(product: Product) -> None:
    with product.app.app_context(), db.engine.connect() as connection:
        values = {"part": 1, "whole": 1, "name": "x"}
        connection.execute(KINDS, values)
        connection.execute(text("DEALLOCATE ALL"))
        with pytest.raises(DBAPIError) as raised:
            connection.execute(KINDS, values)
        assert away.is_away(raised.value) and "forgot" in away.reason_of(raised.value)
        connection.rollback()
        assert connection.execute(KINDS, values).one().named
