"""A few journeys through the whole product in this process, over HTTP as the crowd of a chaos run makes them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from flask import Flask
from werkzeug.serving import make_server

from jobs.housekeeping import poll_documents
from sandbox.chaos.journeys import Person, Promise
from sandbox.chaos.page import Page
from tests.product import Product

# Signed in twice, the second time with a letter that fails; at the clinic an ordinary person, one who filed at the
# kiosk before, and one whom BTSSS refuses.
JOURNEYS = (2, 50, 0, 3, 17)
PENDING = "SELECT count(*) FROM form526_document_submissions WHERE lighthouse_status = 'pending'"


@contextmanager
def served(app: Flask) -> Iterator[int]:
    """The application on a port, for pages that speak HTTP."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sync_only(product: Product) -> list[Promise]:
    promises: list[Promise] = []
    with served(product.app) as port:
        page = Page([f"127.0.0.1:{port}"], Counter(), threading.Event())
        with closing(Person(page, product.control, lambda: None, promises.append)) as person:
            for number in JOURNEYS:
                person.journey(number, days=1)
    product.work()
    while product.value(PENDING):
        poll_documents()
        product.work()
    return promises
