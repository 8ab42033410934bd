"""`make run` as a person meets it: it comes up, says what went wrong in one line, stops clean, survives anything.

The processes are stand-ins here, so that only the starting and stopping is under test.
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
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from sandbox.server import free_port
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
WEB = """
import http.server, os
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz/ready" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Ready).serve_forever()
"""
RELEASE = """
import os, psycopg2
with psycopg2.connect(os.environ["DATABASE_URL"]) as connection:
    connection.cursor().execute("CREATE TABLE IF NOT EXISTS runs (at timestamptz); INSERT INTO runs VALUES (now())")
"""
IDLE = "python -c 'import time; time.sleep(600)'"


@pytest.fixture
def checkout():
    """A folder with a Procfile of stand-ins, where PostgreSQL's account may go."""
    folder = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    folder.chmod(0o711)
    (folder / "web.py").write_text(WEB)
    (folder / "release.py").write_text(RELEASE)
    lines = ["release: python release.py", "web: python web.py", f"relay: {IDLE}", f"worker: {IDLE}"]
    (folder / "Procfile").write_text("\n".join(lines) + "\n")
    yield folder
    shutil.rmtree(folder)


class Run:
    """`python -m sandbox run` in `checkout`, its output collected in a file."""

    def __init__(self, checkout, port=None, **environ):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = checkout / "output"
        argv = [sys.executable, "-m", "sandbox", "run", "--port", str(self.port), "--upstream-port", "0"]
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self.output.open("w") as output:
            self.child = subprocess.Popen(
                argv,
                cwd=checkout,
                env={**known, "PYTHONPATH": str(ROOT), **environ},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def text(self):
        return self.output.read_text()

    def until(self, text, seconds=40):
        deadline = time.monotonic() + seconds
        while text not in self.text():
            assert self.child.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return self

    def up(self):
        return self.until("Ctrl-C stops everything")

    def end(self, number=signal.SIGINT, seconds=40):
        self.child.send_signal(number)
        return self.child.wait(seconds)

    def processes(self):
        return psutil.Process(self.child.pid).children(recursive=True)


def used_by(checkout):
    return [each for each in psutil.process_iter() if str(checkout) in command_of(each)]


def command_of(process):
    try:
        return " ".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""


def database_of(run, checkout):
    """The embedded database's URL, from the files a person could look at too."""
    password = (checkout / ".run" / "postgres" / "password").read_text()
    postmaster = (checkout / ".run" / "postgres" / "data" / "postmaster.pid").read_text()
    return f"postgresql://surefile:{password}@127.0.0.1:{postmaster.splitlines()[3]}/surefile"


def runs_in(url):
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM runs")
        return cursor.fetchone()[0]


def test_it_comes_up_prints_where_and_stops_on_ctrl_c(checkout):
    run = Run(checkout).up()
    assert requests.get(f"{run.url}/healthz/ready", timeout=5).status_code == 200
    assert re.search(r"operator / \S+", run.text())
    pages = re.findall(r"http://127\.0\.0\.1:\d+/phone|http://127\.0\.0\.1:\d+$", run.text(), re.MULTILINE)
    assert {requests.get(page, timeout=5).status_code for page in pages if run.url not in page} == {200}
    assert run.end() == 0
    assert "Everything is stopped" in run.text() and "Traceback" not in run.text()
    assert used_by(checkout) == []


def test_the_curl_it_prints_is_one_line_of_shell(checkout):
    run = Run(checkout).up()
    (line,) = [line.strip() for line in run.text().splitlines() if "travel_claims" in line]
    assert subprocess.run(["sh", "-n", "-c", line], check=False).returncode == 0
    assert line.count(run.url) == 3 and line.count("curl") == 3
    run.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_stops_as_well_when_it_is_told_to_end(checkout, number):
    assert Run(checkout).up().end(number) == 0
    assert used_by(checkout) == []


def test_after_a_power_cut_it_starts_again_with_its_data_and_secrets(checkout):
    run = Run(checkout).up()
    everything = [*run.processes(), psutil.Process(run.child.pid)]
    secrets = (checkout / ".run" / "settings.json").read_text()
    for process in everything:
        process.kill()
    run.child.wait(10)
    again = Run(checkout, run.port).up()
    assert runs_in(database_of(again, checkout)) == 2
    assert (checkout / ".run" / "settings.json").read_text() == secrets
    assert again.end() == 0


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv(1) here")
def test_when_only_the_starter_is_killed_everything_goes_with_it(checkout):
    run = Run(checkout).up()
    children = run.processes()
    run.end(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=20)[1] == []
    again = Run(checkout, run.port).up()
    assert again.end() == 0


def test_a_process_that_dies_stops_the_rest_and_is_named(checkout):
    run = Run(checkout).up()
    (worker,) = [each for each in run.processes() if "sleep(600)" in command_of(each)][1:]
    worker.kill()
    assert run.child.wait(40) == 1
    assert "surefile: worker ended with exit code -9" in run.text()
    assert used_by(checkout) == []


def test_a_release_that_fails_is_told_with_its_last_lines(checkout):
    (checkout / "release.py").write_text("raise SystemExit('no such revision')")
    run = Run(checkout)
    assert run.child.wait(40) == 1
    assert "release ended with exit code 1" in run.text() and "no such revision" in run.text()
    assert "Traceback" not in run.text() and used_by(checkout) == []


def problem_of(run):
    """The one line it ends with; the exit code must say so too."""
    assert run.child.wait(40) == 1
    (line,) = [line for line in run.text().splitlines() if line.startswith("surefile: ")]
    assert run.text().endswith(line + "\n") and "Traceback" not in run.text()
    return line


def test_a_taken_port_is_one_clear_line(checkout):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        assert problem_of(Run(checkout, port)) == f"surefile: port {port} (web) is taken; is Surefile running already?"


def test_a_second_run_in_the_same_checkout_leaves_the_first_alone(checkout):
    run = Run(checkout).up()
    (checkout / "output").rename(checkout / "first")
    assert "is this checkout running already?" in problem_of(Run(checkout))
    assert requests.get(f"{run.url}/healthz/ready", timeout=5).status_code == 200
    run.end()


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
def test_a_server_or_setting_that_cannot_be_used_is_one_clear_line(checkout, name, value, said):
    line = problem_of(Run(checkout, **{name: value}))
    assert said in line and "hidden" not in line
    assert used_by(checkout) == []


def test_given_servers_are_used_and_left_running(checkout):
    with EmbeddedPostgres.throwaway(fast=True) as postgres, EmbeddedRedis.throwaway() as cache:
        heroku = postgres.url.replace("postgresql://", "postgres://")
        run = Run(checkout, DATABASE_URL=heroku, REDIS_URL=cache.url).up()
        assert "Starting PostgreSQL" not in run.text() and "Starting Redis" not in run.text()
        assert run.end() == 0
        assert runs_in(postgres.url) == 1 and cache.pid
    assert not (checkout / ".run" / "postgres").exists()
