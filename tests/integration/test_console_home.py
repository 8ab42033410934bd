"""Home: what each flow did, counted every minute and drawn; what is outstanding, as of the last look."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from flaskapp.db import db
from jobs import housekeeping
from jobs.periodic.scheduler import LedgerScheduler
from outbox import rescue
from tests.integration.console_steps import logged_in, read
from tests.integration.steps import file_claim
from tests.product import Product

COUNTED = """
    SELECT event, sum(count), sum(seconds) > 0 FROM work_counts
     WHERE width = 'minute' AND subject_type = 'travel_claim' AND event <> 'waiting' GROUP BY 1 ORDER BY 1
"""
MOST_WAITING = "SELECT max(count) FROM work_counts WHERE event = 'waiting' AND subject_type = 'travel_claim'"
DONE = [("accepted", 3, False), ("failed", 1, False), ("filed", 1, True), ("told", 2, False)]


def test_what_flows_did_is_counted_by_the_minute_and_shown_without_a_scan(
    product: Product, secrets_folder: Path
) -> None:
    operator = logged_in(product, secrets_folder)
    page = read(operator, "/ops/")
    assert "Nothing has been counted yet" in page
    product.control.play("btsss", "refused")
    file_claim(product)
    product.work()
    product.control.play("btsss", "ok")
    file_claim(product, date="2031-03-05")
    product.work()
    file_claim(product, date="2031-03-06")
    product.move_clock(timedelta(minutes=2))
    for _ in range(2):
        housekeeping.count_minutes()
        assert product.rows(COUNTED) == DONE
    assert product.rows(COUNTED.replace("minute", "hour")) == DONE
    assert product.value(MOST_WAITING) == 1
    rescue.beat(db.engine, "worker-1", "worker", "v7")
    LedgerScheduler(product.redis).tick()
    page = read(operator, "/ops/")
    row = re.search(r'<th scope="row">travel claim</th>(.*?)</tr>', page)
    assert row and re.findall(r"<td>(\d+)<br><svg class=\"bar", row[1]) == ["3", "1", "2", "0"]
    assert "at most 3, at" in row[1] and "s on average" in row[1]
    assert "Open cases: 1" in page and "v7" in page and "<td>minutes</td>" in page
    assert "travel_claims</td>" in page and "As of" in page
    assert "script-src 'self'" in operator.get("/ops/").headers["Content-Security-Policy"]
    assert '<meta http-equiv="refresh"' in page and '<meta http-equiv="refresh"' not in read(
        operator, "/ops/?still=yes"
    )
    product.move_clock(timedelta(minutes=40))
    assert "Nothing has been counted for" in read(operator, "/ops/")
    product.move_clock(timedelta(hours=30))
    housekeeping.retain()
    assert {each.width for each in product.rows("SELECT width FROM work_counts")} == {"hour"}
