"""The 526 page's own sequence of calls, in a browser: sign in, look, find nothing, request an ITF, look again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.integration.itf_steps import itfs
from tests.integration.steps import listening
from tests.product import ADA, Product


@pytest.fixture
def page(product: Product) -> Iterator[requests.Session]:
    """A browser that has signed in at the Sign-in Service, and whose cookies reach our own server too."""
    with requests.Session() as browser:
        browser.trust_env = False
        signed_in = browser.post(f"{product.fakes['sign_in']}/", data={"account": ADA.account}, timeout=30)
        assert signed_in.status_code == 200 and "vagov_access_token" in browser.cookies
        browser.headers.update({"X-Key-Inflection": "camel", "Source-App-Name": "526EZ-all-claims"})
        yield browser


def test_a_page_requests_an_itf_with_the_csrf_token_that_it_received(product: Product, page: requests.Session) -> None:
    with listening(product.app) as url:
        here = f"{url}/v0/intent_to_file"
        first = page.get(here, timeout=30)
        assert first.json()["data"]["attributes"]["intentToFile"] == []
        assert {"X-CSRF-Token", "X-Session-Expiration"} <= first.headers.keys()
        without = page.post(f"{here}/compensation", timeout=30)
        assert (without.status_code, without.json()["errors"][0]["code"], itfs(product)) == (403, "CSRF", [])
        with_token = {"X-CSRF-Token": first.headers["X-CSRF-Token"]}
        created = page.post(f"{here}/compensation", headers=with_token, timeout=30)
        made = created.json()["data"]["attributes"]["intentToFile"]
        assert (created.status_code, made["status"], made["recordState"]) == (202, "active", "pending")
        seen = [page.get(address, timeout=30).json() for address in (here, f"{here}/", f"{here}/compensation")]
        assert [each["data"]["attributes"]["intentToFile"] for each in seen] == [[made]] * 3
        product.work()
        again = page.post(f"{here}/compensation", headers=with_token, timeout=30)
        assert (again.status_code, again.json()["data"]["attributes"]["intentToFile"]["recordState"]) == (
            200,
            "confirmed",
        )
    assert len(itfs(product)) == 1


def test_a_page_with_an_expired_token_must_refresh_it_and_nothing_is_recorded(
    product: Product, page: requests.Session
) -> None:
    over = product.control.call("POST", "sign_in", "tokens", json={"account": ADA.account, "seconds": -5})
    page.cookies.clear()
    page.cookies.set("vagov_access_token", over["access_token"])
    with listening(product.app) as url:
        for response in (
            page.get(f"{url}/v0/intent_to_file", timeout=30),
            page.post(f"{url}/v0/intent_to_file/compensation", timeout=30),
        ):
            assert (response.status_code, response.json()) == (403, {"errors": "Access token has expired"})
    assert itfs(product) == []
