"""Assertions: short-lived statements about us or a person, signed by our key and exchanged for a token."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# Lighthouse takes an `exp` of at most five minutes after `iat` (contract: benefits 1).
LIFETIME_SECONDS = 300
# STS refuses an `iat` that its own clock has not reached, without any leeway (contract: travel 5.1). Clocks always
# differ a little, so an assertion is dated back by more than two well-kept ones ever do.
BACKDATED_SECONDS = 30
PROBE = b"Does this key sign?"


def signed_assertion(key: RSAPrivateKey, claims: Mapping[str, Any], lifetime_seconds: int = LIFETIME_SECONDS) -> str:
    """These claims as a JWT with `iat` and `exp`, signed now."""
    issued_at = int(time.time()) - BACKDATED_SECONDS
    times = {"iat": issued_at, "exp": issued_at + lifetime_seconds}
    return jwt.encode({**claims, **times}, key, algorithm="RS256")


@cache
def signing_key(pem: str, setting: str) -> RSAPrivateKey:
    """The key in that setting's PEM text, tested once by a signature, and cached.

    OpenSSL's own check also tests whether the factors are prime: fifty times the work, at every start, for our own key.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not (isinstance(key, RSAPrivateKey) and can_sign(key)):
        raise ValueError(f"{setting} must be an RSA private key without a passphrase")
    return key


def can_sign(key: RSAPrivateKey) -> bool:
    try:
        key.public_key().verify(key.sign(PROBE, PKCS1v15(), SHA256()), PROBE, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
