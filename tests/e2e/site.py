"""A person before the pages of `sandbox/site`, in a browser without scripts: follows links, fills in and sends forms.

Every page that comes is checked as a screen reader would meet it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import requests

from tests.pages import check_page


class Person:
    """One browser. `page` is the page that it shows, parsed, and `said` its text in one line."""

    def __init__(self, url: str, language: str = "en") -> None:
        self.url = url
        self.language = language
        self.session = requests.Session()
        self.session.trust_env = False
        self.page: Any = None

    @property
    def said(self) -> str:
        return " ".join(self.page.xpath("//main")[0].text_content().split())

    @property
    def heading(self) -> str:
        return " ".join(self.page.findtext(".//h1").split())

    @property
    def phone(self) -> str:
        return " ".join(self.page.get_element_by_id("phone-messages").text_content().split())

    def go(self, place: str) -> Person:
        return self._show(self.session.get(urljoin(self.url, place), timeout=60))

    def follow(self, text: str) -> Person:
        [link, *_] = [each for each in self.page.xpath("//a[@href]") if text in each.text_content()]
        return self.go(link.get("href"))

    def press(self, text: str, files: dict[str, tuple[str, bytes]] | None = None, **fields: str) -> Person:
        """Fill in the form that has this button, and press it. A field that the form does not have is an error."""
        [button, *_] = [each for each in self.page.xpath("//button") if text in each.text_content()]
        form = next(button.iterancestors("form"))
        assert set(fields) <= set(form.fields.keys()), (fields, list(form.fields.keys()))
        sent = {**dict(form.form_values()), **fields}
        if button.get("name"):
            sent[button.get("name")] = button.get("value")
        place = urljoin(self.url, form.get("action") or "")
        origin = {"Origin": "/".join(self.url.split("/")[:3])}
        reply = self.session.request(form.method, place, data=sent, files=files or None, headers=origin, timeout=120)
        return self._show(reply)

    def _show(self, reply: requests.Response) -> Person:
        assert "text/html" in reply.headers["Content-Type"], (reply.status_code, reply.headers)
        assert reply.status_code < 500, (reply.status_code, reply.text[:2000])
        self.url = reply.url
        self.page = check_page(reply.content, self.language)
        return self
