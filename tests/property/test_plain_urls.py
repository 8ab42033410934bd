"""URLs that are sent as they are, without asking `requests`: only such as it would not change."""

from __future__ import annotations

import requests
from hypothesis import given
from hypothesis import strategies as st

from flaskapp.upstreams.transport.http import PLAIN_URL
from tests.property.test_document_statuses import profile


@profile(300)
@given(st.from_regex(PLAIN_URL, fullmatch=True))
def test_a_plain_url_is_what_requests_would_make_of_it(url: str) -> None:
    request = requests.PreparedRequest()
    request.prepare_url(url, {})
    assert request.url == url
