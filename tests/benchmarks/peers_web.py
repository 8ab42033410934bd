"""Peers of our POSTs, under the same web server and on the same database: what others would write by hand.

`/claims` and `/itfs` do all the work that ours does in one transaction: who it is, sealing, digests, three inserts and
the wake-up. `/enqueued` commits with the ORM and then enqueues with RQ, which promises nothing. `/deferred` defers with
Procrastinate in the transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import queue
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import jwt
import psycopg2
from cryptography.fernet import Fernet
from flask import Flask, request
from procrastinate.schema import SchemaManager
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import LargeBinary, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flaskapp.config import read_database_url
from tests.benchmarks.peers_jobs import NOTHING_PATH

CONNECTIONS = 4
TABLES = """
    CREATE TABLE peer_sessions (
        token_digest text PRIMARY KEY, uuid text NOT NULL, identity bytea NOT NULL, expires_at timestamptz NOT NULL);
    CREATE TABLE peer_accounts (id uuid PRIMARY KEY);
    CREATE TABLE peer_claims (
        id uuid PRIMARY KEY, person_digest text NOT NULL, station_digest text NOT NULL, appointment_date date NOT NULL,
        identity bytea NOT NULL, state text NOT NULL DEFAULT 'pending', requested_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (person_digest, appointment_date, station_digest));
    CREATE INDEX ON peer_claims (state, requested_at);
    CREATE TABLE peer_itfs (
        id uuid PRIMARY KEY, account_id uuid NOT NULL REFERENCES peer_accounts, type text NOT NULL,
        state text NOT NULL DEFAULT 'pending', asked_at timestamptz NOT NULL DEFAULT now(), UNIQUE (account_id, type));
    CREATE TABLE peer_messages (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job text NOT NULL, queue text NOT NULL,
        subject_id text NOT NULL, state text NOT NULL DEFAULT 'ready', deadline_at timestamptz NOT NULL DEFAULT now(),
        created_at timestamptz NOT NULL DEFAULT now());
    CREATE UNIQUE INDEX ON peer_messages (subject_id, job);
    CREATE INDEX ON peer_messages (queue, deadline_at, id) WHERE state = 'ready';
    CREATE TABLE peer_history (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subject_id text NOT NULL, what text NOT NULL,
        moved_to text NOT NULL, at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON peer_history (subject_id, id);
"""
SESSION = "SELECT uuid, identity FROM peer_sessions WHERE token_digest = %s AND expires_at > now()"
CLAIM = """
    INSERT INTO peer_claims (id, person_digest, station_digest, appointment_date, identity)
    VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING requested_at
"""
ACCOUNT = "INSERT INTO peer_accounts (id) VALUES (%s) ON CONFLICT DO NOTHING"
ITF = "INSERT INTO peer_itfs (id, account_id, type) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING asked_at"
MESSAGE = "INSERT INTO peer_messages (job, queue, subject_id) VALUES (%s, %s, %s) RETURNING pg_notify('peer_ready', '')"
HISTORY = "INSERT INTO peer_history (subject_id, what, moved_to) VALUES (%s, 'requested', 'pending')"
DEFER = """
    SELECT procrastinate_defer_jobs_v1(ARRAY[
        ROW('peer', 'nothing', 0, NULL, NULL, %s, NULL)]::procrastinate_job_to_defer_v1[])
"""


def prepare(connection: Any, sealed_with: str, digest_key: str, sessions: Sequence[tuple[str, str, Any]]) -> None:
    """Tables, and the sessions (token, uuid, identity) of those who post. The connection commits by itself."""
    fernet = Fernet(sealed_with)
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        cursor.execute(SchemaManager.get_schema())
        for token, who, identity in sessions:
            values = (digest(digest_key, token), who, fernet.encrypt(json.dumps(identity).encode()))
            cursor.execute("INSERT INTO peer_sessions VALUES (%s, %s, %s, now() + interval '1 day')", values)


def digest(key: str, *parts: str) -> str:
    message = b"".join(f"{len(part.encode())}:".encode() + part.encode() for part in parts)
    return hmac.new(key.encode(), message, hashlib.sha256).hexdigest()


class Base(DeclarativeBase):
    """The ORM's view of the tables above."""


class PeerSession(Base):
    __tablename__ = "peer_sessions"
    token_digest: Mapped[str] = mapped_column(primary_key=True)
    uuid: Mapped[str]
    identity: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]


class PeerClaim(Base):
    __tablename__ = "peer_claims"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    person_digest: Mapped[str]
    station_digest: Mapped[str]
    appointment_date: Mapped[date]
    identity: Mapped[bytes] = mapped_column(LargeBinary)


