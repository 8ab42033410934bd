"""Start and stop of the fakes: ports, several sandboxes at once, and nothing left behind."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from flaskapp.config import setting_names
from sandbox.faults import UPSTREAMS
from sandbox.upstreams.serve import running_upstreams, serve
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.switches import fault_from
from tests.contract.receiver import eventually

NAMES = [*UPSTREAMS, "control"]


def ports_of(urls: dict[str, str]) -> dict[str, int]:
    return {name: urlsplit(url).port or 0 for name, url in urls.items()}


def test_every_upstream_has_a_port_of_its_own_on_loopback() -> None:
    with running_upstreams() as urls:
        assert sorted(urls) == sorted(NAMES)
        assert len(set(ports_of(urls).values())) == len(NAMES)
        assert {urlsplit(url).hostname for url in urls.values()} == {"127.0.0.1"}
        assert urls["btsss"].endswith("/EC/ClaimIngestSvc")


def test_two_sandboxes_know_nothing_of_each_other() -> None:
    with running_upstreams() as one, running_upstreams() as two:
        one.fakes.chip.faults.add(fault_from({"kind": "status"}))
        assert requests.get(f"{one['chip']}/token").status_code == 503
        assert requests.get(f"{two['chip']}/token").status_code == 405


def test_the_same_ports_can_be_taken_again_at_once() -> None:
    with running_upstreams() as urls:
        ports = ports_of(urls)
        requests.get(urls["control"])
    with serve(ports) as again:
        assert ports_of(again) == ports
        assert requests.get(again["control"]).status_code == 200


def test_a_taken_port_is_an_error_and_leaves_nothing_running() -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"), serve({"chip": port}):
            pass
    eventually(lambda: threading.active_count() <= before)


def test_a_stop_does_not_wait_for_slow_answers() -> None:
    with ThreadPoolExecutor(1) as hand:
        with running_upstreams() as urls:
            urls.fakes.chip.faults.add(fault_from({"kind": "slow", "seconds": 60}))
            waiting = hand.submit(requests.get, f"{urls['chip']}/token")
            eventually(lambda: urls.fakes.chip.received.listed("/token"))
            started = time.monotonic()
        assert time.monotonic() - started < 30
        assert waiting.exception(30) or waiting.result().status_code == 405


def test_the_settings_name_every_upstream_setting_the_product_requires() -> None:
    given = FakeSettings().environment(dict.fromkeys(NAMES, "http://127.0.0.1"))
    of_identity = ("LOROTA_", "CHIP_", "ACCOUNTS_", "VA_PROFILE_", "STS_")
    prefixes = (*of_identity, "VEIS_", "BTSSS_", "VANOTIFY_", "LIGHTHOUSE_", "FORM526_", "TRAVEL_PAY_")
    required = {name for name, item in setting_names().items() if item.metadata["required"]}
    assert {name for name in required if name.startswith(prefixes)} == set(given) - {"SIS_JWKS_URL"}
    assert "SIS_JWKS_URL" in setting_names()
