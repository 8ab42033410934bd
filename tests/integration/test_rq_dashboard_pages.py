"""The RQ dashboard's pages: stored texts stay inert, strange jobs and addresses are answered, Redis is spared."""

import html
import json
import re

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.dashboard import PAYLOAD, QUEUE, SUCCEED, BurstWorker, OurJob, embedded_valkey, failed_job, mounted, work
from tests.edge_app import log_in


@pytest.fixture(scope="module")
def server():
    with embedded_valkey() as running:
        yield running


@pytest.fixture
def dashboard(server):
    with mounted(server.url) as dashboard:
        yield dashboard


@pytest.fixture
def client(dashboard):
    client = dashboard.app.test_client()
    assert log_in(client).status_code == 303
    return client


@pytest.fixture
def queue(dashboard):
    return dashboard.queue


@pytest.fixture
def redis(dashboard):
    return dashboard.redis


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
    queue.enqueue(SUCCEED, job_id="3-3", description="x")
    work(queue)
    result = client.get("/rq/0/data/job/3-3.json").json["result"]
    escaped = str(html.escape(PAYLOAD))
    assert result == {"text": escaped, escaped: [escaped]}


def test_the_jobs_list_leaves_escaping_to_its_script_only_for_two_fields(client, queue):
    """Its script sets these two as text; it inserts the other fields as they come."""
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


def test_a_job_that_depends_on_others_can_be_shown(client, queue):
    first = queue.enqueue(SUCCEED, job_id="1-1")
    queue.enqueue(SUCCEED, job_id="2-2", depends_on=first)
    answer = client.get("/rq/0/data/job/2-2.json").json
    assert (answer["depends_on"], answer["depends_on_status"]) == (["1-1"], ["active"])
    queue.connection.delete(OurJob.key_for("1-1"))
    assert client.get("/rq/0/data/job/2-2.json").json["depends_on_status"] == ["expired"]


def test_the_workers_page_works_while_a_worker_is_busy(client, queue):
    seen = []

    class WatchedWorker(BurstWorker):
        def perform_job(self, job, queue, execution):
            seen.append(client.get("/rq/0/data/workers.json"))
            return super().perform_job(job, queue, execution)

    queue.enqueue(SUCCEED, job_id="7-7", description=PAYLOAD, kwargs={PAYLOAD: PAYLOAD})
    work(queue, WatchedWorker, name="w-1")
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


def test_an_unreachable_redis_is_reported_as_such(client, dashboard, monkeypatch):
    def away(*_arguments, **_options):
        raise RedisConnectionError("away")

    monkeypatch.setattr(dashboard.app.redis_conn, "execute_command", away)
    response = client.get("/rq/0/data/queues.json")
    assert response.status_code == 503
    assert "ledger" in response.json["errors"][0]["detail"]


def test_the_page_shows_no_credentials(dashboard, client):
    assert dashboard.app.config["RQ_DASHBOARD_REDIS_URL"] == ("127.0.0.1/0",)
    assert "redis://" not in client.get("/rq/").text
