"""The pictures of docs/tour.md: `make tour` starts the whole system, walks the tour in a Chromium, and writes them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from sandbox.run import FOR_WATCHING
from sandbox.settings import OPERATOR
from sandbox.site.words import Words
from sandbox.system import Ports, System
from tests.e2e.chromium import CHROMIUM, opened, running_browser
from tests.e2e.visit import Visit

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tour"
# Of a picture in the repository, which everybody clones.
MOST_BYTES = 80_000
WIDE, PHONE = {"width": 1100, "height": 760}, {"width": 390, "height": 760}
COLOURS = 96


class Tour:
    """One walk, in the order of the page. `pictures` are its steps by the name of the picture that each leaves."""

    def __init__(self, page: Page, system: System) -> None:
        self.page = page
        self.system = system
        self.visit = Visit(page, Words("en"))
        self.claim_id = ""

    def people(self) -> None:
        self.page.goto("/?lang=en")
        self.visit.at("start.title")

    def outage(self) -> None:
        """A claim that is sent while BTSSS is away."""
        visit = self.visit
        visit.become("Ben Okafor", "check_in.identity")
        visit.press("form.continue", "check_in.details")
        for question in ("demographicsUpToDate", "nextOfKinUpToDate", "emergencyContactUpToDate"):
            visit.answer(question)
        visit.press("form.continue", "check_in.travel")
        visit.take_away("btsss")
        visit.answer("wants_travel")
        visit.answer("travelled", "check_in.travelled_text")
        self.page.locator("#switches-title").scroll_into_view_if_needed()

    def waiting(self) -> None:
        self.visit.press("check_in.finish", "claim.title")
        self.visit.sees("said.claim.pending", "next.claim.pending")
        self.claim_id = self.page.url.rpartition("/")[2]

    def breaker(self) -> None:
        """The same outage in the console, whose window is another one, as an operator's is."""
        self.page.goto(f"{self.system.url}/ops/")
        self.page.locator("#name").fill(OPERATOR)
        self.page.locator("#password").fill(self.system.secrets.operator_password)
        self.page.locator("#password").press("Enter")
        self.page.get_by_role("button", name="Log out").wait_for()
        self.page.goto(f"{self.system.url}/ops/breakers/btsss")
        self.page.get_by_role("heading", name="btsss: open").wait_for()

    def told(self) -> None:
        self.page.goto(f"/check-in/claims/{self.claim_id}")
        self.visit.mend("btsss")
        self.visit.sees("said.claim.submitted")
        self.visit.hears("We filed your travel claim")
        self.page.locator("h1").scroll_into_view_if_needed()

    def timeline(self) -> None:
        self.page.goto(f"{self.system.url}/ops/")
        self.page.locator("#wanted").fill(self.claim_id)
        self.page.locator("#wanted").press("Enter")
        self.page.get_by_role("heading", name="What happened").wait_for()

    def date_that_counts(self) -> None:
        self.visit.become("Pia Sorensen", "itf.title")
        while not self.page.get_by_text(self.visit.say("said.itf.confirmed")).count():
            # Until the first look is over nobody is told of a date.
            self.page.wait_for_timeout(500)
            self.page.reload()

    def refusal(self) -> None:
        visit = self.visit
        visit.follow("itf.go_on", "form.condition")
        self.page.locator("#condition").fill("Hearing loss")
        visit.press("form.continue", "form.documents")
        self._upload("notes.docx", "L023", b"PK\x03\x04")
        visit.sees("do.FILE")

    def documents(self) -> None:
        visit = self.visit
        self._upload("letter.txt", "L023", b"What the doctor wrote.\n")
        self.page.locator("main ul.usa-list li", has_text="letter.txt").wait_for()
        visit.follow("form.continue", "form.review")
        visit.press("form.submit", "form.sent")
        visit.sees("said.form.accepted", "said.document.received")
        self.page.locator(".site-item").last.scroll_into_view_if_needed()

    def _upload(self, name: str, kind: str, content: bytes) -> None:
        self.page.locator("#kind").select_option(kind)
        self.page.locator("#file").set_input_files([{"name": name, "mimeType": "text/plain", "buffer": content}])
        self.visit.press("form.upload")

    def travel_pay(self) -> None:
        visit = self.visit
        visit.become("Xavier Boone", "travel.title")
        self.page.locator("section h3 a").first.click()
        visit.at("travel.appointment")
        visit.take_away("travel_pay")
        self.page.locator("label[for='agree']").click()
        visit.press("travel.file", "travel.claim")
        visit.sees("said.pay.pending")

    def spanish(self) -> None:
        """The same promise, kept, on a phone."""
        self.visit.mend("travel_pay")
        self.visit.hears("We filed your travel claim")
        self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        self.page.goto("/my-submissions?lang=es")
        self.page.locator("#mine-pay").scroll_into_view_if_needed()

    def reference(self) -> None:
        self.page.goto(f"{self.system.url}/docs")
        self.page.get_by_role("heading", level=1).wait_for()

    def pictures(self) -> dict[str, Callable[[], None]]:
        return {name: getattr(self, name.removesuffix(".png").replace("-", "_")) for name in PICTURES}


PICTURES = (
    "people.png",
    "outage.png",
    "waiting.png",
    "breaker.png",
    "told.png",
    "timeline.png",
    "date-that-counts.png",
    "refusal.png",
    "documents.png",
    "travel-pay.png",
    "spanish.png",
    "reference.png",
)


def small(picture: bytes) -> bytes:
    """The same with few colours, as a PNG; raises ValueError for one that stays too large."""
    kept = BytesIO()
    Image.open(BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        kept, "PNG", optimize=True
    )
    if kept.tell() > MOST_BYTES:
        raise ValueError(f"a picture has {kept.tell()} bytes")
    return kept.getvalue()


def main() -> int:
    if CHROMIUM is None:
        print("The pictures need a Chromium: `make browser` installs it or says how", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="surefile-tour-") as folder:
        # PostgreSQL's account goes through it to the data.
        Path(folder).chmod(0o711)
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ports = [Ports(port, {}, 0) for port in range(8000, 18_000, 1000)]
        options = {"environ": {**FOR_WATCHING, **known}, "folder": Path(folder, "run")}
        with (
            System(ROOT, ports=ports, **options) as system,
            running_browser() as browser,
            opened(browser, system.site or "", viewport=WIDE) as page,
        ):
            for name, step in Tour(page, system).pictures().items():
                step()
                (FOLDER / name).write_bytes(small(page.screenshot()))
                print(name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
