"""The RQ dashboard, with a real Redis and real RQ jobs: who gets in, what changes, and what a stored text can do."""

import html
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from flaskapp import limits
from flaskapp.ops import rq
from flaskapp.redis_pool import with_tls_choice
from sandbox.servers import EmbeddedRedis
from tests.edge_app import CONFIG, ORIGIN, log_in, make_app

PAYLOAD = "<img src=x onerror=alert(1)>"
OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}
QUEUE = "travel_claims"


class OurJob(Job):
    """Stands in for the product's job class."""


class BurstWorker(SimpleWorker):
    """Without signals and pub/sub, which a test process needs for itself."""

    death_penalty_class = TimerDeathPenalty

    def subscribe(self):
        """Not wanted here."""

    def _install_signal_handlers(self):
        """Not wanted here."""


def succeed():
    return {"text": PAYLOAD, PAYLOAD: [PAYLOAD]}


def fail():
    raise RuntimeError(PAYLOAD)


@pytest.fixture(scope="module")
def server():
    folder = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    with EmbeddedRedis(folder) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def redis(server):
    connection = Redis.from_url(server.url)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def app(server, redis, changes):
    config = replace(CONFIG, redis_url=server.url)

    def dashboard(app):
        rq.mount(app, config, server.url, OurJob, on_change=lambda *change: changes.append(change))

    app = make_app(config, dashboard, operators=True)
    yield app
    app.redis_conn.connection_pool.disconnect()
    app.config["RATELIMIT_STORAGE_OPTIONS"]["connection_pool"].disconnect()


@pytest.fixture
def anonymous(app):
    return app.test_client()


@pytest.fixture
def client(app):
    client = app.test_client()
    assert log_in(client).status_code == 303
    return client


@pytest.fixture
def queue(redis):
    return Queue(QUEUE, connection=redis, serializer=JSONSerializer, job_class=OurJob)


def work(queue):
    BurstWorker([queue], connection=queue.connection, serializer=JSONSerializer, job_class=OurJob).work(
        burst=True, logging_level="ERROR"
    )


def failed_job(queue, job_id="12-34", **options):
    options.setdefault("description", "message 12")
    queue.enqueue(f"{__name__}.fail", job_id=job_id, **options)
    work(queue)
    assert job_id in failed(queue)
    return job_id


def failed(queue):
    return FailedJobRegistry(queue=queue).get_job_ids(cleanup=False)


def stored(queue, job_id):
    return OurJob.fetch(job_id, connection=queue.connection, serializer=JSONSerializer)


def contents(redis):
    """Everything in Redis but the log-in counters, to see that nothing changed."""
    return {key: redis.dump(key) for key in redis.scan_iter() if not key.startswith(b"LIMITS")}


def test_an_anonymous_person_is_sent_to_the_log_in_from_every_page(anonymous):
    for path in ("/rq/", "/rq/0/view/jobs", "/rq/0/view/job/x", "/rq/static/js/jquery-3.5.1.min.js"):
        response = anonymous.get(path)
        assert (response.status_code, response.location.split("?")[0]) == (302, "/ops/login")


def test_an_anonymous_script_gets_401_and_changes_nothing(anonymous, queue):
    job_id = failed_job(queue)
    assert anonymous.get("/rq/0/data/queues.json").status_code == 401
    assert anonymous.get(f"/rq/0/data/job/{job_id}.json").status_code == 401
    assert anonymous.post(f"/rq/job/{job_id}/requeue", headers=OWN).status_code == 401
    assert failed(queue) == [job_id]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"X-Requested-With": "XMLHttpRequest"},
        {"X-Requested-With": "XMLHttpRequest", "Origin": "https://evil.example"},
        {"X-Requested-With": "XMLHttpRequest", "Origin": ORIGIN},
        {"X-Requested-With": "XMLHttpRequest", "Origin": "null"},
        {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost.evil.example"},
        {"X-Requested-With": "XMLHttpRequest", "Sec-Fetch-Site": "cross-site"},
        {"X-Requested-With": "XMLHttpRequest", "Referer": "http://localhost.evil.example/"},
    ],
)
def test_a_forged_change_is_refused(client, queue, headers):
    job_id = failed_job(queue)
    for path in (f"job/{job_id}/requeue", f"requeue/{QUEUE}", f"queue/{QUEUE}/compact", f"job/{job_id}/delete"):
        assert client.post(f"/rq/{path}", headers=headers).status_code == 403
    assert failed(queue) == [job_id]


