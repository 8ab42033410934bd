"""The two scenes that a seed may play: people at the clinic with their claims, or signed in with ITFs and forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from flaskapp.accounts.service import ACCOUNTS as ACCOUNTS_QUEUE
from flaskapp.accounts.service import Identity, ensure_account, remember_person
from flaskapp.db import transaction
from flaskapp.flows import Flows
from flaskapp.form526.documents import DOCUMENTS
from flaskapp.form526.service import FORM526
from flaskapp.intent_to_file.service import INTENTS_TO_FILE
from flaskapp.notifications.service import NOTIFICATIONS
from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from outbox import QueueSpec
from tests.simulator.hub import Hub, Task
from tests.simulator.processes import Processes
from tests.simulator.product import AT_THE_CLINIC, SIGNED_IN, Product
from tests.simulator.promises import WRONG_AT_THE_CLINIC, check_claims
from tests.simulator.promises_signed_in import WRONG_SIGNED_IN, check_signed_in
from tests.simulator.signed_in import (
    ACCOUNTS,
    Accounts,
    Form526,
    LighthouseClaims,
    LighthouseDocuments,
    icn_of,
)
from tests.simulator.upstreams import BTSSS, Fate, Upstream, VANotify

PEOPLE = 3
# Of so many seeds, one is played by signed-in people.
SIGNED_IN_EVERY = 3
Upstreams = dict[str, Upstream]


@dataclass(frozen=True)
class Scene:
    """`elsewhere` puts on record what somebody else filed; `place` is where a worker that stops does most harm.

    `events` is how many a story has: what is done in more steps needs more of them. Some stories begin in the middle:
    `first` was requested before them, and its work in `first_queues` done without any trouble.
    """

    flows: Flows
    queues: tuple[QueueSpec, ...]
    upstreams: tuple[type[Upstream], ...]
    ask: Callable[[Processes, Random], None]
    elsewhere: Callable[[Upstreams, Random], None]
    place: str
    wrong_now: str
    check: Callable[[Product, dict[str, str], Upstreams], None]
    events: int
    prepare: Callable[[Product, Random], None] = lambda product, rng: None
    first: Callable[[Processes, Random], None] | None = None
    first_queues: tuple[QueueSpec, ...] = ()


def ask_for_claim(processes: Processes, rng: Random) -> None:
    processes.ask(f"ICN{rng.randrange(PEOPLE)}")


def file_at_kiosk(upstreams: Upstreams, rng: Random) -> None:
    btsss, icn = upstreams["btsss"], f"ICN{rng.randrange(PEOPLE)}"
    assert isinstance(btsss, BTSSS)
    btsss.let_time_pass()
    if icn not in btsss.holds:
        btsss.file(icn)


def check_clinic(product: Product, accepted: dict[str, str], upstreams: Upstreams) -> None:
    btsss, va_notify = upstreams["btsss"], upstreams["va_notify"]
    assert isinstance(btsss, BTSSS) and isinstance(va_notify, VANotify)
    check_claims(product, accepted, btsss, va_notify)


def ask_signed_in(processes: Processes, rng: Random) -> None:
    account = rng.choice(ACCOUNTS)
    if rng.random() < 0.5:
        processes.ask_for_itf(account)
    else:
        processes.send_form(account, f"{icn_of(account)}{rng.choice('ab')}")


def remember_some(product: Product, rng: Random) -> None:
    """Most people were here before, so we know who they are."""
    with product.apps["product"].app_context(), transaction() as session:
        for account in ACCOUNTS:
            if rng.random() < 0.8:
                ensure_account(session, account)
                remember_person(session, account, Identity(icn_of(account), f"P-{icn_of(account)}"))


def send_form(processes: Processes, rng: Random) -> None:
    processes.send_form(rng.choice(ACCOUNTS), "before")


def file_at_office(upstreams: Upstreams, rng: Random) -> None:
    lighthouse, icn = upstreams["lighthouse_claims"], icn_of(rng.choice(ACCOUNTS))
    assert isinstance(lighthouse, LighthouseClaims)
    lighthouse.let_time_pass()
    if icn not in lighthouse.holds:
        lighthouse.file(icn)


CLINIC = Scene(
    AT_THE_CLINIC,
    (TRAVEL_CLAIMS, NOTIFICATIONS),
    (BTSSS, VANotify),
    ask_for_claim,
    file_at_kiosk,
    "before btsss write",
    WRONG_AT_THE_CLINIC,
    check_clinic,
    events=9,
)
HOME = Scene(
    SIGNED_IN,
    (ACCOUNTS_QUEUE, INTENTS_TO_FILE, FORM526, DOCUMENTS, NOTIFICATIONS),
    (Accounts, LighthouseClaims, Form526, LighthouseDocuments, VANotify),
    ask_signed_in,
    file_at_office,
    " write",
    WRONG_SIGNED_IN,
    check_signed_in,
    events=22,
    prepare=remember_some,
    first=send_form,
    first_queues=(ACCOUNTS_QUEUE, FORM526),
)


def scene_of(seed: int) -> Scene:
    return HOME if seed % SIGNED_IN_EVERY == 0 else CLINIC


def built(
    scene: Scene, seed: int, hub: Hub, fate: Callable[[str, str], Fate], check: Callable[[Task], None]
) -> Upstreams:
    """The scene's upstreams by their names, each ending its calls as `fate` says of it."""

    def ends(name: str) -> Callable[[str], Fate]:
        return lambda what: fate(name, what)

    return {kind.name: kind(hub, ends(kind.name), check, Random(f"{kind.name} {seed}")) for kind in scene.upstreams}
