"""Commands `flask keys …`: which key opens what is stored, and the retirement of earlier keys."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
from cryptography.fernet import Fernet
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import OperationalError

from flaskapp.crypto import Vault
from flaskapp.db import reading, transaction
from flaskapp.keys import retire
from flaskapp.keys.checks import WrongKeys, find_fault, find_missing, recorded
from flaskapp.keys.models import DIGEST, ENCRYPTION, GONE
from flaskapp.keys.passes import (
    Advance,
    Convert,
    Pace,
    Positions,
    Tally,
    count_digests,
    count_sealed,
    count_sourceless,
    redigested,
    resealed,
    write_anew,
)
from flaskapp.keys.places import Place, digested_places, sealed_places, sourceless_digests
from flaskapp.ops.commands.ledger import as_json_option, show

log = logging.getLogger("flaskapp.ops.commands.keys")

keys_cli = AppGroup("keys", help="Encryption and digest keys: what each is needed for, and how one is retired.")
rate_option = click.option(
    "--rows-per-second",
    type=click.FloatRange(0, min_open=True),
    help="Go no faster than this. A MiB of a file is a row.",
)
SHOWN = 10


@contextmanager
def bar(place: Place) -> Iterator[Advance]:
    """A progress bar over the rows of a place; on anything but a terminal, only its name."""
    with reading() as session:
        length = place.count(session)
    with click.progressbar(length=length, label=place.name, show_pos=True, file=sys.stderr) as shown:
        yield shown.update


@keys_cli.command("new")
def new() -> None:
    """Print a new key for ENCRYPTION_KEYS."""
    click.echo(Fernet.generate_key().decode())


@keys_cli.command("check")
@as_json_option
def check(as_json: bool) -> None:
    """Count what is stored by the key that opens or finds it. Exits 1 if a key is missing, or none of ours fits."""
    vault = retire.our_vault()
    with transaction() as session:
        rows = recorded(session)
    fault = find_fault(rows, vault) or find_missing(rows, vault)
    sealed = {place.name: counted(place, partial(count_sealed, place, vault)) for place in sealed_places()}
    digests = {each.place.name: counted(each.place, partial(count_digests, each, vault)) for each in digested_places()}
    found = {
        "keys": [described(row, vault) for row in rows],
        "encrypted": [line(name, positions, len(vault.fernets)) for name, positions in sealed.items()],
        "digests": [line(name, positions, len(vault.digest_keys)) for name, positions in digests.items()],
        "digests_that_cannot_be_made_anew": from_before(rows),
        "fault": fault.sentence if fault is not None else None,
    }
    if as_json:
        click.echo(json.dumps(found, default=str, indent=2))
    else:
        for title, part in found.items():
            click.echo(f"\n{title.replace('_', ' ')}")
            show(part, False) if isinstance(part, list) else click.echo(part or "none")
    unfit = sum(positions[None] for positions in (*sealed.values(), *digests.values()))
    sys.exit(1 if fault is not None or unfit else 0)


def counted(place: Place, count: Callable[[Advance], Positions]) -> Positions:
    with bar(place) as advance:
        return count(advance)


def line(name: str, positions: Positions, keys: int) -> dict[str, Any]:
    under = {f"key_{position + 1}": positions[position] for position in range(keys)}
    return {"place": name, **under, "none_fits": positions[None]}


def described(row: Any, vault: Vault) -> dict[str, Any]:
    ours = vault.encryption_fingerprints if row.kind == ENCRYPTION else list(vault.digest_keys)
    position = ours.index(row.fingerprint) + 1 if row.fingerprint in ours else "not set"
    since = row.left_at or row.recorded_at
    return {"kind": row.kind, "fingerprint": row.fingerprint, "key": position, "state": row.state, "since": since}


def from_before(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows that may be under an earlier digest key, which nothing but time removes."""
    left_at = max(
        (row.left_at for row in rows if row.kind == DIGEST and row.left_at and row.state != GONE), default=None
    )
    if left_at is None:
        return []
    with transaction() as session:
        return [
            {"place": each.name, "rows": count_sourceless(session, each, left_at), "keeps_the_key": each.needed}
            for each in sourceless_digests()
        ]