@pytest.mark.parametrize("sign", [{"Sec-Fetch-Site": "same-origin"}, {"Referer": "http://localhost/rq/0/view/jobs"}])
def test_a_browser_that_sends_no_origin_is_known_by_its_other_signs(client, queue, sign):
    job_id = failed_job(queue)
    headers = {"X-Requested-With": "XMLHttpRequest", **sign}
    assert client.post(f"/rq/job/{job_id}/requeue", headers=headers).status_code == 200


def test_a_requeued_job_runs_again_and_names_its_operator(client, queue, changes):
    job_id = failed_job(queue, meta={"kept": 1})
    response = client.post(f"/rq/job/{job_id}/requeue", headers=OWN)
    assert (response.status_code, response.json) == (200, {"status": "OK"})
    job = stored(queue, job_id)
    assert job.meta == {"kept": 1, "requeued_by": "ana"}
    assert (queue.job_ids, failed(queue), changes) == ([job_id], [], [("ana", "requeued", [job_id])])
    work(queue)
    assert failed(queue) == [job_id]


def test_requeueing_what_is_unknown_or_not_failed_says_so(client, queue, changes):
    waiting = queue.enqueue(f"{__name__}.succeed", job_id="1-1").id
    for job_id, status in (("9-9", 404), ("a%20b", 404), (waiting, 409)):
        response = client.post(f"/rq/job/{job_id}/requeue", headers=OWN)
        assert (response.status_code, response.json["errors"][0]["status"]) == (status, str(status))
    assert "requeued_by" not in stored(queue, waiting).meta
    assert (queue.job_ids, changes) == ([waiting], [])


def test_requeue_all_passes_over_ghosts_and_counts(client, queue, changes):
    ids = [failed_job(queue, f"{number}-1") for number in range(4)]
    queue.connection.delete(OurJob.key_for(ids[0]), OurJob.key_for(ids[2]))
    response = client.post(f"/rq/requeue/{QUEUE}", headers=OWN)
    assert response.json == {"status": "OK", "count": 2, "skipped": 2, "left": 0}
    assert sorted(queue.job_ids) == [ids[1], ids[3]] == sorted(changes[0][2])
    assert all(stored(queue, job_id).meta["requeued_by"] == "ana" for job_id in queue.job_ids)
    assert failed(queue) == []


def test_requeue_all_takes_so_many_at_once_and_tells_how_many_are_left(client, queue, monkeypatch):
    monkeypatch.setattr("flaskapp.ops.rq_views.REQUEUE_AT_MOST", 2)
    for number in range(3):
        failed_job(queue, f"{number}-1")
    assert client.post(f"/rq/requeue/{QUEUE}", headers=OWN).json["left"] == 1
    assert client.post(f"/rq/requeue/{QUEUE}", headers=OWN).json["left"] == 0


def test_requeue_all_by_get_is_not_a_way(client, anonymous, queue):
    job_id = failed_job(queue)
    for caller in (client, anonymous):
        response = caller.get(f"/rq/requeue/{QUEUE}", headers=OWN)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert failed(queue) == [job_id]


def test_looking_at_everything_changes_nothing(client, queue, redis):
    failed_job(queue)
    queue.enqueue(f"{__name__}.succeed", job_id="2-2")
    redis.rpush(queue.key, "ghost")
    redis.sadd(SimpleWorker.redis_workers_keys, "rq:worker:dead")
    before = contents(redis)
    registries = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
    lists = [f"/rq/0/data/jobs/{QUEUE}/{name}/8/{order}/1.json" for name in registries for order in ("asc", "dsc")]
    pages = [f"/rq/0/view/jobs/{QUEUE}/{name}/8/asc/1" for name in registries]
    views = ["/rq", "/rq/", "/rq/0/view/queues", "/rq/0/view/workers", "/rq/0/view/jobs", "/rq/0/view/job/2-2"]
    data = ["/rq/0/data/queues.json", "/rq/0/data/workers.json", "/rq/0/data/job/12-34.json"]
    for path in lists + pages + views + data + ["/rq/static/css/main.css", "/rq/favicon.ico"]:
        with client.get(path) as response:
            assert response.status_code == 200, path
    assert contents(redis) == before


