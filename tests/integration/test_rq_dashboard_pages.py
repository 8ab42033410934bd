"""The RQ dashboard's pages: stored texts stay inert, strange jobs and addresses are answered, Redis is spared."""

import html
import json

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.dashboard import (
    PAYLOAD,
    QUEUE,
    SUCCEED,
    BurstWorker,
    OurJob,
    embedded_valkey,
    failed_job,
    mounted,
    stored,
    work,
)
from tests.edge_app import csrf_of, log_in


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


def test_stored_texts_are_inert_in_every_page_and_list(client, queue):
    job_id = failed_job(queue, description=PAYLOAD)
    answer = client.get(f"/rq/0/data/jobs/{QUEUE}/failed/8/asc/1.json").json
    assert not [text for job in answer["jobs"] for text in strings(job) if "<" in text]
    for path in (f"/rq/0/view/jobs/{QUEUE}/failed/8/asc/1", f"/rq/0/view/job/{job_id}"):
        page = client.get(path).text
        assert PAYLOAD not in page and str(html.escape(PAYLOAD)).replace("&quot;", "&#34;") in page


def test_what_never_ended_has_no_end_and_times_are_those_of_redis(client, queue):
    job = queue.enqueue(SUCCEED, job_id="1-1", description="x")
    page = client.get(f"/rq/0/view/jobs/{QUEUE}/queued/8/asc/1").text
    assert f"<td>{job.created_at:%Y-%m-%d %H:%M:%S}</td><td>–</td>" in page and "second ago" not in page


def test_the_forms_of_pages_requeue_one_or_all_with_a_reason(client, dashboard, queue):
    job_id = failed_job(queue)
    page = client.get(f"/rq/0/view/jobs/{QUEUE}/failed/8/asc/1")
    form = {"csrf_token": csrf_of(page.text)}
    answer = client.post(f"/rq/job/{job_id}/requeue", data=form)
    assert (answer.status_code, dashboard.changes) == (303, [("ana", "requeued", [job_id])])
    work(queue)
    assert "<strong>1 failed.</strong>" in client.get(f"/rq/requeue/{QUEUE}/preview").text
    form |= {"reason": "upstream mended"}
    page = client.post(f"/rq/requeue/{QUEUE}", data=form, follow_redirects=True).text
    assert "1 requeued; 0 were gone; 0 are left." in page
    assert stored(queue, job_id).meta == {"requeued_by": "ana", "requeued_why": "upstream mended"}
    assert client.post(f"/rq/requeue/{QUEUE}", data={"csrf_token": "forged"}).status_code == 403


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
    assert PAYLOAD not in client.get("/rq/0/view/workers").text


def test_pages_run_no_script(client, queue):
    response = client.get(f"/rq/0/view/job/{failed_job(queue)}")
    assert "<script" not in response.text
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    assert "script-src" not in response.headers["Content-Security-Policy"]


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
    page = client.get("/rq/", headers={"Accept": "text/html"})
    assert page.status_code == 503 and 'href="/ops/"' in page.text and "Nothing is lost" in page.text


def test_the_page_shows_no_credentials(dashboard, client):
    assert dashboard.app.config["RQ_DASHBOARD_REDIS_URL"] == ("127.0.0.1/0",)
    assert "redis://" not in client.get("/rq/").text
