"""Settings of the web server. gunicorn finds this file by its name, so the Procfile line stays short."""

import os
import tempfile
from importlib import import_module

# A platform's router calls from elsewhere. On one machine `make run` sets this to the loopback address.
bind = f"{os.environ.get('WEB_ADDRESS') or '0.0.0.0'}:{os.environ.get('PORT', '8000')}"

# Most requests wait only for the database. Some wait for an upstream, in threads that hold no database connection
# meanwhile: at most half of all threads, and at most a quarter for one upstream (`flaskapp/web/threads.py`).
# All share the process's `DATABASE_POOL_SIZE` connections, because each request takes one for milliseconds.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# gthread, with limits on how long, and in how many threads, a client may keep us waiting.
worker_class = "flaskapp.web.worker.PatientWorker"
# The application reads the same setting.
threads = int(os.environ.get("WEB_THREADS") or "30")
worker_connections = 400
preload_app = False

# Heroku kills what is left 30 s after SIGTERM and gives up on a request after 30 s; we are done before either.
timeout = 28
graceful_timeout = 25
# Longer than Heroku's router keeps an idle connection (90 s), so that the router never uses one that we have closed.
keepalive = 100

# A slow memory leak ends with the worker; the jitter keeps the workers from ending at the same time.
max_requests = 10_000
max_requests_jitter = 1_000

# The application decides which proxies to trust (`TRUSTED_PROXIES`), so gunicorn itself trusts none.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers = {}

limit_request_line = 4_094
limit_request_fields = 48
# A browser sends all cookies of a whole domain in one field.
limit_request_field_size = 16_384

# The application logs each request. gunicorn logs only its own events, as JSON on stdout like everything else.
accesslog = None
errorlog = None
logconfig_dict = {
    "root": {"level": "INFO", "handlers": []},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["stdout"], "propagate": False}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": ["levelname", "name", "message"],
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": True,
        }
    },
}


def post_worker_init(worker):
    """Refuse to serve with keys that are not those of what is stored; Postgres may be away."""
    worker.wsgi.extensions["keys"].refuse_start(worker.wsgi)


def worker_exit(server, worker):
    """What was counted since the last flush."""
    if hasattr(worker, "wsgi"):
        import_module("flaskapp.ops.counters").end_in_web(worker.wsgi)


def usable(folder: str) -> str | None:
    """The folder if a file can be made there, else None: gunicorn then takes the one for temporary files."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


# Heartbeats belong in memory: on a slow disk they would make a healthy worker look dead.
worker_tmp_dir = usable("/dev/shm")
control_socket_disable = True
