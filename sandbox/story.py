"""The demo's script: who requests what while what goes wrong, all flows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice

from sandbox import story_claims as claims
from sandbox import story_form526 as form526
from sandbox import story_itf as itf
from sandbox import story_travel_pay as pay
from sandbox.faults import Control
from sandbox.stage import Scene, Stage
from sandbox.upstreams.cast import DEFAULT_CAST, Appointment, Veteran
from sandbox.upstreams.scenarios import with_itf, with_travel_pay, without_icn

STARTED = '"worker.started"'
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
CLAIMANTS = ("Xavi Holt", "Yoko Ives", "Zoe Jarvis", "Amos Kemp", "Bea Lund", "Cyrus Mott", "Della Nunn")
TRAVELERS = (
    "Enzo Osei",
    "Faye Pratt",
    "Gil Quiroz",
    "Hana Roth",
    "Ivo Sato",
    "Jude Tran",
    "Kaya Usher",
    "Lars Vance",
    "Mira Webb",
    "Noor Xiong",
)
EVERYBODY = (*FILERS, *ASKERS, *CLAIMANTS, *TRAVELERS)


def newcomers() -> tuple[Veteran, ...]:
    """People beyond the usual cast, for the scenes that need many; every fourth at an Oracle Health clinic."""
    return tuple(newcomer(number, *name.split()) for number, name in enumerate(EVERYBODY))


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
        participant_id=f"6001{number:05d}",
        facility_type="oh" if oracle_health else "vista",
        appointments=(Appointment(station="757" if oracle_health else "983"),),
    )


def introduce(control: Control, people: Sequence[Veteran]) -> None:
    """Make people known to every fake."""
    control.call("POST", "lorota", "veterans", json=[asdict(veteran) for veteran in people])


def scenes(crowd: tuple[Veteran, ...]) -> list[Scene]:
    """The story, in order. The last claims overlap: the worker dies, and BTSSS goes away before anybody is notified.

    Nobody is in the scenes of two flows. While one flow takes its time, another flow's scenes are played.
    """
    rest = iter(crowd)
    filers, askers, claimants, travelers = (
        tuple(islice(rest, len(names))) for names in (FILERS, ASKERS, CLAIMANTS, TRAVELERS)
    )
    return [
        *by_habit(),
        *followed(claimants[0:4]),
        *untroubled(askers[0:3]),
        Scene("uploads taken, their replies lost", form526.TWICE, claimants[4:5], form526.replies_lost),
        form_service_away(claimants[5:], filers[0:3], travelers[4:7]),
        Scene("VANotify texts, its reply is lost", claims.CREATED, filers[3:4], claims.text_reply_lost),
        Scene(
            f"429, Retry-After {claims.RETRY_AFTER_SECONDS}",
            claims.CREATED,
            filers[4:7],
            claims.throttled,
            meanwhile=(*troubled(askers[3:7]), *filed_at_once(travelers[0:4])),
        ),
        Scene("worker killed mid-call", claims.CREATED, filers[7:9], worker_killed),
        all_away(filers[9:], travelers[7:], askers[7:]),
    ]


def form_service_away(
    claimants: tuple[Veteran, ...], filers: tuple[Veteran, ...], travelers: tuple[Veteran, ...]
) -> Scene:
    identical = f"{claims.IDENTICAL_POSTS} identical POSTs at once"
    return Scene(
        form526.AWAY,
        form526.DELIVERED,
        claimants,
        form526.away,
        meanwhile=(
            Scene(identical, claims.CREATED, filers[0:1], claims.impatient),
            Scene("BTSSS files, its reply is lost", claims.CREATED, filers[1:3], claims.reply_lost),
            *filed_with_trouble(travelers),
        ),
    )


def all_away(filers: tuple[Veteran, ...], travelers: tuple[Veteran, ...], askers: tuple[Veteran, ...]) -> Scene:
    """Three upstreams away at once, one inside the other: each goes away while the next one's scene plays."""
    itfs = Scene(itf.AWAY, itf.CREATED, askers, itf.away)
    signed_in = Scene(pay.AWAY, pay.SUBMITTED, travelers, pay.away, meanwhile=(itfs,))
    title = f"BTSSS away for {claims.OUTAGE_SECONDS:.0f} s"
    return Scene(title, claims.CREATED, filers, claims.outage, meanwhile=(signed_in,))


