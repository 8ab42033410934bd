"""One product for all tests of the simulator in a process: a database of its own, and no other server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases import TemplateDatabase
from tests.simulator.product import Product, simulated_config


@pytest.fixture(scope="session")
def simulated(migrated: TemplateDatabase, secrets_folder: Path) -> Iterator[Product]:
    with migrated.copied() as url:
        product = Product(simulated_config(url, secrets_folder))
        yield product
        product.close()
