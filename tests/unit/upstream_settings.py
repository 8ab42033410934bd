"""A whole Config pointing at chosen servers, and local tokens, for tests of the clients by themselves."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from flaskapp.config import Config, from_env


def pem_of(key: rsa.RSAPrivateKey) -> str:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


SIGNING_KEY = rsa.generate_private_key(65537, 2048)
SERVICE_ID = "9a1b2c3d-1111-4222-8333-444455556666"
SECRET = "0c9e7d52-3f14-4d7a-8a51-6f0a1b2c3d4e"
NOWHERE = "http://127.0.0.1:9"

ENVIRON = {
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "TRUSTED_PROXIES": "0",
    "SECRET_KEY": "s" * 32,
    "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "DIGEST_KEY": "d" * 32,
    "VEIS_BASE_URL": NOWHERE,
    "VEIS_TENANT": "tenant-1",
    "VEIS_CLIENT_ID": "client-1",
    "VEIS_CLIENT_SECRET": "veis secret/+",
    "VEIS_SCOPE": "scope-1/.default",
    "BTSSS_BASE_URL": f"{NOWHERE}/EC/ClaimIngestSvc",
    "BTSSS_CLIENT_NUMBER": "0042",
    "BTSSS_CLIENT_NUMBER_OH": "0043",
    "BTSSS_SUBSCRIPTION_KEYS": "key-1",
    "VANOTIFY_BASE_URL": NOWHERE,
    "VANOTIFY_API_KEY": f"check-in-{SERVICE_ID}-{SECRET}",
    "VANOTIFY_TEMPLATES": "{}",
    "VANOTIFY_SMS_SENDER_ID": "sender-1",
    "VANOTIFY_SMS_SENDER_ID_OH": "sender-2",
    "VANOTIFY_CALLBACK_TOKENS": "callback-token",
    "LOROTA_BASE_URL": NOWHERE,
    "LOROTA_API_KEY": "lorota-key",
    "LOROTA_API_ID": "lorota-api",
    "LOROTA_PRIVATE_KEY": pem_of(SIGNING_KEY),
    "CHIP_BASE_URL": NOWHERE,
    "CHIP_USERNAME": "chip-user",
    "CHIP_PASSWORD": "chip-password",
    "CHIP_API_ID": "chip-api",
    "SIS_JWKS_URL": f"{NOWHERE}/sign_in/openid_connect/certs",
    "ACCOUNTS_BASE_URL": NOWHERE,
    "ACCOUNTS_API_KEY": "accounts-key",
    "LIGHTHOUSE_BASE_URL": NOWHERE,
    "LIGHTHOUSE_TOKEN_URL": f"{NOWHERE}/oauth2/claims/system/v1/token",
    "LIGHTHOUSE_AUDIENCE": "https://authorization.example/oauth2/claims",
    "LIGHTHOUSE_CLIENT_ID": "lighthouse-client",
    "LIGHTHOUSE_PRIVATE_KEY": pem_of(SIGNING_KEY),
    "LIGHTHOUSE_DOCUMENTS_TOKEN_URL": f"{NOWHERE}/oauth2/benefits-documents/system/v1/token",
    "LIGHTHOUSE_DOCUMENTS_AUDIENCE": "https://authorization.example/oauth2/documents",
    "FORM526_BASE_URL": NOWHERE,
    "FORM526_API_KEY": "form526-key",
    "TRAVEL_PAY_BASE_URL": NOWHERE,
    "TRAVEL_PAY_CLIENT_NUMBER": "0044",
    "TRAVEL_PAY_SUBSCRIPTION_KEYS": "travel-pay-key",
    "TRAVEL_PAY_VEIS_RESOURCE": "resource-1",
    "STS_BASE_URL": NOWHERE,
    "STS_ISSUER": "https://surefile.example",
    "STS_SERVICE_ACCOUNT_ID": "service-account-1",
    "STS_SCOPES": "https://sts.example/scope/one,https://sts.example/scope/two",
    "STS_PRIVATE_KEY": pem_of(SIGNING_KEY),
    "VA_PROFILE_BASE_URL": NOWHERE,
    "VA_PROFILE_API_KEY": "va-profile-key",
    "OPERATORS": "{}",
    "CASE_OWNER_TRAVEL_CLAIM": "claims desk",
    "CASE_OWNER_INTENT_TO_FILE": "claims desk",
    "CASE_OWNER_FORM526": "claims desk",
    "CASE_OWNER_TRAVEL_PAY": "claims desk",
    "CASE_OWNER_NOTIFICATION": "claims desk",
}


def settings(**changes: Any) -> Config:
    """Settings by their lower-case names; every other value is made up."""
    return from_env({**ENVIRON, **{name.upper(): str(value) for name, value in changes.items()}})


class Tokens:
    """Gives token-1, token-2, … and remembers what was replaced. While `scarce`, there is no other."""

    def __init__(self) -> None:
        self.replaced: list[str] = []
        self.scarce = False

    def get(self) -> str:
        return "token-1" if self.scarce else f"token-{len(self.replaced) + 1}"

    def replace(self, token: str) -> str:
        self.replaced.append(token)
        return self.get()
