"""The cache of travel pay answers, where a setting asks for one: for one person, sealed, dated, ended by a write."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from flaskapp.redis_pool import bounded_pool
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration import travel_pay_steps as steps
from tests.integration.itf_steps import pass_time
from tests.integration.steps import publish, reconfigure
from tests.integration.travel_pay_reading import ALWAYS, LIST, book, mend, plant, reads, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, READ, traveling
from tests.product import Product

BEN = DEFAULT_CAST[1]
KEPT = "surefile:travel_pay:*"


@pytest.fixture
def caching(product: Product) -> Product:
    reconfigure(product, travel_pay_cache_seconds=30.0)
    return product


def kept(product: Product) -> list[bytes]:
    return sorted(product.redis.keys(KEPT))


def age(response: Any) -> tuple[int | None, bool | None, str | None]:
    """The age of an answer, in its metadata and in its header."""
    attributes = response.get_json()
    attributes = attributes.get("metadata", attributes)
    return attributes.get("ageSeconds"), attributes.get("stale"), response.headers.get("Age")


def test_nothing_is_cached_unless_the_setting_says_so(product: Product) -> None:
    person, filed = traveling(product), plant(product)
    for _ in range(2):
        assert age(person.get(CLAIMS_URL)) == age(person.get(f"{CLAIMS_URL}/{filed['id']}")) == (None, None, "0")
    assert kept(product) == []
    assert (reads(product, LIST), reads(product, f"{READ}/{filed['id']}")) == (4, 2)


def test_a_second_read_calls_no_upstream_and_says_how_old_it_is(caching: Product) -> None:
    person, filed = traveling(caching), plant(caching)
    one = f"{CLAIMS_URL}/{filed['id']}"
    first = [person.get(CLAIMS_URL), person.get(CLAIMS_URL, **ALWAYS), person.get(one)]
    before = reads(caching)
    pass_time(caching, seconds=20)
    again = [person.get(CLAIMS_URL), person.get(CLAIMS_URL, **ALWAYS), person.get(one)]
    assert reads(caching) == before
    for new, old in zip(again, first, strict=True):
        seconds, stale, header = age(new)
        assert seconds is not None and 20 <= seconds <= 25 and header == str(seconds) and stale is False
        assert new.get_json().get("data") == old.get_json().get("data")
    assert again[2].get_json()["claimNumber"] == filed["claimNumber"]
    pass_time(caching, seconds=11)
    assert age(person.get(CLAIMS_URL)) == (None, None, "0")
    assert reads(caching) == before + 1


def test_an_incomplete_answer_is_not_cached(caching: Product) -> None:
    person, filed = traveling(caching), plant(caching)
    caching.control.set("travel_pay", "status", status=500, operation="/documents")
    assert "documentsMessage" in person.get(f"{CLAIMS_URL}/{filed['id']}").get_json()
    assert kept(caching) == []
    mend(caching)
    assert "documentsMessage" not in person.read(f"{CLAIMS_URL}/{filed['id']}")
    assert len(kept(caching)) == 1


def test_nobody_else_sees_it_and_redis_holds_nothing_readable(caching: Product) -> None:
    person, filed = traveling(caching), plant(caching)
    person.read(CLAIMS_URL)
    person.read(f"{CLAIMS_URL}/{filed['id']}")
    assert traveling(caching, BEN).read(CLAIMS_URL)["data"] == []
    assert refusal(traveling(caching, BEN).get(f"{CLAIMS_URL}/{filed['id']}")) == (404, "404")
    everything = b" ".join(key + b" " + (caching.redis.get(key) or b"") for key in kept(caching))
    assert len(kept(caching)) == 3
    secrets = (filed["id"], filed["claimNumber"], filed["facilityName"], person.signed.veteran.account)
    for word in (*secrets, person.signed.veteran.icn, "claims", "ClaimSubmitted", "Claim submitted"):
        assert word.encode() not in everything
    assert all(0 < caching.redis.pttl(key) <= 3_630_000 for key in kept(caching))


def test_a_write_and_every_later_step_drop_the_cached_answers(caching: Product) -> None:
    person, other = traveling(caching), traveling(caching, BEN)
    person.read(CLAIMS_URL), other.read(CLAIMS_URL)
    person.file()
    seen = []
    while caching.outstanding() and len(seen) < 6:
        before = reads(caching, LIST)
        seen.append([item["claimStatus"] for item in person.read(CLAIMS_URL)["data"]])
        assert reads(caching, LIST) == before + 1
        person.read(CLAIMS_URL)
        assert reads(caching, LIST) == before + 1
        if steps.row(caching)["state"] != "pending":
            break
        publish(caching)
        caching.run_queued()
    assert seen == [["Received"], ["Received"], ["Incomplete"], ["Saved"], ["Claim submitted"]]
    before = reads(caching)
    assert other.read(CLAIMS_URL)["data"] == []
    assert reads(caching) == before


def test_an_older_answer_is_shown_and_marked_when_a_newer_one_cannot_be_read(caching: Product) -> None:
    person, filed = traveling(caching), plant(caching)
    one = f"{CLAIMS_URL}/{filed['id']}"
    person.read(CLAIMS_URL), person.read(one)
    pass_time(caching, seconds=600)
    for kind, fields in (("status", {"status": 500}), ("drop", {}), ("throttle", {}), ("html", {"status": 404})):
        caching.control.set("travel_pay", kind, **fields)
        for _ in range(2):
            for path in (CLAIMS_URL, one):
                seconds, stale, header = age(person.get(path))
                assert seconds is not None and 600 <= seconds < 660 and stale and header == str(seconds), kind
        mend(caching)
    caching.control.set("travel_pay", "status", status=500)
    assert refusal(person.get(CLAIMS_URL, **ALWAYS))[0] in (500, 503)
    mend(caching)
    assert age(person.get(CLAIMS_URL)) == (None, None, "0")


def test_a_claim_that_is_gone_is_not_hidden_behind_an_older_answer(caching: Product) -> None:
    person, filed = traveling(caching), plant(caching)
    one = f"{CLAIMS_URL}/{filed['id']}"
    person.read(one)
    pass_time(caching, seconds=31)
    del book(caching).claims[filed["id"]]
    assert refusal(person.get(one)) == (404, "404")


def test_without_redis_or_with_garbage_in_it_upstream_is_called_again(caching: Product) -> None:
    person, filed = traveling(caching), plant(caching)
    person.read(CLAIMS_URL)
    (key,) = kept(caching)
    sealed = caching.redis.get(key)
    for junk in (b"junk", b"", sealed[:-9], None):
        caching.redis.delete(key) if junk is None else caching.redis.set(key, junk)
        before = reads(caching, LIST)
        assert [item["id"] for item in person.read(CLAIMS_URL)["data"]] == [filed["id"]]
        assert reads(caching, LIST) == before + 1
        assert caching.redis.get(key) not in (junk, None)
    caching.app.extensions["redis"] = Redis(connection_pool=bounded_pool("redis://127.0.0.1:1", True, 2))
    for expected in (1, 2):
        before = reads(caching, LIST)
        assert age(person.get(CLAIMS_URL)) == (None, None, "0"), expected
        assert reads(caching, LIST) == before + 1
