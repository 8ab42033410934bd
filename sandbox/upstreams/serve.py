"""Start of the fakes: every upstream on its own loopback port, and one more port for the sandbox's own pages.

Importable (`with running_upstreams() as urls:`) and runnable (`python -m sandbox upstreams`).
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sandbox.upstreams.accounts import Accounts
from sandbox.upstreams.admin import admin
from sandbox.upstreams.btsss import BTSSS
from sandbox.upstreams.cast import Cast
from sandbox.upstreams.chip import CHIP
from sandbox.upstreams.control import Control
from sandbox.upstreams.documents import Documents
from sandbox.upstreams.fake import Fake
from sandbox.upstreams.form526 import Form526
from sandbox.upstreams.lighthouse import Lighthouse
from sandbox.upstreams.lorota import LoROTA
from sandbox.upstreams.phone import phone
from sandbox.upstreams.server import UpstreamServer
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.sign_in import SignIn
from sandbox.upstreams.sts import STS
from sandbox.upstreams.travel_pay import TravelPay
from sandbox.upstreams.va_notify import VANotify
from sandbox.upstreams.va_profile import VAProfile
from sandbox.upstreams.veis import VEIS

# Where `python -m sandbox upstreams` listens; tests take free ports.
PORTS = {
    "control": 8100,
    "veis": 8101,
    "btsss": 8102,
    "va_notify": 8103,
    "lorota": 8104,
    "chip": 8105,
    "sign_in": 8106,
    "accounts": 8107,
    "lighthouse": 8108,
    "documents": 8109,
    "form526": 8110,
    "travel_pay": 8111,
    "sts": 8112,
    "va_profile": 8113,
}


@dataclass(frozen=True)
class Fakes:
    """Every fake of one sandbox, with the state they share, and the control page over them."""

    settings: FakeSettings
    cast: Cast
    veis: VEIS
    btsss: BTSSS
    va_notify: VANotify
    lorota: LoROTA
    chip: CHIP
    sign_in: SignIn
    accounts: Accounts
    lighthouse: Lighthouse
    documents: Documents
    form526: Form526
    travel_pay: TravelPay
    sts: STS
    va_profile: VAProfile
    control: Control

    def each(self) -> list[Fake]:
        return list(self.control.fakes.values())

    def close(self) -> None:
        for fake in self.each():
            fake.close()

    def reset(self) -> None:
        """Everything as at the start: no faults, claims, messages, ITFs or uploads, and the first cast."""
        for fake in self.each():
            fake.reset()


class Upstreams(dict[str, str]):
    """Base URLs by name, as the product's settings take them, and `control`. `fakes` is the state behind them."""

    def __init__(self, fakes: Fakes, urls: Mapping[str, str]) -> None:
        super().__init__(urls)
        self.fakes = fakes

    def admin(self, name: str) -> str:
        """The admin API of one fake, e.g. `<control>/btsss/_sandbox`."""
        return f"{self['control']}/{name}/_sandbox"


def build_apps(settings: FakeSettings | None = None) -> Fakes:
    """Every fake and the control page, built but not listening."""
    known = settings or FakeSettings()
    cast = Cast()
    veis, va_notify = VEIS(known, cast), VANotify(known, cast)
    btsss, lorota, chip = BTSSS(known, cast, veis.tokens), LoROTA(known, cast), CHIP(known, cast)
    sign_in, accounts, lighthouse = SignIn(known, cast), Accounts(known, cast), Lighthouse(known, cast)
    documents, form526 = Documents(known, cast), Form526(known, cast)
    sts, va_profile = STS(known, cast), VAProfile(known, cast)
    travel_pay = TravelPay(known, cast, veis.resource_tokens, sts.tokens)
    listed = (veis, btsss, va_notify, lorota, chip, sign_in, accounts, lighthouse, documents, form526)
    fakes = (*listed, travel_pay, sts, va_profile)
    for fake in fakes:
        fake.app.register_blueprint(admin(fake), url_prefix="/_sandbox")
    va_notify.app.register_blueprint(phone(va_notify.phone, cast))
    control = Control(known, cast, fakes, va_notify)
    return Fakes(known, cast, *fakes, control)


@contextlib.contextmanager
def serve(
    ports: Mapping[str, int], settings: FakeSettings | None = None, address: str = "127.0.0.1"
) -> Iterator[Upstreams]:
    """Listen on the given ports until the block ends; a missing port is chosen freely. OSError for a taken port.

    Lighthouse's APIs share a host, so its port answers for Benefits Documents too.
    """
    with contextlib.ExitStack() as stack:
        fakes = build_apps(settings)
        stack.callback(fakes.close)
        urls = {}
        for fake in [*fakes.each(), fakes.control]:
            beside = {fakes.documents.base: fakes.documents} if fake is fakes.lighthouse else {}
            server = UpstreamServer(fake, ports.get(fake.name, 0), beside, address)
            stack.callback(server.stop)
            server.start()
            urls[fake.name] = server.url
        urls["btsss"] += f"/{fakes.settings.btsss_base_path}"
        yield Upstreams(fakes, urls)


def running_upstreams(settings: FakeSettings | None = None) -> contextlib.AbstractContextManager[Upstreams]:
    """All fakes on free ports, for tests."""
    return serve({}, settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, port in PORTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}-port", type=int, default=port, metavar="PORT")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; prints the URLs. Non-zero, and one line, when a port is taken."""
    ports = {name: getattr(args, f"{name}_port") for name in PORTS}
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with serve(ports) as urls:
            for name, url in urls.items():
                print(f"{name:10} {url}", flush=True)
            stop.wait()
    except OSError as error:
        print(f"cannot listen on ports {', '.join(map(str, ports.values()))}: {error}")
        return 1
    return 0