def by_habit() -> tuple[Scene, ...]:
    """The usual cast files, and each meets what that person always meets."""
    found: dict[str, list[Veteran]] = {}
    for veteran in DEFAULT_CAST:
        found.setdefault("refused" if len(veteran.appointments) > 1 else veteran.habit, []).append(veteran)
    refused = (*found["refused"], *found["not_found"])
    unreachable = (*found["no_contact"], *found["blocked"], *found["unreachable"])
    return (
        Scene("nothing fails", claims.CREATED, tuple(found["ok"]), claims.file_all),
        Scene("filed at the kiosk before", claims.DUPLICATE, tuple(found["filed"]), claims.file_all),
        Scene("BTSSS refuses", claims.REFUSED, refused, claims.file_all),
        Scene("the text cannot be delivered", claims.UNDELIVERABLE, unreachable, claims.file_all),
    )


def worker_killed(stage: Stage, scene: Scene) -> None:
    """Killed when no document is on its way: one that is caught there may arrive twice.

    Ends when the new worker works, because nobody would see an outage that is over before.
    """
    form526.until_uploaded(stage)
    log = stage.crew["worker"].log
    starts = log.read_text().count(STARTED)
    claims.worker_killed(stage, scene)
    stage.until(lambda: log.read_text().count(STARTED) > starts, "the new worker to start")


def followed(claimants: tuple[Veteran, ...]) -> tuple[Scene, ...]:
    """Forms are filed, and each document is followed until it has arrived, or somebody knows that it has not."""
    identical = f"{form526.IDENTICAL_FORMS} identical forms at once"
    return (
        Scene("526 with a letter and PTSD answers", form526.DELIVERED, claimants[0:1], form526.with_answers),
        Scene("a document fails at BGS", form526.IN_EFOLDER, claimants[1:2], form526.submit_all),
        Scene("a document fails at Claims Evidence", form526.NOT_STORED, claimants[2:3], form526.submit_all),
        Scene(identical, form526.DELIVERED, claimants[3:4], form526.impatient),
    )


def untroubled(askers: tuple[Veteran, ...]) -> tuple[Scene, ...]:
    """An ITF that is over or was used elsewhere counts as none."""
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


def filed_at_once(travelers: tuple[Veteran, ...]) -> tuple[Scene, ...]:
    """Signed-in people file, and the page shows the end of it."""
    differing = (with_travel_pay("contacts_differ"),)
    return (
        Scene("signed in, Travel Pay works", pay.SUBMITTED, travelers[0:1], pay.file_all),
        Scene(f"one minute, two people, {pay.TABS} tabs each", pay.SUBMITTED, travelers[1:3], pay.two_tabs),
        Scene("a claim filed on paper before", pay.DUPLICATE, travelers[3:4], pay.filed_before),
        Scene("VA Profile and BTSSS differ", pay.SUBMITTED, differing, pay.contacts_compared),
    )


def filed_with_trouble(travelers: tuple[Veteran, ...]) -> tuple[Scene, ...]:
    """The lost reply comes last: the rest of that claim's work must not meet the faults meant for others."""
    return (
        Scene("Travel Pay refuses the submit", pay.UNFINISHED, travelers[0:1], pay.refused),
        Scene(f"the submit takes {pay.LATE_SECONDS:.0f} s", pay.SUBMITTED, travelers[1:2], pay.late),
        Scene("Travel Pay begins it, its reply is lost", pay.SUBMITTED, travelers[2:], pay.reply_lost),
    )
