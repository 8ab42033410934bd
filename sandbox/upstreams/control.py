"""The sandbox's own page and API: the admin APIs of all fakes in one address, the switches, and the veteran's phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flask import render_template, request
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from sandbox.upstreams.admin import admin
from sandbox.upstreams.cast import HABITS, Cast
from sandbox.upstreams.fake import Fake, answer
from sandbox.upstreams.phone import phone
from sandbox.upstreams.scenarios import SCENARIOS
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.switches import KINDS, fault_from
from sandbox.upstreams.va_notify import VANotify


class Control(Fake):
    """Not an upstream: it holds the others, and answers while they refuse connections."""

    name = "control"

    def __init__(self, settings: FakeSettings, cast: Cast, fakes: Sequence[Fake], va_notify: VANotify) -> None:
        self.fakes = {fake.name: fake for fake in fakes}
        super().__init__(settings, cast)
        self.app.register_blueprint(phone(va_notify.phone, cast))
        for fake in fakes:
            self.app.register_blueprint(admin(fake), url_prefix=f"/{fake.name}/_sandbox")

    def first_knobs(self) -> None:
        return None

    def routes(self) -> None:
        self.app.template_folder = str(Path(__file__).parent.parent / "templates")
        self.app.add_url_rule("/", view_func=self.switches)
        self.app.add_url_rule("/scenario", view_func=self.choose, methods=["POST"])
        self.app.add_url_rule("/reset", view_func=self.reset_all, methods=["POST"])

    def switches(self) -> str:
        return render_template(
            "switches.html", fakes=self.fakes.values(), kinds=KINDS, habits=HABITS, scenarios=SCENARIOS
        )

    def choose(self) -> Response:
        fake, scenario = self.fakes.get(request.form.get("upstream", "")), request.form.get("scenario")
        if fake is None or scenario not in SCENARIOS or not SCENARIOS[scenario].fits(fake.name):
            return answer({"error": "no such upstream, or no such scenario there"}, 400)
        play(fake, scenario)
        return redirect("./", 303)

    def reset_all(self) -> Response:
        for fake in self.fakes.values():
            fake.reset()
        return answer({"reset": list(self.fakes)})


def play(fake: Fake, scenario: str) -> None:
    """Replace the faults of one fake, and its habit if it has one; raises KeyError for an unknown scenario."""
    chosen = SCENARIOS[scenario]
    fake.faults.clear()
    for fault in chosen.faults:
        fake.faults.add(fault_from(dict(fault)))
    if hasattr(fake.knobs, "habit"):
        fake.turn({"habit": chosen.habit})
