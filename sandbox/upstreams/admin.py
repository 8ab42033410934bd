"""The admin API of every fake: its faults, its journal and its knobs, over HTTP.

It is under `/_sandbox` of the fake itself and under `/<name>/_sandbox` of the control app, where it still answers while
the fake refuses connections.
"""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response, request

from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.switches import BadFault, fault_from


def admin(fake: Fake) -> Blueprint:
    """The admin API of one fake, without its prefix."""
    surface = Blueprint(f"admin_{fake.name}", __name__)
    surface.register_error_handler(BadRequest, _explained)
    surface.register_error_handler(BadFault, _explained)
    _switch_routes(surface, fake)
    _state_routes(surface, fake)
    fake.admin_routes(surface)
    return surface


def _explained(error: Exception) -> Response:
    return answer({"error": str(error)}, 400)


def _switch_routes(surface: Blueprint, fake: Fake) -> None:
    @surface.get("/faults")
    def listed() -> Response:
        return answer(fake.faults.listed())

    @surface.post("/faults")
    def added() -> Response:
        fake.faults.add(fault_from(json_body()))
        return answer(fake.faults.listed(), 201)

    @surface.delete("/faults")
    def cleared() -> Response:
        fake.faults.clear(request.args.get("kind"))
        return answer(fake.faults.listed())


def _state_routes(surface: Blueprint, fake: Fake) -> None:
    @surface.get("/received")
    def received() -> Response:
        return answer(fake.received.listed(request.args.get("operation", "")))

    @surface.post("/reset")
    def reset() -> Response:
        fake.reset()
        return answer({"reset": fake.name})

    @surface.get("/knobs")
    def knobs() -> Response:
        return answer(asdict(fake.knobs))

    @surface.post("/knobs")
    def turned() -> Response:
        fake.turn(json_body())
        return answer(asdict(fake.knobs))
