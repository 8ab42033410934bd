"""Access to the RQ dashboard, and the changes possible there: operators may requeue, and nothing else."""

import pytest
from rq import SimpleWorker

from flaskapp.redis_pool import with_tls_choice
from tests.dashboard import OWN, QUEUE, SUCCEED, OurJob, embedded_valkey, failed, failed_job, mounted, stored, work
from tests.edge_app import ORIGIN, log_in


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
def anonymous(dashboard):
    return dashboard.app.test_client()


@pytest.fixture
def changes(dashboard):
    return dashboard.changes


def contents(redis):
    """Everything in Redis, to see that nothing changed."""
    return {key: redis.dump(key) for key in redis.scan_iter()}


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
def test_a_browser_without_an_origin_header_is_recognized_by_other_headers(client, queue, sign):
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


def test_requeueing_an_unknown_or_not_failed_job_says_so(client, queue, changes):
    waiting = queue.enqueue(SUCCEED, job_id="1-1").id
    for job_id, status in (("9-9", 404), ("a%20b", 404), (waiting, 409)):
        response = client.post(f"/rq/job/{job_id}/requeue", headers=OWN)
        assert (response.status_code, response.json["errors"][0]["status"]) == (status, str(status))
    assert "requeued_by" not in stored(queue, waiting).meta
    assert (queue.job_ids, changes) == ([waiting], [])


def test_requeue_all_skips_ghosts_and_counts(client, queue, changes):
    ids = [failed_job(queue, f"{number}-1") for number in range(4)]
    queue.connection.delete(OurJob.key_for(ids[0]), OurJob.key_for(ids[2]))
    response = client.post(f"/rq/requeue/{QUEUE}", headers=OWN)
    assert response.json == {"status": "OK", "count": 2, "skipped": 2, "left": 0}
    assert sorted(queue.job_ids) == [ids[1], ids[3]] == sorted(changes[0][2])
    assert all(stored(queue, job_id).meta["requeued_by"] == "ana" for job_id in queue.job_ids)
    assert failed(queue) == []


def test_requeue_all_has_a_limit_and_reports_how_many_are_left(client, queue, monkeypatch):
    monkeypatch.setattr("flaskapp.ops.rq_views.REQUEUE_AT_MOST", 2)
    for number in range(3):
        failed_job(queue, f"{number}-1")
    assert client.post(f"/rq/requeue/{QUEUE}", headers=OWN).json["left"] == 1
    assert client.post(f"/rq/requeue/{QUEUE}", headers=OWN).json["left"] == 0


def test_requeue_all_by_get_is_refused(client, anonymous, queue):
    job_id = failed_job(queue)
    for caller in (client, anonymous):
        response = caller.get(f"/rq/requeue/{QUEUE}", headers=OWN)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert failed(queue) == [job_id]


def test_reading_every_page_changes_nothing(client, queue):
    redis = queue.connection
    failed_job(queue)
    queue.enqueue(SUCCEED, job_id="2-2")
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
def test_nothing_can_be_deleted(client, queue, path):
    job_id = failed_job(queue)
    response = client.post(f"/rq/{path.format(job_id)}", headers=OWN)
    assert response.status_code == 403
    assert "ledger" in response.json["errors"][0]["detail"]
    assert failed(queue) == [job_id]
    assert 'id="delete-job-btn"' not in client.get(f"/rq/0/view/job/{job_id}").text


def test_compacting_removes_ghosts_and_keeps_the_order(client, queue):
    ids = [queue.enqueue(SUCCEED, job_id=f"{number}-1").id for number in range(3)]
    queue.connection.rpush(queue.key, "ghost")
    assert client.post(f"/rq/queue/{QUEUE}/compact", headers=OWN).json == {"status": "OK", "count": 1}
    assert queue.job_ids == ids
    assert client.post("/rq/queue/empty_one/compact", headers=OWN).json == {"status": "OK", "count": 0}


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
def test_a_certificate_is_unchecked_only_where_a_setting_says_so(url, verify, expected):
    assert with_tls_choice(url, verify) == expected
