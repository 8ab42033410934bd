"""Encryption of personal data at rest with rotating keys, and keyed digests to find it again."""

from __future__ import annotations

import hashlib
import hmac
import json
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
