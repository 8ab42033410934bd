"""An app with one blueprint for signed-in people only, and the Sign-in Service's keys and tokens, made here."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Blueprint

from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer
from flaskapp.web.sign_in import caller, require_sign_in
from tests.edge_app import CONFIG, make_app

ACCOUNT = "6e3a9d0c-52b7-4f7e-9d1c-0b8f6a4e2c11"
PATH = "/v0/things"


@cache
def private_key(name):
    """The key of this name, the same in a whole test run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key(name):
    return private_key(name).public_key()


def pem(name):
    return public_key(name).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def claims(**changes):
    """Every claim of the contract (contract: travel 7); a change to `...` leaves one out."""
    now = int(time.time())
    full = {
        "iss": "va.gov sign in",
        "aud": ["va.gov"],
        "client_id": "vaweb",
        "jti": "0d1c6f0e-7a54-4b53-8a37-3d2f5e9b1a02",
        "sub": ACCOUNT,
        "exp": now + 300,
        "iat": now,
        "session_handle": "b1f0c2d3-9e8f-4a7b-8c6d-5e4f3a2b1c0d",
        "refresh_token_hash": "f" * 64,
        "parent_refresh_token_hash": None,
        "anti_csrf_token": "a" * 32,
        "last_regeneration_time": now,
        "version": "V0",
        "user_attributes": {},
    }
    return {name: value for name, value in (full | changes).items() if value is not ...}


def token(key="today", algorithm="RS256", headers=None, **changes):
    return jwt.encode(claims(**changes), private_key(key), algorithm, headers)


class Keys:
    """Keys that a test sets: `known` now, `published` after a fetch, of which `fetches` are allowed."""

    def __init__(self, known=("today",), published=None, fetches=1):
        self.known = list(known)
        self.published = list(published if published is not None else known)
        self.fetches = fetches
        self.error = None

    def current(self):
        if self.error is not None:
            raise self.error
        return [public_key(name) for name in self.known]

    def fetch_soon(self):
        if self.fetches > 0:
            self.fetches -= 1
            self.known = self.published


def things():
    blueprint = Blueprint("things", __name__, url_prefix=PATH)
    require_sign_in(blueprint)

    @blueprint.route("", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def whose():
        return answer({"account": caller().account_id, "by_cookie": caller().by_cookie})

    @blueprint.get("/gone")
    def gone():
        raise Problem(404)

    @blueprint.get("/broken")
    def broken():
        raise RuntimeError("a fault of ours")

    return blueprint


def make_signed_in_app(keys=None, **settings):
    config = replace(CONFIG, **settings)

    def routes(app):
        app.extensions["config"] = config
        app.extensions["upstreams"] = SimpleNamespace(sign_in_keys=keys or Keys())
        app.register_blueprint(things())

    return make_app(config, routes, operators=True)
