"""A few visits to the whole product in this process, over HTTP as the crowd of a chaos run makes them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from flask import Flask
from werkzeug.serving import make_server

from jobs.housekeeping import poll_documents
from sandbox.chaos.page import Page
from sandbox.chaos.visits import Promise, Visitor
from tests.house import House

# Signed in twice, the second time with a letter that fails; at the clinic a usual person, one who filed at the kiosk
# before, and one whom BTSSS refuses.
VISITS = (2, 50, 0, 3, 17)
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


def visited(house: House) -> list[Promise]:
    promises: list[Promise] = []
    with served(house.app) as port:
        page = Page(port, Counter(), threading.Event())
        with closing(Visitor(page, house.control, lambda: None, promises.append)) as visitor:
            for number in VISITS:
                visitor.visit(number, days=1)
    house.work()
    while house.value(PENDING):
        poll_documents()
        house.work()
    return promises
