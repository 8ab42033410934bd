"""Addresses that nobody has a reason to request: each is answered in our words, and is never our fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import log_in
from tests.hostile.test_every_operation import WRITTEN, count
from tests.integration.itf_steps import sign_in
from tests.product import Product

NOBODYS = "0c4f6d1e-0000-4000-8000-00000000aa01"
# What is put where a text, an id or a number is expected, as it goes over the wire.
ODD = [
    "%00",
    f"{NOBODYS}%00",
    "a%00b",
    "%ED%A0%80",
    "%FF%FE",
    "%C0%AF..%C0%AF",
    "..%2F..%2Fetc%2Fpasswd",
    "%2E%2E",
    "%0D%0ASet-Cookie:%20a=b",
    "%F0%9F%98%80",
    "%E2%80%AE",
    "'%20OR%201=1--",
    "%7B%7B7*7%7D%7D",
    "-1",
    "99999999999999999999999999",
    "1e999",
    "x" * 3_000,
]


ODD_QUERIES = ("%00", "%FF%FE", "99999999999999999999999999", "0001-01-01T00:00:00%2B23:59")
# What is the same for every request, and slow to make.
ALIKE = ("/docs", "/metrics", "/openapi.json", "/static", "/rq/static")


def addresses(product: Product) -> Iterator[str]:
    """Something odd in each variable part of every route that has one, and in the query of every other."""
    for rule in product.app.url_map.iter_rules():
        if "<" in rule.rule:
            for odd in ODD:
                yield re.sub(r"<[^>]+>", lambda _, odd=odd: odd, rule.rule)  # type: ignore[misc]
        elif not rule.rule.startswith(ALIKE):
            for odd in ODD_QUERIES:
                yield f"{rule.rule}?start_date={odd}&end_date={odd}&start={odd}&end={odd}&next={odd}&{odd}={odd}"


def test_no_address_is_our_fault_and_reading_one_writes_nothing(product: Product, secrets_folder: Path) -> None:
    """The caller is signed in, and an operator too, so that nothing is refused for want of a log-in."""
    operator = product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    headers, before, requested = sign_in(product).headers, count(product, *WRITTEN), 0
    for address in addresses(product):
        with operator.get(address, headers=headers) as response:
            assert response.status_code < 500, (address, response.text)
            assert "a=b" not in response.headers.get("Set-Cookie", ""), address
        requested += 1
    assert requested > 300
    assert count(product, *WRITTEN) == before