@pytest.mark.parametrize("path", ["job/{}/delete", f"queue/{QUEUE}/failed/empty", f"queue/{QUEUE}/queued/empty"])
def test_nothing_is_deleted_here(client, queue, path):
    job_id = failed_job(queue)
    response = client.post(f"/rq/{path.format(job_id)}", headers=OWN)
    assert response.status_code == 403
    assert "ledger" in response.json["errors"][0]["detail"]
    assert failed(queue) == [job_id]
    assert 'id="delete-job-btn"' not in client.get(f"/rq/0/view/job/{job_id}").text


def test_compacting_takes_off_ghosts_and_keeps_the_order(client, queue):
    ids = [queue.enqueue(f"{__name__}.succeed", job_id=f"{number}-1").id for number in range(3)]
    queue.connection.rpush(queue.key, "ghost")
    assert client.post(f"/rq/queue/{QUEUE}/compact", headers=OWN).json == {"status": "OK", "count": 1}
    assert queue.job_ids == ids
    assert client.post("/rq/queue/empty_one/compact", headers=OWN).json == {"status": "OK", "count": 0}


def strings(value):
    """Every text in a JSON value, keys included."""
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_texts_on_the_job_page_are_inert(client, queue):
    job_id = failed_job(queue, description=PAYLOAD, meta={PAYLOAD: PAYLOAD})
    response = client.get(f"/rq/0/data/job/{job_id}.json")
    assert not [text for text in strings(response.json) if "<" in text or '"' in text]
    assert (response.json["status"], response.json["origin"]) == ("failed", QUEUE)
    assert html.unescape(response.json["description"]) == PAYLOAD
    assert f"RuntimeError: {PAYLOAD}" in html.unescape(response.json["exc_info"])
    assert json.loads(html.unescape(response.json["metadata"])) == {PAYLOAD: PAYLOAD}


def test_a_result_is_inert_at_every_depth(client, queue):
    queue.enqueue(f"{__name__}.succeed", job_id="3-3", description="x")
    work(queue)
    result = client.get("/rq/0/data/job/3-3.json").json["result"]
    escaped = str(html.escape(PAYLOAD))
    assert result == {"text": escaped, escaped: [escaped]}


def test_the_jobs_list_leaves_escaping_to_its_script_only_where_that_does_it(client, queue):
    """Its script sets these two as text; the rest it puts in as it comes."""
    failed_job(queue, description=PAYLOAD)
    answer = client.get(f"/rq/0/data/jobs/{QUEUE}/failed/8/asc/1.json").json
    assert answer["jobs"][0]["description"] == PAYLOAD
    script = client.get(f"/rq/0/view/jobs/{QUEUE}/failed/8/asc/1").text
    assert "text(d.description)" in script and "text(d.exc_info)" in script
    spared = {"description": "", "exc_info": ""}
    assert not [text for job in answer["jobs"] for text in strings(job | spared) if "<" in text]


def test_a_queue_name_from_redis_is_inert(client, redis):
    redis.sadd("rq:queues", f"rq:queue:{PAYLOAD}")
    assert PAYLOAD not in client.get("/rq/0/data/queues.json").json["queues"][0]["name"]
    assert PAYLOAD not in client.get("/rq/0/view/jobs").text


