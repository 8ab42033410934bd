"""A token identifies its person, or nobody: every way in which it can be wrong, and the answers (contract: travel
7)."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWS

from flaskapp.upstreams.errors import Unavailable
from flaskapp.upstreams.sign_in_keys import SignInKeys
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.web import access
from tests.edge_app import CONFIG
from tests.sign_in_edge import ACCOUNT, PATH, Keys, claims, make_signed_in_app, pem, private_key, public_key, token

MALFORMED = "Access token JWT is malformed"
NOT_SIGNED = "Access token signature is not valid"
NOT_FOR_US = "Access token audience is not accepted"


@pytest.fixture(scope="module")
def app():
    return make_signed_in_app()


@pytest.fixture
def keys(app):
    return holding(app, Keys())


@pytest.fixture
def client(app, keys):
    return app.test_client()


def holding(app, keys):
    app.extensions["upstreams"].sign_in_keys = keys
    return keys


def ask(client, sent, scheme="Bearer"):
    return client.get(PATH, headers={"Authorization": f"{scheme} {sent}"})


def refused(response, text, status=401):
    assert (response.status_code, response.content_type) == (status, "application/json")
    assert response.text == f'{{"errors":"{text}"}}'
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert "X-Session-Expiration" not in response.headers
    return True


def encoded(part):
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hmac_signed(header, secret):
    unsigned = f"{encoded(header)}.{encoded(claims())}"
    return f"{unsigned}.{encoded(hmac.digest(secret, unsigned.encode(), hashlib.sha256))}"


def test_a_good_token_says_whose_it_is_and_when_it_ends(client):
    response = ask(client, token(exp=4_000_000_000))
    assert response.json == {"account": ACCOUNT, "by_cookie": False}
    assert response.headers["X-Session-Expiration"] == "2096-10-02T07:06:40+00:00"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_as_http_says(client, scheme):
    assert ask(client, token(), scheme).status_code == 200


def test_the_cookie_is_read_when_there_is_no_bearer_header(client):
    client.set_cookie("vagov_access_token", token())
    assert client.get(PATH).json == {"account": ACCOUNT, "by_cookie": True}
    assert ask(client, "c3RhZ2luZzpkb29y", "Basic").json["by_cookie"] is True


def test_a_bearer_header_wins_even_when_it_is_bad(client):
    client.set_cookie("vagov_access_token", token())
    assert refused(ask(client, "nonsense"), MALFORMED)
    assert refused(client.get(PATH, headers={"Authorization": "Bearer"}), MALFORMED)
    client.set_cookie("vagov_access_token", "nonsense")
    assert ask(client, token()).json == {"account": ACCOUNT, "by_cookie": False}


@pytest.mark.parametrize("cookie", [None, "", "nonsense", '"\\303\\251.a.b"', "\\355\\240\\200.a.b"])
def test_without_a_readable_token_nobody_is_let_in(client, cookie):
    headers = {} if cookie is None else {"Cookie": f"vagov_access_token={cookie}"}
    assert refused(client.get(PATH, headers=headers), MALFORMED)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "...",
        "é.é.é",
        "\ud800",
        f"{encoded([])}.e30.c2ln",
        f"{encoded({'alg': ['RS256']})}.e30.c2ln",
        f"{encoded({'alg': 'RS256', 'kid': 7})}.e30.c2ln",
        f"{encoded({'alg': 'RS256', 'b64': False, 'crit': ['b64']})}..c2ln",
        f"{encoded({'alg': 'RS256', 'crit': ['sudo']})}.e30.c2ln",
        f"{encoded(b'[' * 3_000)}.e30.c2ln",
        f"{encoded(b'{' + b'1' * 5_000)}.e30.c2ln",
        "a" * 100_000,
    ],
)
def test_what_is_not_a_token_is_called_malformed(client, keys, sent):
    value = f"Bearer {sent}".encode("utf-8", "surrogatepass").decode("latin-1")
    assert refused(client.get(PATH, headers={"Authorization": value}), MALFORMED)
    assert keys.fetches == 1


def test_a_token_larger_than_a_header_is_not_even_read(client):
    assert refused(ask(client, token(user_attributes={"name": "x" * 8_000})), MALFORMED)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": None},
        {"exp": "4000000000"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"exp": 10**14},
        {"exp": [4_000_000_000]},
        {"sub": ...},
        {"sub": None},
        {"sub": "1012667145V762142"},
        {"sub": ACCOUNT.replace("-", "")},
        {"sub": f"{{{ACCOUNT}}}"},
        {"sub": f"urn:uuid:{ACCOUNT}"},
        {"sub": f"{ACCOUNT}\n"},
        {"sub": 7},
    ],
)
def test_a_signed_token_without_its_claims_is_malformed(client, changes):
    # Signed as bytes, because PyJWT would refuse to make some of these itself.
    assert refused(ask(client, signed(json.dumps(claims(**changes)).encode())), MALFORMED)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"not json", b"\xff", b""])
def test_a_signed_text_that_is_no_object_is_malformed(client, payload):
    assert refused(ask(client, signed(payload)), MALFORMED)


def signed(payload):
    return PyJWS().encode(payload, private_key("today"), "RS256")


def test_one_account_has_one_spelling(client):
    assert ask(client, token(sub=ACCOUNT.upper())).json["account"] == ACCOUNT


@pytest.mark.parametrize("audience", ["va.gov", ["va.gov"], ["other", "va.gov"], [None, {}, "va.gov"]])
def test_any_overlap_of_audiences_passes(client, audience):
    assert ask(client, token(aud=audience)).status_code == 200


@pytest.mark.parametrize(
    "audience", [..., None, "", [], "vamobile", ["vamobile"], "va.gov.evil", "va", ["VA.GOV"], {}, 1]
)
def test_a_token_for_somebody_else_is_refused(client, audience):
    assert refused(ask(client, token(aud=audience)), NOT_FOR_US)


def test_the_audiences_are_those_of_the_settings():
    client = make_signed_in_app(sis_audiences=("vamobile", "va.gov")).test_client()
    assert ask(client, token(aud="vamobile")).status_code == 200


@pytest.mark.parametrize("issuer", [..., "somebody else"])
def test_the_issuer_is_not_compared(client, issuer):
    assert ask(client, token(iss=issuer)).status_code == 200


def test_the_end_is_exact_and_only_by_our_clock(client, monkeypatch):
    """Our clock is years from the machine's, then an hour behind it, so a library that reads the machine's clock would
    fail."""
    now = datetime(2031, 3, 4, 9, 30, tzinfo=UTC)
    monkeypatch.setattr("flaskapp.clock.now", lambda: now)
    end = int(now.timestamp())
    for issued in (end - 300, end + 10**6):
        assert ask(client, token(iat=issued, exp=end + 1)).status_code == 200
        assert refused(ask(client, token(iat=issued, exp=end)), "Access token has expired", 403)
    monkeypatch.setattr("flaskapp.clock.now", lambda: datetime.now(UTC) - timedelta(hours=1))
    assert ask(client, token(exp=int(time.time()) - 60)).status_code == 200


def test_an_expired_token_with_a_bad_signature_is_not_called_expired(client):
    assert refused(ask(client, token("foreign", exp=1)), NOT_SIGNED)
    assert refused(ask(client, token(exp=1, aud="other")), "Access token has expired", 403)


def test_a_changed_token_is_refused(client):
    header, _, signature = token().split(".")
    assert refused(ask(client, f"{header}.{encoded(claims(sub=ACCOUNT[::-1]))}.{signature}"), NOT_SIGNED)


def test_a_token_signed_with_the_public_key_as_secret_is_refused(client):
    der = public_key("today").public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem("today").encode(), der):
        assert refused(ask(client, hmac_signed({"alg": "HS256", "typ": "JWT"}, secret)), MALFORMED)
        assert refused(ask(client, hmac_signed({"alg": "RS256", "typ": "JWT"}, secret)), NOT_SIGNED)


@pytest.mark.parametrize("algorithm", ["none", "None", "", None])
def test_a_token_signed_by_nobody_is_refused(client, algorithm):
    for signature in ("", "c2ln"):
        sent = f"{encoded({'alg': algorithm})}.{encoded(claims())}.{signature}"
        assert refused(ask(client, sent), MALFORMED)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_no_other_algorithm_is_taken_even_from_the_right_key(client, algorithm):
    assert refused(ask(client, token(algorithm=algorithm)), MALFORMED)


def test_a_key_offered_by_the_token_itself_is_not_used(client):
    offered = {"jwk": {"kty": "RSA"}, "jku": "http://127.0.0.1:9/keys", "kid": "mine"}
    assert refused(ask(client, token("foreign", headers=offered)), NOT_SIGNED)
    assert ask(client, token(headers={"kid": "unheard of"})).status_code == 200


def test_during_a_rotation_the_old_key_and_the_new_are_good(app, client):
    config = replace(CONFIG, sis_public_keys=(pem("old"), pem("today")))
    holding(app, SignInKeys(config, HTTP(5.0)))
    assert [ask(client, token(key)).status_code for key in ("old", "today")] == [200, 200]
    assert refused(ask(client, token("foreign")), NOT_SIGNED)


def test_an_unknown_key_causes_one_fetch_for_which_nobody_waits(app, client):
    keys = holding(app, Keys(("old",), published=("today", "old")))
    assert [ask(client, token(key)).status_code for key in ("old", "today", "today", "old")] == [200, 401, 200, 200]
    assert keys.fetches == 0
    assert refused(ask(client, token("foreign")), NOT_SIGNED)


def test_while_no_key_is_known_nobody_has_to_sign_in_again(client, keys):
    keys.error = Unavailable("sign_in")
    response = ask(client, token())
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.json["errors"][0]["status"] == "503"
    assert refused(client.get(PATH), MALFORMED)


def test_a_bad_signature_is_refused_when_fetching_again_is_not_allowed_yet(app, client):
    holding(app, Keys(("old",), published=("today",), fetches=0))
    assert refused(ask(client, token()), NOT_SIGNED)


def test_nothing_of_a_token_is_logged_or_answered(client, keys, capsys):
    sent = [
        token("foreign"),
        token(exp=1),
        token(aud="x"),
        token(sub="x"),
        token()[:-9],
        hmac_signed({"alg": "HS256"}, b""),
    ]
    answered = "".join(ask(client, one).text for one in sent)
    keys.error = Unavailable("sign_in")
    answered += ask(client, sent[0]).text
    logged = capsys.readouterr().out
    assert logged.count("sign_in.refused") == len(sent)
    for one in sent:
        assert not [part for part in one.split(".") if part[:24] in answered + logged and len(part) > 24]


def test_who_may_call_is_declared(app):
    assert "access token" in access.CALLERS["things"]
    assert access.undeclared(app) == []