@keys_cli.command("reseal")
@rate_option
@click.option(
    "--notice-seconds",
    type=click.FloatRange(0),
    default=retire.NOTICE_SECONDS,
    show_default=True,
    help="Time for processes to notice.",
)
def reseal(rows_per_second: float | None, notice_seconds: float) -> None:
    """Encrypt everything with the first of ENCRYPTION_KEYS, so that the others can be dropped. Goes on where it was."""
    vault = retire.our_vault()
    earlier = begin(ENCRYPTION)
    if (seconds := retire.seconds_left(ENCRYPTION, notice_seconds)) > 0:
        click.echo(f"Waiting {seconds:.0f} s, until every process has noticed that the earlier keys are leaving.")
        time.sleep(seconds)
    tally, pace = Tally(), Pace(rows_per_second)
    for place in sealed_places():
        run(place, partial(resealed, vault), vault.encryption_fingerprints[0], pace, tally)
    retire.end_pass(ENCRYPTION)
    positions: Positions = Counter()
    click.echo("Checking", err=True)
    for place in sealed_places():
        positions.update(counted(place, partial(count_sealed, place, vault)))
    left = sum(count for position, count in positions.items() if position)
    click.echo(f"{tally.written} rows encrypted anew, {left} values left under an earlier key.")
    if positions[None]:
        click.echo(f"{positions[None]} values cannot be opened with any key; `flask keys check` says where.")
    end(ENCRYPTION, earlier, left + tally.locked, "ENCRYPTION_KEYS")


@keys_cli.command("redigest")
@rate_option
def redigest(rows_per_second: float | None) -> None:
    """Make every digest under DIGEST_KEY, so that EARLIER_DIGEST_KEYS can be dropped. Goes on where it was."""
    vault = retire.our_vault()
    earlier = begin(DIGEST)
    tally, pace = Tally(), Pace(rows_per_second)
    for each in digested_places():
        run(each.place, partial(redigested, vault, each), next(iter(vault.digest_keys)), pace, tally)
    retire.end_pass(DIGEST)
    positions: Positions = Counter()
    click.echo("Checking", err=True)
    for each in digested_places():
        positions.update(counted(each.place, partial(count_digests, each, vault)))
    left = sum(count for position, count in positions.items() if position != 0)
    with transaction() as session:
        rows = recorded(session)
    waiting = sum(row["rows"] for row in from_before(rows) if row["keeps_the_key"])
    click.echo(f"{tally.written} rows digested anew, {left} digests left.")
    if tally.twice:
        click.echo(f"Stored twice, under both keys; a human decides which one counts: {', '.join(tally.twice[:SHOWN])}")
    if waiting:
        click.echo(f"{waiting} rows from before cannot be made anew and are removed with time: run this again then.")
    end(DIGEST, earlier, left + waiting, "EARLIER_DIGEST_KEYS")


def begin(kind: str) -> list[str]:
    try:
        return retire.begin(kind)
    except WrongKeys as wrong:
        raise click.ClickException(str(wrong)) from wrong


def run(place: Place, convert: Convert, fingerprint: str, pace: Pace, total: Tally) -> None:
    try:
        with bar(place) as advance:
            tally = write_anew(place, convert, fingerprint, pace, advance)
    except OperationalError as error:
        raise click.ClickException(f"Postgres failed in {place.name}. Run it again: it goes on where it was") from error
    total.written += tally.written
    total.locked += tally.locked
    total.twice += tally.twice


def end(kind: str, earlier: Sequence[str], left: int, setting: str) -> None:
    """Say whether the earlier keys may go; exits 1 while they may not."""
    if left:
        raise click.ClickException(f"keep all of {setting}, and run this again")
    retire.finish(kind, earlier)
    log.info("earlier keys retired", extra={"event": "keys.retired", "kind": kind, "keys": list(earlier)})
    click.echo(f"0 left: the earlier keys may be dropped from {setting}.")


@keys_cli.command("forget")
@click.argument("fingerprint")
@click.confirmation_option(prompt="What is still stored under this key can never be opened or found again. Go on?")
def forget(fingerprint: str) -> None:
    """Go on without an earlier key: it is lost, or what is stored under it is not needed any more."""
    if not retire.forget(fingerprint):
        raise click.ClickException(f"there is no earlier key with fingerprint {fingerprint} that is still needed")
    log.warning("key forgotten", extra={"event": "keys.forgotten", "key": fingerprint})
    click.echo(f"{fingerprint} is not needed any more")


def init_app(app: Flask) -> None:
    app.cli.add_command(keys_cli)
