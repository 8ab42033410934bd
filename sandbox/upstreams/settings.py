"""What the fakes know about their one customer: the credentials they accept and the addresses they call back.

One value serves both sides: the fakes check against it, and `environment()` gives the product the same credentials.
Every default is made up and opens nothing outside this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.upstreams.keys import LIGHTHOUSE_CLIENT_KEY, LOROTA_CLIENT_KEY, STS_CLIENT_KEY
from sandbox.upstreams.templates import TEMPLATE_IDS

JWKS_PATH = "/sign_in/openid_connect/certs"
LIGHTHOUSE_TOKEN_PATH = "/oauth2/claims/system/v1/token"
DOCUMENTS_TOKEN_PATH = "/oauth2/benefits-documents/system/v1/token"


@dataclass(frozen=True)
class FakeSettings:
    """Delays are in seconds. `callback_rewrites` maps https prefixes to the loopback http ones really called."""

    veis_tenant: str = "sandbox-tenant"
    veis_client_id: str = "surefile"
    veis_client_secret: str = "veis-secret-of-the-sandbox"
    veis_scope: str = "api://btsss.sandbox/.default"
    veis_expires_in: int = 3599
    btsss_base_path: str = "EC/ClaimIngestSvc"
    btsss_client_number: str = "0042"
    btsss_client_number_oh: str = "0043"
    btsss_subscription_keys: tuple[str, ...] = ("subscription-key-of-the-sandbox",)
    vanotify_key_name: str = "surefile"
    vanotify_service_id: str = "5b6f1c1e-3d0a-4a55-9d53-0d6e7a1f2b30"
    vanotify_secret: str = "0f1d9c8b-7a65-4e43-9f21-0a1b2c3d4e5f"
    vanotify_sms_sender_id: str = "a6a3f1d0-8c7b-4f5e-9a1b-2c3d4e5f6a70"
    vanotify_sms_sender_id_oh: str = "b7b4f2e1-9d8c-4a6f-8b2c-3d4e5f6a7b81"
    vanotify_callback_url: str | None = None
    vanotify_callback_token: str = "callback-token-of-the-sandbox"
    vanotify_callback_rewrites: Mapping[str, str] = field(default_factory=dict)
    vanotify_delays: tuple[float, float, float] = (0.05, 0.05, 0.1)
    vanotify_retry_scale: float = 1.0
    lorota_api_key: str = "lorota-key-of-the-sandbox"
    lorota_api_id: str = "lorota-api-id"
    lorota_issuer: str = "vets-api"
    lorota_client_key: str = LOROTA_CLIENT_KEY
    chip_username: str = "surefile"
    chip_password: str = "chip-password-of-the-sandbox"
    chip_api_id: str = "chip-api-id"
    sis_audience: str = "va.gov"
    accounts_api_key: str = "accounts-key-of-the-sandbox"
    lighthouse_client_id: str = "0oa-surefile-of-the-sandbox"
    lighthouse_audience: str = "https://authorization.sandbox.invalid/oauth2/claims"
    lighthouse_client_key: str = LIGHTHOUSE_CLIENT_KEY
    documents_audience: str = "https://authorization.sandbox.invalid/oauth2/benefits-documents"
    form526_api_key: str = "form526-key-of-the-sandbox"
    travel_pay_client_number: str = "0044"
    travel_pay_subscription_keys: tuple[str, ...] = ("travel-pay-subscription-key-of-the-sandbox",)
    travel_pay_veis_resource: str = "api://travel-pay.sandbox"
    sts_issuer: str = "https://surefile.sandbox.invalid"
    sts_service_account_id: str = "9d1c6f0e-5b7a-4c3d-8e2f-1a0b9c8d7e6f"
    sts_scopes: tuple[str, ...] = (
        "https://sandbox.invalid/v0/travel_pay/read",
        "https://sandbox.invalid/v0/travel_pay/write",
    )
    sts_user_attributes: tuple[str, ...] = ("icn",)
    sts_client_key: str = STS_CLIENT_KEY
    va_profile_api_key: str = "va-profile-key-of-the-sandbox"

    @property
    def vanotify_api_key(self) -> str:
        return f"{self.vanotify_key_name}-{self.vanotify_service_id}-{self.vanotify_secret}"

    def environment(self, urls: Mapping[str, str]) -> dict[str, str]:
        """The product's upstream settings by environment name, for fakes listening at `urls` (see `serve`)."""
        return {
            "VEIS_BASE_URL": urls["veis"],
            "VEIS_TENANT": self.veis_tenant,
            "VEIS_CLIENT_ID": self.veis_client_id,
            "VEIS_CLIENT_SECRET": self.veis_client_secret,
            "VEIS_SCOPE": self.veis_scope,
            "BTSSS_BASE_URL": urls["btsss"],
            "BTSSS_CLIENT_NUMBER": self.btsss_client_number,
            "BTSSS_CLIENT_NUMBER_OH": self.btsss_client_number_oh,
            "BTSSS_SUBSCRIPTION_KEYS": ",".join(self.btsss_subscription_keys),
            "VANOTIFY_BASE_URL": urls["va_notify"],
            "VANOTIFY_API_KEY": self.vanotify_api_key,
            "VANOTIFY_TEMPLATES": json.dumps(TEMPLATE_IDS),
            "VANOTIFY_SMS_SENDER_ID": self.vanotify_sms_sender_id,
            "VANOTIFY_SMS_SENDER_ID_OH": self.vanotify_sms_sender_id_oh,
            "VANOTIFY_CALLBACK_TOKENS": self.vanotify_callback_token,
            **self._check_in(urls),
            "SIS_JWKS_URL": f"{urls['sign_in']}{JWKS_PATH}",
            "ACCOUNTS_BASE_URL": urls["accounts"],
            "ACCOUNTS_API_KEY": self.accounts_api_key,
            "LIGHTHOUSE_BASE_URL": urls["lighthouse"],
            "LIGHTHOUSE_TOKEN_URL": f"{urls['lighthouse']}{LIGHTHOUSE_TOKEN_PATH}",
            "LIGHTHOUSE_AUDIENCE": self.lighthouse_audience,
            "LIGHTHOUSE_CLIENT_ID": self.lighthouse_client_id,
            "LIGHTHOUSE_PRIVATE_KEY": self.lighthouse_client_key,
            "LIGHTHOUSE_DOCUMENTS_TOKEN_URL": f"{urls['documents']}{DOCUMENTS_TOKEN_PATH}",
            "LIGHTHOUSE_DOCUMENTS_AUDIENCE": self.documents_audience,
            "FORM526_BASE_URL": urls["form526"],
            "FORM526_API_KEY": self.form526_api_key,
            "TRAVEL_PAY_BASE_URL": urls["travel_pay"],
            "TRAVEL_PAY_CLIENT_NUMBER": self.travel_pay_client_number,
            "TRAVEL_PAY_SUBSCRIPTION_KEYS": ",".join(self.travel_pay_subscription_keys),
            "TRAVEL_PAY_VEIS_RESOURCE": self.travel_pay_veis_resource,
            "STS_BASE_URL": urls["sts"],
            "STS_ISSUER": self.sts_issuer,
            "STS_SERVICE_ACCOUNT_ID": self.sts_service_account_id,
            "STS_SCOPES": ",".join(self.sts_scopes),
            "STS_PRIVATE_KEY": self.sts_client_key,
            "VA_PROFILE_BASE_URL": urls["va_profile"],
            "VA_PROFILE_API_KEY": self.va_profile_api_key,
        }

    def _check_in(self, urls: Mapping[str, str]) -> dict[str, str]:
        return {
            "LOROTA_BASE_URL": urls["lorota"],
            "LOROTA_API_KEY": self.lorota_api_key,
            "LOROTA_API_ID": self.lorota_api_id,
            "LOROTA_PRIVATE_KEY": self.lorota_client_key,
            "CHIP_BASE_URL": urls["chip"],
            "CHIP_USERNAME": self.chip_username,
            "CHIP_PASSWORD": self.chip_password,
            "CHIP_API_ID": self.chip_api_id,
        }
