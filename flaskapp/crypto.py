"""Encryption of personal data at rest with rotating keys, keyed digests to find it again, and ids that stay."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from flask import current_app
from sqlalchemy import LargeBinary
from sqlalchemy.types import TypeDecorator

from flaskapp.config import Config

# No digest is of this text: what is digested begins with a length.
FINGERPRINTED = b"surefile: fingerprint of a key"


class Vault:
    """Encrypts with the first key, decrypts with any; digests are HMAC-SHA256 under keys of their own.

    Keys are known by their fingerprints, which give nothing of them away. Both lists have the newest key first.
    """

    def __init__(self, config: Config) -> None:
        self.fernets = [Fernet(key) for key in config.encryption_keys]
        self.fernet = MultiFernet(self.fernets)
        self.encryption_fingerprints = [fingerprint(base64.urlsafe_b64decode(key)) for key in config.encryption_keys]
        keys = [key.encode() for key in dict.fromkeys((config.digest_key, *config.earlier_digest_keys))]
        self.digest_keys = {fingerprint(key): key for key in keys}
        self.digest_key = keys[0]

    def encrypt(self, text: str) -> bytes:
        return self.fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        """Raises cryptography.fernet.InvalidToken when no key fits."""
        return self.fernet.decrypt(token).decode()

    def seal(self, content: bytes) -> bytes:
        return self.fernet.encrypt(content)

    def unseal(self, sealed: bytes) -> bytes:
        """Raises cryptography.fernet.InvalidToken when no key fits."""
        return self.fernet.decrypt(sealed)

    def position_of(self, sealed: bytes) -> int | None:
        """Which of our keys it is sealed with, counted from 0; None when no key fits."""
        for position, fernet in enumerate(self.fernets):
            try:
                fernet.decrypt(sealed)
            except InvalidToken:
                continue
            return position
        return None

    def digest(self, *parts: str) -> str:
        """A look-up key for personal data, under the newest key. Parts are length-prefixed, so no two lists of parts
        collide. What is stored and found again has its digests from `flaskapp.keys.digests`."""
        return keyed_digest(self.digest_key, parts)

    def digests(self, *parts: str) -> list[str]:
        """Under each of our digest keys, the newest first: wherever it was stored, one of them finds it."""
        return [keyed_digest(key, parts) for key in self.digest_keys.values()]


def keyed_digest(key: bytes, parts: tuple[str, ...]) -> str:
    message = b"".join(f"{len(part.encode())}:".encode() + part.encode() for part in parts)
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def fingerprint(key: bytes) -> str:
    return hmac.new(key, FINGERPRINTED, hashlib.sha256).hexdigest()[:16]


def vault() -> Vault:
    found: Vault = current_app.extensions["vault"]
    return found


class EncryptedJSON(TypeDecorator[Any]):
    """A JSON value that Postgres only ever sees encrypted."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> bytes | None:
        return None if value is None else closed(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return opened(value)


def closed(value: Any) -> bytes:
    """A JSON value as `EncryptedJSON` stores it, for statements that are written out."""
    return vault().encrypt(json.dumps(value))


def opened(stored: Any) -> Any:
    """The JSON value that was stored so; None for NULL."""
    return None if stored is None else json.loads(vault().decrypt(bytes(stored)))


class SealedBytes(TypeDecorator[bytes]):
    """Bytes that were sealed before they were stored. Postgres gives them back as they are."""

    impl = LargeBinary
    cache_ok = True


def digest_of(column: str, parts: Callable[[Any], tuple[str, ...]]) -> dict[str, Any]:
    """`info` of a digest's column: the encrypted column of the same row that it is made from, and how."""
    return {"digest_of": (column, parts)}


def digest_from(created: str, needed: bool = True) -> dict[str, Any]:
    """`info` of a digest's column whose source is kept nowhere: the column that says when it was made, and whether it
    is `needed` under an earlier key as long as it is there."""
    return {"digest_from": (created, needed)}


# -- ids that follow from what they name ----------------------------------------
#
# A row that a restore from a backup lost comes back under the same id, by which upstreams know what was filed or sent.

NAMESPACE = uuid.UUID("6f0d5c1e-2f0e-4c37-9a53-5f0f3f7f2f61")


def id_from(kind: str, *key: Any) -> uuid.UUID:
    """The id of the one row of this kind with this key, which Postgres allows only once. No part of the key may be
    personal data by itself: digests and ids are not."""
    return uuid.uuid5(NAMESPACE, " ".join(map(str, (kind, *key))))
