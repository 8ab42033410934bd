"""A window before the pages of `sandbox/site`: what a person does there, and what they must come to see."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Page

from sandbox.site.words import Words
from sandbox.upstreams.cast import EVERYBODY, Veteran


def named(name: str) -> Veteran:
    return next(person for person in EVERYBODY if person.name == name)


@dataclass
class Visit:
    """Texts are named by their keys in the catalogue. Each step ends when the page that it leads to is there."""

    page: Page
    say: Words

    def become(self, name: str, heading: str) -> Veteran:
        self.page.goto(f"/?lang={self.say.language}")
        self.press("start.be", heading, name=name)
        return named(name)

    def press(self, key: str, heading: str | None = None, **values: str) -> None:
        self.page.get_by_role("button", name=self.say(key, **values), exact=True).first.click()
        if heading:
            self.at(heading)

    def follow(self, key: str, heading: str | None = None) -> None:
        self.page.get_by_role("link", name=self.say(key), exact=True).first.click()
        self.at(heading or key)

    def answer(self, name: str, answer: str = "form.yes") -> None:
        """Radio buttons and check boxes are drawn by their labels."""
        group = self.page.locator(f"fieldset:has([name='{name}'])")
        group.locator("label", has_text=self.say(answer)).first.click()

    def take_away(self, upstream: str) -> None:
        self._flip(upstream, "world.do_refusing", "world.do_ok")

    def mend(self, upstream: str) -> None:
        self._flip(upstream, "world.do_ok", "world.do_refusing")

    def _flip(self, upstream: str, pressed: str, offered: str) -> None:
        name = self.say(f"world.name_{upstream}")
        self.press(pressed, name=name)
        self.page.get_by_role("button", name=self.say(offered, name=name), exact=True).wait_for()

    def at(self, key: str) -> None:
        self.page.get_by_role("heading", level=1, name=self.say(key), exact=True).wait_for()

    def sees(self, *keys: str) -> None:
        for key in keys:
            self.reads(self.say(key))

    def reads(self, text: str) -> None:
        self.page.locator("main").get_by_text(text).first.wait_for()

    def hears(self, text: str) -> None:
        """It is on the phone beside the page, or among the e-mails there."""
        self.page.locator("#phone-messages").get_by_text(text).first.wait_for()
