"""Settings of the application: one frozen, typed value, read from the environment at start.

A missing or malformed setting stops the start and is named. Nothing else in `flaskapp/` reads `os.environ`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from zoneinfo import ZoneInfo

from flaskapp.config_readers import (
    Rate,
    Told,
    above_zero,
    at_least_one,
    at_least_zero,
    days,
    fernet_keys,
    key_blocks,
    not_negative,
    one_of,
    percent,
    rate,
    read_base_url,
    read_database_url,
    read_redis_url,
    string_map,
    words,
    yes_or_no,
)


class ConfigError(Exception):
    """Settings that are missing or cannot be read, all of them named in one message."""


def setting(read: Callable[[str], Any] = str, default: Any = ..., secret: bool = False, text: str = "") -> Any:
    """One setting: how its text is read, its default (a setting without one is required) and what it means."""
    metadata = {"read": read, "required": default is ..., "secret": secret, "text": text}
    return field(default=None if default is ... else default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    database_url: str = setting(read_database_url, secret=True, text="PostgreSQL, the system of record.")
    redis_url: str = setting(read_redis_url, secret=True, text="Redis; carries pointers only, may be lost at any time.")
    secret_key: str = setting(secret=True, text="Signs cookies and CSRF tokens.")
    earlier_secret_keys: tuple[str, ...] = setting(
        words, (), secret=True, text="Keys used before as `SECRET_KEY`, newest first: what they signed stays valid."
    )
    encryption_keys: tuple[str, ...] = setting(
        fernet_keys, secret=True, text="Fernet keys, comma separated; the first encrypts, all decrypt."
    )
    digest_key: str = setting(secret=True, text="Key of the digests by which personal data is looked up.")
    earlier_digest_keys: tuple[str, ...] = setting(
        words,
        (),
        secret=True,
        text="Keys used before as `DIGEST_KEY`, newest first: what was stored under them is still found.",
    )

    veis_base_url: str = setting(read_base_url, text="VEIS (Azure AD) token service.")
    veis_tenant: str = setting(text="Tenant in the VEIS token path.")
    veis_client_id: str = setting(text="VEIS client id.")
    veis_client_secret: str = setting(secret=True, text="VEIS client secret.")
    veis_scope: str = setting(text="VEIS scope to request.")
    btsss_base_url: str = setting(read_base_url, text="BTSSS ClaimIngest, up to and including its base path.")
    btsss_client_number: str = setting(text="Our client number at BTSSS.")
    btsss_client_number_oh: str = setting(text="Our client number at BTSSS for Oracle Health facilities.")
    btsss_subscription_keys: tuple[str, ...] = setting(
        words, secret=True, text="APIM subscription keys: one (all but production), or E and S (production)."
    )
    vanotify_base_url: str = setting(read_base_url, text="VANotify.")
    vanotify_api_key: str = setting(secret=True, text="VANotify API key, `<name>-<service uuid>-<secret>`.")
    vanotify_earlier_api_keys: tuple[str, ...] = setting(
        words,
        (),
        secret=True,
        text="VANotify API keys used before, of the same form. Callbacks about what was sent with them are signed with"
        " them for days.",
    )
    vanotify_templates: dict[str, str] = setting(
        string_map,
        text="JSON: template ids by `<sender>.<kind>`; senders are `cie`, `oh` (texts), `itf`, `form526`,"
        " `travel_pay` (e-mails).",
    )
    vanotify_sms_sender_id: str = setting(text="SMS sender id for check-in texts.")
    vanotify_sms_sender_id_oh: str = setting(text="SMS sender id for Oracle Health texts.")
    vanotify_callback_tokens: tuple[str, ...] = setting(
        words, secret=True, text="Bearer tokens accepted on delivery callbacks."
    )
    vanotify_callback_url: str | None = setting(
        read_base_url, None, text="Our public https callback URL. If set, every send requests signed callbacks to it."
    )
    lorota_base_url: str = setting(read_base_url, text="LoROTA, the check-in identity service.")
    lorota_api_key: str = setting(secret=True, text="LoROTA API key.")
    lorota_api_id: str = setting(text="LoROTA `x-apigw-api-id`.")
    lorota_issuer: str = setting(default="vets-api", text="`iss` of the claims that name a check-in to LoROTA.")
    lorota_private_key: str = setting(
        lambda text: key_blocks(text)[0], secret=True, text="PEM private key that signs these claims."
    )
    chip_base_url: str = setting(read_base_url, text="CHIP, the check-in service.")
    chip_username: str = setting(text="CHIP token user.")
    chip_password: str = setting(secret=True, text="CHIP token password.")
    chip_api_id: str = setting(text="CHIP `x-apigw-api-id`.")

    sis_jwks_url: str | None = setting(
        read_base_url, None, text="JWK set of the Sign-in Service; this or `SIS_PUBLIC_KEYS` has to be set."
    )
    sis_public_keys: tuple[str, ...] = setting(
        key_blocks, (), text="PEM public keys of the Sign-in Service: today's and, during a rotation, the old one."
    )
    sis_audiences: tuple[str, ...] = setting(
        words, ("va.gov",), text="Audiences that an access token may be for; one match is enough."
    )
    accounts_base_url: str = setting(read_base_url, text="Account service: which person an account belongs to.")
    accounts_api_key: str = setting(secret=True, text="Account service API key.")
    lighthouse_base_url: str = setting(read_base_url, text="Lighthouse APIs, only the host.")
    lighthouse_token_url: str = setting(read_base_url, text="Lighthouse token endpoint of the Benefits Claims API.")
    lighthouse_audience: str = setting(
        text="`aud` of the client assertion: the authorization server, not the token endpoint."
    )
    lighthouse_client_id: str = setting(text="Lighthouse client id.")
    lighthouse_private_key: str = setting(
        lambda text: key_blocks(text)[0], secret=True, text="PEM private key that signs the client assertion."
    )
    lighthouse_documents_token_url: str = setting(
        read_base_url, text="Lighthouse token endpoint of the Benefits Documents API."
    )
    lighthouse_documents_audience: str = setting(text="`aud` of the client assertion there.")
    form526_base_url: str = setting(read_base_url, text="Service that takes 526 submissions.")
    form526_api_key: str = setting(secret=True, text="Its API key.")

    travel_pay_base_url: str = setting(read_base_url, text="Travel Pay API, only the host.")
    travel_pay_client_number: str = setting(text="Our client number at the Travel Pay API.")
    travel_pay_subscription_keys: tuple[str, ...] = setting(
        words, secret=True, text="Its APIM subscription keys: one (all but production), or E and S (production)."
    )
    travel_pay_veis_resource: str = setting(text="VEIS `resource` its tokens are for.")
    sts_base_url: str = setting(read_base_url, text="Sign-in Service host whose token endpoint vouches for a person.")
    sts_issuer: str = setting(text="`iss` of the assertion shown there: our own host.")
    sts_service_account_id: str = setting(text="Our service account there.")
    sts_scopes: tuple[str, ...] = setting(words, text="Scopes to request there.")
    sts_private_key: str = setting(
        lambda text: key_blocks(text)[0], secret=True, text="PEM private key that signs the assertion."
    )
    va_profile_base_url: str = setting(read_base_url, text="VA Profile: a person's contact details.")
    va_profile_api_key: str = setting(secret=True, text="Its API key.")

    operators: dict[str, str] = setting(
        string_map, secret=True, text="JSON: operator name to password hash (`flask operators hash`)."
    )
    case_owner_travel_claim: str = setting(text="Who owns a travel claim's cases.")
    case_owner_intent_to_file: str = setting(text="Who owns an intent to file's cases.")
    case_owner_form526: str = setting(text="Who owns the cases of 526 submissions and their documents.")
    case_owner_travel_pay: str = setting(text="Who owns the cases of travel pay claims made while signed in.")
    case_owner_notification: str = setting(text="Who owns the cases of notifications that did not arrive.")
    alert_webhook_url: str | None = setting(read_base_url, None, text="Called with every case that opens.")

    sms_recipient: str = setting(one_of("icn", "phone"), "icn", text="Address texts by `icn` or by `phone`.")
    redis_verify_tls: bool = setting(yes_or_no, True, text="Verify the certificate of `rediss://` (Heroku: no).")
    database_direct_url: str | None = setting(
        read_database_url,
        None,
        secret=True,
        text="A direct connection for LISTEN and migrations when `DATABASE_URL` is a pooler.",
    )
    database_pool_size: int = setting(int, 5, text="Most PostgreSQL connections of one process (a relay: one more).")
    allow_lossy_postgres: bool = setting(
        yes_or_no,
        False,
        text="Run on a PostgreSQL that loses commits in a crash (`fsync` or `full_page_writes` off): for tests, and for"
        " file systems that never write half a page.",
    )
    frontend_origins: tuple[str, ...] = setting(words, (), text="Browser origins allowed to call with cookies.")
    hand_out_csrf_tokens: bool = setting(
        yes_or_no,
        True,
        text="Send `X-CSRF-Token`. No where another backend on this host sends it: pages keep one token for all.",
    )
    legal_time_zone: ZoneInfo = setting(ZoneInfo, ZoneInfo("America/Chicago"), text="Zone of legal dates.")
    insecure_cookies: bool = setting(yes_or_no, False, text="Allow cookies over plain http (one machine only).")
    trusted_proxies: int = setting(
        not_negative, text="How many proxies of yours stand before the web process (Heroku: 1; none: 0)."
    )
    rate_limit_per_caller: Rate = setting(
        rate, Rate(120, 60), text="Most requests of one signed-in account or check-in to one web process."
    )
    rate_limit_per_address: Rate = setting(
        rate, Rate(600, 60), text="Most requests from one address (IPv6: its /64) to one web process."
    )
    rate_limit_per_webhook: Rate = setting(
        rate, Rate(6_000, 60), text="Most callbacks with one token to one web process."
    )
    web_threads: int = setting(
        at_least_one,
        24,
        text="Threads of one web process. At most half of them wait for upstreams, at most a quarter for any one.",
    )
    request_seconds: float = setting(
        above_zero,
        25.0,
        text="Limit on all that one request waits for, from its arrival. Heroku's router gives up after 30 s.",
    )
    metrics_token: str | None = setting(
        default=None,
        secret=True,
        text="Token that reads `/metrics`, as bearer or as the password of basic access; without one nobody reads it.",
    )
    metrics_keep_seconds: float = setting(
        at_least_zero, 5.0, text="How long a web process shows the metrics that it read last."
    )
    max_body_bytes: int = setting(int, 65_536, text="Largest JSON body accepted.")
    check_in_session_seconds: int = setting(int, 43_200, text="How long a check-in session lasts.")
    check_in_tries: int = setting(
        at_least_one, 3, text="After so many wrong names or dates of birth within seven days a check-in link is closed."
    )
    upstream_connect_seconds: float = setting(float, 5.0, text="Limit on connecting to any upstream.")
    veis_total_seconds: float = setting(float, 20.0, text="Total limit on one VEIS call.")
    btsss_total_seconds: float = setting(float, 120.0, text="Total limit on one BTSSS call.")
    btsss_confirm_seconds: float = setting(
        float, 450.0, text="Until this long after its start, a BTSSS submit that is not found may still happen."
    )
    btsss_clock_skew_seconds: float = setting(float, 120.0, text="Most BTSSS's clock may differ from ours.")
    vanotify_total_seconds: float = setting(float, 30.0, text="Total limit on one VANotify call.")
    vanotify_confirm_seconds: float = setting(
        float, 150.0, text="Until this long after its start, a VANotify send that is not found may still happen."
    )
    vanotify_kept_days: int = setting(
        int, 7, text="How long VANotify still finds what it took: the data retention of our service there, in days."
    )
    accounts_total_seconds: float = setting(float, 15.0, text="Total limit on one account service call.")
    sis_total_seconds: float = setting(float, 5.0, text="Total limit on reading the Sign-in Service's keys.")
    lighthouse_total_seconds: float = setting(float, 60.0, text="Total limit on one Lighthouse call of a job.")
    lighthouse_confirm_seconds: float = setting(
        float, 240.0, text="Until this long after its start, an ITF creation that is not found may still happen."
    )
    form526_total_seconds: float = setting(float, 60.0, text="Total limit on one call of the 526 service.")
    form526_confirm_seconds: float = setting(
        float, 300.0, text="Until this long after its start, a 526 submission that is not found may still happen."
    )
    document_upload_seconds: float = setting(float, 300.0, text="Total limit on one document upload.")
    document_status_seconds: float = setting(float, 65.0, text="Total limit on one poll of upload statuses.")
    document_poll_minutes: float = setting(above_zero, 60.0, text="How often a pending document is polled.")
    upload_limits_pages: bool = setting(
        yes_or_no,
        False,
        text="Refuse a PDF with a page over 78 x 101 inches. That is a limit of Benefits Intake, the way around the 526"
        " service, and not of Benefits Documents.",
    )
    document_ask_again_days: tuple[int, ...] = setting(
        days, (1, 3, 7, 14), text="Days after its failure on which a document is asked about again; empty: never."
    )
    document_keep_days: int = setting(int, 7, text="Days a document's bytes stay after it is done or failed for good.")
    attachment_keep_days: int = setting(
        at_least_one, 60, text="Days an uploaded file that no form has claimed is kept."
    )
    attachment_most_bytes_per_account: int = setting(
        at_least_one, 1024 * 1024 * 1024, text="Most bytes of files that no form has claimed, of one account."
    )
    attachment_most_files_per_account: int = setting(
        at_least_one, 200, text="Most files that no form has claimed, of one account."
    )
    open_submissions_per_account: int = setting(
        at_least_one,
        40,
        text="Most forms, and most travel pay claims, of one account that are still being filed. Intents to file and"
        " claims of a check-in have no such limit: a date may depend on them.",
    )
    bdd_instructions: str = setting(
        one_of("always", "qualified"), "always", text="Send BDD instructions `always`, or with `qualified` claims only."
    )
    itf_async_percent: int = setting(
        percent, 100, text="Share of accounts whose compensation ITF is created in the background."
    )
    itf_pending_as_active: bool = setting(
        yes_or_no, True, text="Show a pending ITF as `active`, the one word today's pages accept."
    )
    itf_sync_apps: tuple[str, ...] = setting(
        words, ("995-supplemental-claim",), text="`Source-App-Name`s that stay synchronous."
    )
    itf_sync_seconds: float = setting(float, 20.0, text="Total limit on one Lighthouse call a person waits for.")
    itf_first_look_seconds: float = setting(
        at_least_zero,
        2.0,
        text="How long the first page of a person never looked up waits until upstream was asked for an ITF from"
        " elsewhere; 0: no such look is made.",
    )
    itf_refresh_days: int = setting(at_least_one, 7, text="A confirmed ITF is compared with upstream this often.")
    itf_refresh_per_minute: int = setting(at_least_one, 30, text="Most ITFs compared with upstream in a minute.")
    travel_pay_total_seconds: float = setting(above_zero, 60.0, text="Total limit on one Travel Pay call of a job.")
    travel_pay_confirm_seconds: float = setting(
        above_zero, 540.0, text="Until this long after its start, a Travel Pay write not found may still happen."
    )
    travel_pay_wait_seconds: float = setting(
        at_least_zero, 5.0, text="How long a posted Travel Pay claim may take before it is answered with 202."
    )
    travel_pay_read_seconds: float = setting(above_zero, 20.0, text="Total limit on one call a person waits for.")
    travel_pay_cache_seconds: float = setting(
        at_least_zero, 0.0, text="How long Travel Pay's answer to a person is shown again; 0: every time a new call."
    )
    sts_total_seconds: float = setting(above_zero, 10.0, text="Total limit on one token exchange for a person.")
    va_profile_total_seconds: float = setting(above_zero, 10.0, text="Total limit on one VA Profile call.")
    check_in_total_seconds: float = setting(float, 12.0, text="Total limit on one LoROTA or CHIP call.")
    breaker_open_seconds: float = setting(float, 15.0, text="How long a breaker stays open; doubled by a failed probe.")
    breaker_cap_seconds: float = setting(float, 900.0, text="Longest time that it stays open, Retry-After included.")
    retry_scale: float = setting(float, 1.0, text="Multiplies every retry delay; below 1 for demonstrations only.")
    keep_history_months: int = setting(int, 24, text="Months of history and attempts kept.")
    log_level: str = setting(default="INFO", text="Level of our own loggers.")


def setting_names() -> dict[str, Any]:
    """Environment name → dataclass field, for the documentation and for messages."""
    return {item.name.upper(): item for item in fields(Config)}


def from_env(environ: Mapping[str, str]) -> Config:
    """Read every setting; raises ConfigError naming all that are missing or malformed."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, item in setting_names().items():
        text = environ.get(name, "")
        if not text:
            if item.metadata["required"]:
                problems.append(f"{name} is not set: {item.metadata['text']}")
            continue
        try:
            values[item.name] = item.metadata["read"](text)
        except Exception as error:
            said = isinstance(error, Told) or not item.metadata["secret"]
            problems.append(f"{name} cannot be read: {error if said else 'malformed'}")
    if not values.get("sis_jwks_url") and not values.get("sis_public_keys"):
        problems.append("SIS_JWKS_URL or SIS_PUBLIC_KEYS has to be set: nobody could sign in")
    if problems:
        raise ConfigError("; ".join(problems))
    return Config(**values)
