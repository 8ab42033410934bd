"""The demo's script: who asks for what while what goes wrong, travel claims and intents to file side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sandbox import story_claims as claims
from sandbox import story_itf as itf
from sandbox.faults import Control
from sandbox.scenarios import with_itf, without_icn
from sandbox.stage import Scene
from sandbox.upstreams.cast import DEFAULT_CAST, Appointment, Veteran

FILERS = (
    "Pia Aldana",
    "Quinn Becker",
    "Rhea Castro",
    "Saul Dunn",
    "Tess Egan",
    "Umar Farah",
    "Vera Gibbs",
    "Wade Hale",
    "Xenia Ibarra",
    "Yara Jensen",
    "Zeke Kimura",
    "Abel Lowe",
    "Bryn Maddox",
    "Cora Novak",
    "Dean Ortiz",
    "Esme Pruitt",
    "Finn Quist",
    "Gwen Rao",
    "Hugo Silva",
    "Iris Tran",
)
ASKERS = (
    "Jack Ueda",
    "Kira Vance",
    "Lena Walsh",
    "Milo Xu",
    "Nora Young",
    "Otto Zane",
    "Pearl Amari",
    "Reed Bosch",
    "Sana Cruz",
    "Theo Diaz",
    "Uma Eaton",
    "Vic Falk",
    "Willa Grant",
)


def newcomers() -> tuple[Veteran, ...]:
    """People beyond the usual cast, for the scenes that need many; every fourth at an Oracle Health clinic."""
    return tuple(newcomer(number, *name.split()) for number, name in enumerate((*FILERS, *ASKERS)))


def newcomer(number: int, first: str, last: str) -> Veteran:
    oracle_health = number % 4 == 3
    return Veteran(
        uuid=f"{number:08x}-de30-4c1a-9f00-{number:012x}",
        last_name=last,
        dob=f"19{50 + number}-06-15",
        icn=f"10456{number:05d}V{754000 + number:06d}",
        phone=f"+1555556{100 + number:04d}",
        email=f"{first}.{last}@example.com".lower(),
        first_name=first,
        facility_type="oh" if oracle_health else "vista",
        appointments=(Appointment(station="757" if oracle_health else "983"),),
    )


def introduce(control: Control, people: Sequence[Veteran]) -> None:
    """Make people known to every fake."""
    control.call("POST", "lorota", "veterans", json=[asdict(veteran) for veteran in people])


def scenes(crowd: tuple[Veteran, ...]) -> list[Scene]:
    """The story, in order. The last claims overlap: the worker dies, and BTSSS goes away before anybody is told.

    Nobody is in the scenes of both flows. What takes claims a while leaves time for the ITFs' scenes.
    """
    filers, askers = crowd[: len(FILERS)], crowd[len(FILERS) :]
    by_habit: dict[str, list[Veteran]] = {}
    for veteran in DEFAULT_CAST:
        by_habit.setdefault("refused" if len(veteran.appointments) > 1 else veteran.habit, []).append(veteran)
    refused = (*by_habit["refused"], *by_habit["not_found"])
    unreachable = (*by_habit["no_contact"], *by_habit["blocked"], *by_habit["unreachable"])
    return [
        Scene("nothing fails", claims.CREATED, tuple(by_habit["ok"]), claims.file_all),
        Scene("filed at the kiosk before", claims.DUPLICATE, tuple(by_habit["filed"]), claims.file_all),
        Scene("BTSSS refuses", claims.REFUSED, refused, claims.file_all),
        Scene("the text cannot be delivered", claims.UNDELIVERABLE, unreachable, claims.file_all),
        *untroubled(askers[0:3]),
        Scene(f"{claims.IDENTICAL_POSTS} identical POSTs at once", claims.CREATED, filers[0:1], claims.impatient),
        Scene("BTSSS files, its reply is lost", claims.CREATED, filers[1:3], claims.reply_lost),
        Scene("VANotify texts, its reply is lost", claims.CREATED, filers[3:4], claims.text_reply_lost),
        Scene(
            f"429, Retry-After {claims.RETRY_AFTER_SECONDS}",
            claims.CREATED,
            filers[4:7],
            claims.throttled,
            meanwhile=troubled(askers[3:7]),
        ),
        Scene("worker killed mid-call", claims.CREATED, filers[7:9], claims.worker_killed),
        Scene(
            f"BTSSS away for {claims.OUTAGE_SECONDS:.0f} s",
            claims.CREATED,
            filers[9:],
            claims.outage,
            meanwhile=(Scene(itf.AWAY, itf.CREATED, askers[7:], itf.away),),
        ),
    ]


def untroubled(askers: tuple[Veteran, ...]) -> tuple[Scene, ...]:
    """An ITF that is over or was used elsewhere is as good as none."""
    without = (*askers[:-1], with_itf("expired"), with_itf("used"))
    return (
        Scene("Lighthouse works", itf.CREATED, without, itf.ask_all),
        Scene("an ITF filed elsewhere before", itf.ADOPTED, (with_itf("active"),), itf.ask_all),
        Scene("no ICN for the account", itf.NOT_FILED, (without_icn(),), itf.ask_all),
        Scene(f"{itf.LOG_INS} first log-ins at once", itf.CREATED, askers[-1:], itf.log_ins),
    )


def troubled(askers: tuple[Veteran, ...]) -> tuple[Scene, ...]:
    return (
        Scene("Lighthouse files, its reply is lost", itf.CREATED, askers[0:2], itf.reply_lost),
        Scene("an ITF filed elsewhere meanwhile", itf.OVERTAKEN, askers[2:3], itf.overtaken),
        Scene(f"Lighthouse refuses {itf.REFUSALS} times", itf.CREATED, askers[3:4], itf.refused),
    )