class Keys:
    """Stands where gunicorn.conf.py expects the check of our own application's keys."""

    def refuse_start(self, app: Flask) -> None:
        """There is nothing to compare."""


class Peers:
    """What the handlers share in one web process: keys, a few connections as ours has, an engine, and Redis."""

    def __init__(self) -> None:
        self.url = os.environ["DATABASE_URL"]
        self.digest_key = os.environ["DIGEST_KEY"]
        self.fernet = Fernet(os.environ["ENCRYPTION_KEYS"].split(",")[0])
        self.public_key = os.environ["SIS_PUBLIC_KEYS"]
        self.pool: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self.pool.put(None)
        self.engine = create_engine(read_database_url(self.url), pool_size=CONNECTIONS, max_overflow=0)
        self.queue = Queue("peer", connection=Redis.from_url(os.environ["REDIS_URL"]), serializer=JSONSerializer)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        connection = self.pool.get() or psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            self.pool.put(connection)


app = Flask(__name__)
app.extensions["keys"] = Keys()
peers = Peers() if "ENCRYPTION_KEYS" in os.environ else None


def shared() -> Peers:
    assert peers is not None
    return peers


@app.get("/live")
def live() -> dict[str, bool]:
    return {"ok": True}


def who(row: Any, requested: dict[str, str]) -> dict[str, Any]:
    assert row is not None and row[0] == requested["uuid"]
    found: dict[str, Any] = json.loads(shared().fernet.decrypt(bytes(row[1])))
    return found


def token_digest() -> str:
    return digest(shared().digest_key, request.cookies["cie_session"])


def values_of(identity: dict[str, Any], requested: dict[str, str]) -> tuple[uuid.UUID, str, str, date, bytes]:
    key = shared().digest_key
    sealed = shared().fernet.encrypt(json.dumps(identity).encode())
    day = date.fromisoformat(requested["appointmentDate"])
    return uuid.uuid4(), digest(key, identity["icn"]), digest(key, identity["station"]), day, sealed


def accepted(kind: str, identifier: uuid.UUID, at: datetime | None = None) -> tuple[dict[str, Any], int]:
    data = {"id": str(identifier), "type": kind, "state": "pending", "requestedAt": at.isoformat() if at else None}
    return {"data": data}, 202


def insert_claim(cursor: Any) -> tuple[uuid.UUID, datetime]:
    requested = request.get_json()["travelClaims"]
    cursor.execute(SESSION, (token_digest(),))
    values = values_of(who(cursor.fetchone(), requested), requested)
    cursor.execute(CLAIM, (str(values[0]), *values[1:]))
    return values[0], cursor.fetchone()[0]


@app.post("/claims")
def claim() -> tuple[dict[str, Any], int]:
    with shared().transaction() as cursor:
        identifier, at = insert_claim(cursor)
        cursor.execute(HISTORY, (str(identifier),))
        cursor.execute(MESSAGE, ("file_claim", "claims", str(identifier)))
    return accepted("travel_claim", identifier, at)


@app.post("/itfs")
def itf() -> tuple[dict[str, Any], int]:
    token = request.headers["Authorization"].removeprefix("Bearer ")
    account = jwt.decode(token, shared().public_key, algorithms=["RS256"], audience="va.gov")["sub"]
    identifier = uuid.uuid4()
    with shared().transaction() as cursor:
        cursor.execute(ACCOUNT, (account,))
        cursor.execute(ITF, (str(identifier), account, "compensation"))
        at = cursor.fetchone()[0]
        cursor.execute(HISTORY, (str(identifier),))
        cursor.execute(MESSAGE, ("create_itf", "itfs", str(identifier)))
    return accepted("intent_to_file", identifier, at)


@app.post("/enqueued")
def enqueued() -> tuple[dict[str, Any], int]:
    requested = request.get_json()["travelClaims"]
    with Session(shared().engine) as session:
        found = session.scalars(select(PeerSession).where(PeerSession.token_digest == token_digest())).one()
        values = values_of(who((found.uuid, found.identity), requested), requested)
        names = ("id", "person_digest", "station_digest", "appointment_date", "identity")
        session.add(PeerClaim(**dict(zip(names, values, strict=True))))
        session.commit()
    shared().queue.enqueue(NOTHING_PATH, str(values[0]))
    return accepted("travel_claim", values[0])


@app.post("/deferred")
def deferred() -> tuple[dict[str, Any], int]:
    with shared().transaction() as cursor:
        identifier, at = insert_claim(cursor)
        cursor.execute(DEFER, (json.dumps({"claim": str(identifier)}),))
    return accepted("travel_claim", identifier, at)
