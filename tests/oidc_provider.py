"""An OpenID Connect provider on loopback, as small as the standard allows, which can also lie about each thing."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, Response, jsonify, redirect, request

CLIENT, SECRET = "surefile", "a secret"


def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Provider:
    """`claims` are those of whoever signs in; what is in `lies` replaces what a token truly says. `signs` signs."""

    claims: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    refuses: str | None = None
    keeps_token: bool = False
    published: rsa.RSAPrivateKey = field(default_factory=key)
    signs: rsa.RSAPrivateKey | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def app(self) -> Flask:
        app = Flask(__name__)
        app.add_url_rule("/.well-known/openid-configuration", view_func=self.discovery)
        app.add_url_rule("/keys", view_func=self.keys)
        app.add_url_rule("/authorize", view_func=self.authorize)
        app.add_url_rule("/token", view_func=self.token, methods=["POST"])
        return app

    def discovery(self) -> Response:
        here = request.host_url.rstrip("/")
        return jsonify(
            issuer=self.lies.get("issuer", here),
            authorization_endpoint=f"{here}/authorize",
            token_endpoint=f"{here}/token",
            jwks_uri=f"{here}/keys",
            id_token_signing_alg_values_supported=["RS256", "none"],
        )

    def keys(self) -> Response:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.published.public_key(), as_dict=True)
        return jsonify(keys=[{**public, "kid": "one", "alg": "RS256", "use": "sig"}])

    def authorize(self) -> Any:
        asked = request.args
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256" and asked["state"] and asked["nonce"]
        if self.refuses:
            return redirect(f"{asked['redirect_uri']}?{urlencode({'error': self.refuses, 'state': asked['state']})}")
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked.to_dict()
        return redirect(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    def token(self) -> Any:
        asked = self.codes.pop(request.form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(request.form["code_verifier"].encode()).digest())
        proven = asked is not None and challenge.rstrip(b"=").decode() == asked["code_challenge"]
        known = request.authorization is not None and request.authorization.password == SECRET
        if asked is None or not proven or not known or request.form["redirect_uri"] != asked["redirect_uri"]:
            return jsonify(error="invalid_grant"), 400
        here, now = request.host_url.rstrip("/"), int(time.time())
        said = {"iss": here, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        signed = jwt.encode(
            {**said, **self.claims, **self.lies}, self.signs or self.published, "RS256", headers={"kid": "one"}
        )
        token = {} if self.keeps_token else {"id_token": signed}
        return jsonify(access_token="opaque", token_type="Bearer", expires_in=300, **token)
