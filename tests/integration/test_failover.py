"""Servers of their own, killed, failed over and restored to a point in time: what was promised is there, and once.

The role says `synchronous_commit = off`, and the server hardly ever flushes its log by itself: whatever does not ask
for a durable commit is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from flaskapp import clock
from flaskapp.db import db
from sandbox import unprivileged
from sandbox.server import keep_private
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.upstreams.serve import Upstreams
from tests.integration.restore_steps import lift_all, product_on, received, recorded, run_program
from tests.integration.steps import command, file_claim, publish, take
from tests.integration.travel_pay_filing import BEN, CARLA, DOV
from tests.memory import new_folder, postgres_folder
from tests.product import Product, eventually

# A kill is no power cut: what was written is there, flushed or not.
SETTINGS = {"fsync": "off", "wal_writer_delay": "10s", "max_wal_senders": "4", "autovacuum": "off"}
ROLE_OFF = "ALTER ROLE surefile SET synchronous_commit = off"


@pytest.fixture(scope="module")
def archive() -> Path:
    folder = unprivileged.home_for(new_folder("archive")) / "log"
    folder.mkdir()
    unprivileged.own(folder)
    return folder


@pytest.fixture(scope="module")
def primary(archive: Path) -> Iterator[EmbeddedPostgres]:
    # Under its name only when it is whole: a test waits for the name.
    put_away = f"cp %p {archive}/part && mv {archive}/part {archive}/%f"
    archiving = {"archive_mode": "on", "archive_command": put_away}
    server = EmbeddedPostgres(postgres_folder("primary"), settings={**SETTINGS, **archiving})
    with server:
        run(server, ROLE_OFF)
        yield server
    server.remove()


@pytest.fixture
def on_primary(
    primary: EmbeddedPostgres, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path
) -> Iterator[Product]:
    """The product on the primary, on an empty database, where somebody turned durable commits off."""
    fakes.fakes.reset()
    primary.drop_database("product")
    with product_on(primary.create_database("product"), redis_server.url, fakes, secrets_folder) as product:
        product.redis.flushall()
        assert command(product, "release").exit_code == 0
        run(primary, "ALTER ROLE surefile IN DATABASE product RESET synchronous_commit")
        db.session.remove()
        db.engine.dispose()
        assert product.value("SHOW synchronous_commit") == "off"
        yield product


def run(server: EmbeddedPostgres, *statements: str) -> list[Any]:
    """Run statements as the superuser; the rows of the last one."""
    with closing(psycopg2.connect(server.admin_url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def copy_of(primary: EmbeddedPostgres, folder: Path, *options: str, **settings: str) -> EmbeddedPostgres:
    """A base backup of the running primary, as a server that is not started yet."""
    server = EmbeddedPostgres(folder, settings={**SETTINGS, **settings})
    keep_private(server._password_file, primary._password_file.read_text())
    server.data.mkdir(mode=0o700)
    unprivileged.own(server.data)
    source = primary.admin_url
    run_program(server, "pg_basebackup", "-d", source, "-D", str(server.data), "-c", "fast", *options, home=True)
    return server


def claims(product: Product) -> int:
    return int(product.value("SELECT count(*) FROM travel_claims"))


def test_a_claim_and_its_attempt_survive_a_kill_although_the_role_turns_durable_commits_off(
    on_primary: Product, primary: EmbeddedPostgres
) -> None:
    product = on_primary
    waiting, begun = file_claim(product), file_claim(product, BEN)
    take(product, begun)
    last = file_claim(product, CARLA)
    db.session.remove()
    primary.kill()
    primary.start()
    db.engine.dispose()
    found = {row.subject_id for row in product.rows("SELECT subject_id FROM outbox_messages")}
    assert found == {waiting.id, begun.id, last.id}
    tried = product.rows("SELECT subject_id, status FROM outbox_attempts")
    assert (begun.id, "try") in [tuple(row) for row in tried]


def test_a_failover_to_a_synchronous_standby_loses_nothing(
    on_primary: Product,
    primary: EmbeddedPostgres,
    redis_server: EmbeddedValkey,
    fakes: Upstreams,
    secrets_folder: Path,
) -> None:
    standby = copy_of(primary, new_folder("standby"), "-R", "-X", "stream", archive_mode="off")
    with standby:
        run(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        eventually(lambda: run(primary, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
        promised = {file_claim(on_primary, each).id for each in (BEN, CARLA, DOV)}
        publish(on_primary)
        db.session.remove()
        primary.kill()
        run(standby, "SELECT pg_promote()")
        with product_on(standby.url_of("product"), redis_server.url, fakes, secrets_folder) as product:
            assert {str(row.id) for row in product.rows("SELECT id FROM travel_claims")} == promised
            assert product.app.test_client().get("/healthz/ready").status_code == 200
            product.work()
            assert (len(product.submits()), product.cases()) == (3, [])
    standby.remove()
    primary.start()
    run(primary, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


def test_a_restore_to_a_point_in_time_is_noticed_and_does_nothing_twice(
    on_primary: Product,
    primary: EmbeddedPostgres,
    archive: Path,
    redis_server: EmbeddedValkey,
    fakes: Upstreams,
    secrets_folder: Path,
) -> None:
    """An hour of work is lost, and nothing but Redis knows that."""
    replay = {"restore_command": f"cp {archive}/%f %p", "recovery_target_name": "an hour ago"}
    goal = {**replay, "recovery_target_action": "promote", "archive_mode": "off", "hot_standby": "off"}
    copy = copy_of(primary, new_folder("copy"), "-X", "none", **goal)
    publish(on_primary)
    waiting = file_claim(on_primary)
    on_primary.relay.next_era_look = 0.0
    run(primary, "SELECT pg_create_restore_point('an hour ago')")
    on_primary.move_clock(timedelta(hours=1))
    on_primary.work()
    file_claim(on_primary, BEN)
    on_primary.work()
    on_primary.phone(2)
    told, submits = received(on_primary), len(on_primary.submits())
    archived = run(primary, "SELECT pg_walfile_name(pg_switch_wal())")[0][0]
    eventually((archive / archived).exists)
    (copy.data / "recovery.signal").touch()
    unprivileged.own(copy.data / "recovery.signal")
    with copy, product_on(copy.url_of("product"), redis_server.url, fakes, secrets_folder) as product:
        product.move_clock(clock._offset)
        publish(product)
        assert claims(product) == 1
        assert product.relay.doubt is not None and "Redis knows of" in product.relay.doubt
        recorded(product)
        lift_all(product)
        product.relay.next_era_look = 0.0
        product.work()
        assert (waiting.id, "submitted") in [
            tuple(row) for row in product.rows("SELECT id::text, state FROM travel_claims")
        ]
        file_claim(product, BEN)
        product.work()
        assert len(product.submits()) == submits
        assert (sorted(received(product)), product.cases()) == (sorted(told), [])
    copy.remove()
