"""The smallest route that keeps its promise: one row, one commit. Our own POST is compared with it."""

from __future__ import annotations

import os

from flask import Flask, request
from sqlalchemy import create_engine, text

from flaskapp.config import read_database_url

INSERT = text("INSERT INTO bare_rows (body) VALUES (CAST(:body AS jsonb)) RETURNING id")

app = Flask(__name__)
engine = create_engine(read_database_url(os.environ["DATABASE_URL"]), pool_size=8)


@app.post("/rows")
def keep() -> tuple[dict[str, int], int]:
    with engine.begin() as db:
        return {"id": db.execute(INSERT, {"body": request.get_data(as_text=True)}).scalar_one()}, 202