@pytest.mark.parametrize(
    "path",
    [
        "/rq/0/view/jobs/x'+alert(1)+'/failed/8/asc/1",
        f"/rq/0/view/jobs/{QUEUE}/failed');alert(1);('/8/asc/1",
        f"/rq/0/view/jobs/{QUEUE}/unknown/8/asc/1",
        f"/rq/0/view/jobs/{QUEUE}/failed/8/sideways/1",
        f"/rq/0/data/jobs/{QUEUE}/failed/x/asc/1.json",
        f"/rq/0/data/jobs/{QUEUE}/failed/9999/asc/1.json",
        f"/rq/0/data/jobs/{QUEUE}/failed/8/asc/0.json",
        "/rq/1/data/queues.json",
        "/rq/0/data/job/unknown.json",
        "/rq/0/view/job/unknown",
        "/rq/0/data/job/a%20b.json",
    ],
)
def test_an_address_with_strange_parts_is_a_404(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert "alert" not in response.text
    assert response.is_json == path.endswith(".json")


def test_a_job_that_depends_on_others_can_be_looked_at(client, queue):
    first = queue.enqueue(f"{__name__}.succeed", job_id="1-1")
    queue.enqueue(f"{__name__}.succeed", job_id="2-2", depends_on=first)
    answer = client.get("/rq/0/data/job/2-2.json").json
    assert (answer["depends_on"], answer["depends_on_status"]) == (["1-1"], ["active"])
    queue.connection.delete(OurJob.key_for("1-1"))
    assert client.get("/rq/0/data/job/2-2.json").json["depends_on_status"] == ["expired"]


def test_the_workers_page_works_while_a_worker_is_busy(client, redis, queue):
    seen = []

    class WatchedWorker(BurstWorker):
        def perform_job(self, job, queue, execution):
            seen.append(client.get("/rq/0/data/workers.json"))
            return super().perform_job(job, queue, execution)

    queue.enqueue(f"{__name__}.succeed", job_id="7-7", description=PAYLOAD, kwargs={PAYLOAD: PAYLOAD})
    WatchedWorker([queue], name="w-1", connection=redis, serializer=JSONSerializer, job_class=OurJob).work(
        burst=True, logging_level="CRITICAL"
    )
    [response] = seen
    assert response.status_code == 200
    [worker] = response.json["workers"]
    assert worker["current_job"]["job_id"] == "7-7"
    assert PAYLOAD not in worker["current_job"]["call_string"]
    assert "<%- d.current_job.description" in client.get("/rq/0/view/workers").text


def test_pages_run_their_own_script_and_no_other(client, queue):
    job_id = failed_job(queue)
    response = client.get(f"/rq/0/view/job/{job_id}")
    policy = response.headers["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([\w-]+)'", policy)[1]
    assert f'<script type="text/javascript" nonce="{nonce}">' in response.text
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert nonce not in client.get(f"/rq/0/view/job/{job_id}").text


def test_nothing_in_redis_is_ever_unpickled(client, queue, redis, monkeypatch):
    monkeypatch.setattr("pickle.loads", lambda *_: pytest.fail("unpickled"))
    job_id = failed_job(queue)
    pickled = b"cposix\nsystem\n(S'true'\ntR."
    redis.hset(OurJob.key_for(job_id), "meta", pickled)
    for path in (f"view/job/{job_id}", f"data/job/{job_id}.json", "data/workers.json"):
        assert client.get(f"/rq/0/{path}").status_code == 200


def test_polling_opens_no_further_connections(client, redis, queue):
    failed_job(queue)
    client.get("/rq/0/data/queues.json")
    before = len(redis.client_list())
    for _ in range(30):
        assert client.get("/rq/0/data/queues.json").status_code == 200
    assert len(redis.client_list()) <= before


def test_a_redis_that_is_away_is_said_and_is_no_fault_of_ours(client, app, monkeypatch):
    def away(*_arguments, **_options):
        raise RedisConnectionError("away")

    monkeypatch.setattr(app.redis_conn, "execute_command", away)
    response = client.get("/rq/0/data/queues.json")
    assert response.status_code == 503
    assert "ledger" in response.json["errors"][0]["detail"]


def test_the_page_shows_no_credentials(app, client):
    assert app.config["RQ_DASHBOARD_REDIS_URL"] == ("127.0.0.1/0",)
    assert "redis://" not in client.get("/rq/").text


def test_failed_log_ins_are_counted_in_redis(app, redis):
    log_in(app.test_client(), "wrong")
    assert [key for key in redis.keys("LIMITS*") if b"surefile" in key]
    assert limits.CONNECTIONS == 2


@pytest.mark.parametrize(
    ("url", "verify", "expected"),
    [
        ("rediss://h:1/0", True, "rediss://h:1/0"),
        ("rediss://h:1/0", False, "rediss://h:1/0?ssl_cert_reqs=none"),
        ("rediss://h:1/0?db=1", False, "rediss://h:1/0?db=1&ssl_cert_reqs=none"),
        ("rediss://h:1/0?ssl_cert_reqs=required", False, "rediss://h:1/0?ssl_cert_reqs=required"),
        ("redis://h:1/0", False, "redis://h:1/0"),
    ],
)
def test_a_certificate_is_left_unchecked_only_where_a_setting_says_so(url, verify, expected):
    assert with_tls_choice(url, verify) == expected
