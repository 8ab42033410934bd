"""Sign-in of operators by OpenID Connect, beside names and passwords, where `OIDC_ISSUER` is set.

An authorization code with state, nonce and PKCE, by Authlib. What the provider says of a role holds as long as the
log-in, eight hours; nothing else of its answer is kept. Each failure ends in a sentence on the log-in page.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.flask_client import OAuth
from flask import Flask, current_app
from joserfc.errors import JoseError
from requests import RequestException
from werkzeug.wrappers import Response

from flaskapp.config import Config
from flaskapp.ops.operators import ADMINISTRATOR, OPERATOR, ROLES, VIEWER, Operator, operators

log = logging.getLogger(__name__)

# Each of the two or three calls of one sign-in.
CALL_SECONDS = 5.0
DISCOVERY = "/.well-known/openid-configuration"
# What may sign a token. Never a secret that is shared, and never nothing.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LONGEST_NAME = 100

AWAY = "The sign-in service cannot be reached just now. Try again in a minute."
NOT_BEGUN_HERE = "This sign-in was begun elsewhere, or too long ago. Begin again."
DENIED = "The sign-in service let nobody in. Begin again, or ask whoever runs it."
UNVERIFIED = "The sign-in service's answer could not be verified. Tell whoever set it up."
NO_NAME = "The sign-in service does not say who you are. Tell whoever set it up."
NO_ROLE = "You are signed in, {name}, and have no role here. Ask for one: surefile-viewer is the least."
TAKEN = "Somebody named {name} logs in here with a password, and acts are recorded by name. Use that log-in."


class NotSignedIn(Exception):
    """Nobody was let in; the text is the sentence for them."""


def init_app(app: Flask, config: Config) -> None:
    """Does nothing unless `OIDC_ISSUER` is set."""
    if config.oidc_issuer is None:
        return
    oauth = OAuth(app)
    oauth.register(
        "operators",
        client_id=config.oidc_client_id,
        client_secret=config.oidc_client_secret,
        server_metadata_url=config.oidc_issuer + DISCOVERY,
        client_kwargs={
            "scope": config.oidc_scopes,
            "code_challenge_method": "S256",
            "default_timeout": CALL_SECONDS,
        },
    )
    app.extensions["operators_oidc"] = oauth.operators


def is_offered() -> bool:
    return "operators_oidc" in current_app.extensions


def client() -> Any:
    """The provider's client, which knows that it is the right provider. Raises NotSignedIn."""
    found = current_app.extensions["operators_oidc"]
    issuer = current_app.extensions["operators_config"].oidc_issuer
    if str(found.load_server_metadata().get("issuer")).rstrip("/") != issuer:
        log.error("another issuer", extra={"event": "operators.oidc_failed", "error": "issuer"})
        raise NotSignedIn(UNVERIFIED)
    found.server_metadata["id_token_signing_alg_values_supported"] = ALGORITHMS
    return found


def begin(callback: str) -> Response:
    """Send the browser to the provider, which sends it back to `callback`. Raises NotSignedIn."""
    try:
        redirect: Response = client().authorize_redirect(callback)
    except (RequestException, AuthlibBaseError, ValueError, RuntimeError) as error:
        raise NotSignedIn(sentence_for(error)) from error
    return redirect


def end() -> Operator:
    """The operator whom the provider sent back. Raises NotSignedIn."""
    config: Config = current_app.extensions["operators_config"]
    try:
        provider = client()
        claims = {
            "iss": {"essential": True, "value": provider.server_metadata["issuer"]},
            "aud": {"essential": True, "value": config.oidc_client_id},
        }
        said = provider.authorize_access_token(claims_options=claims).get("userinfo")
    except (RequestException, AuthlibBaseError, JoseError, ValueError, RuntimeError) as error:
        raise NotSignedIn(sentence_for(error)) from error
    if said is None:
        raise NotSignedIn(UNVERIFIED)
    return operator_of(said, config)


def sentence_for(error: Exception) -> str:
    """What to say about it. Only its class and a known code are logged: the rest is text of others."""
    code = getattr(error, "error", None)
    extra = {"event": "operators.oidc_failed", "error": type(error).__name__, "code": code if code in KNOWN else None}
    log.warning("sign-in failed", extra=extra)
    if isinstance(error, RequestException):
        return AWAY
    if isinstance(error, MismatchingStateError):
        return NOT_BEGUN_HERE
    return KNOWN.get(str(code), UNVERIFIED)


KNOWN = {"access_denied": DENIED, "login_required": DENIED, "server_error": AWAY, "temporarily_unavailable": AWAY}


def operator_of(said: Mapping[str, Any], config: Config) -> Operator:
    """Who this is, in the most that their roles allow. Raises NotSignedIn."""
    name = said.get(config.oidc_name_claim)
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise NotSignedIn(NO_NAME)
    if name in operators():
        raise NotSignedIn(TAKEN.format(name=name))
    roles = roles_in(said, config.oidc_roles_claim)
    role = next((role for role in (ADMINISTRATOR, OPERATOR, VIEWER) if ROLES[role] in roles), None)
    if role is None:
        raise NotSignedIn(NO_ROLE.format(name=name))
    return Operator(name, secrets.token_urlsafe(16), role=role)


def roles_in(said: Mapping[str, Any], claim: str) -> set[str]:
    """The roles of a claim: a text or a list of texts. `realm_access.roles` means the claim inside the claim."""
    found: Any = said
    for part in claim.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    each = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return {role for role in each if isinstance(role, str)}
