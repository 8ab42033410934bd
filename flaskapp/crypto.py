"""Encryption of personal data at rest with rotating keys, keyed digests to find it again, and ids that stay."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from flask import current_app
from sqlalchemy import LargeBinary
from sqlalchemy.types import TypeDecorator

from flaskapp.config import Config


class Vault:
    """Encrypts with the first key, decrypts with any; digests are HMAC-SHA256 under a key of their own."""

    def __init__(self, config: Config) -> None:
        self.fernet = MultiFernet([Fernet(key) for key in config.encryption_keys])
        self.digest_key = config.digest_key.encode()

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

    def digest(self, *parts: str) -> str:
        """A look-up key for personal data. Parts are length-prefixed, so no two lists of parts collide."""
        message = b"".join(f"{len(part.encode())}:".encode() + part.encode() for part in parts)
        return hmac.new(self.digest_key, message, hashlib.sha256).hexdigest()


def vault() -> Vault:
    found: Vault = current_app.extensions["vault"]
    return found


class EncryptedJSON(TypeDecorator[Any]):
    """A JSON value that Postgres only ever sees encrypted."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> bytes | None:
        return None if value is None else vault().encrypt(json.dumps(value))

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else json.loads(vault().decrypt(bytes(value)))


# -- ids that follow from what they name ----------------------------------------
#
# A row that a restore from a backup lost comes back under the same id, by which upstreams know what was filed or sent.

NAMESPACE = uuid.UUID("6f0d5c1e-2f0e-4c37-9a53-5f0f3f7f2f61")


def id_from(kind: str, *key: Any) -> uuid.UUID:
    """The id of the one row of this kind with this key, which Postgres allows only once. No part of the key may be
    personal data by itself: digests and ids are not."""
    return uuid.uuid5(NAMESPACE, " ".join(map(str, (kind, *key))))
