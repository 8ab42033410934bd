"""Settings of the application: one frozen, typed value, read from the environment at start.

A missing or malformed setting stops the start and is named. Nothing else in `flaskapp/` reads `os.environ`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from zoneinfo import ZoneInfo

from flaskapp.config_readers import (
    MOST_DAYS,
    Expected,
    Rate,
    at_least_one,
    days,
    fernet_keys,
    host_and_port,
    json_object,
    key_blocks,
    key_text,
    line,
    number,
    one_of,
    one_or_two,
    origins,
    password_hashes,
    percent,
    rate,
    read_base_url,
    read_database_url,
    read_log_level,
    read_redis_url,
    some_of,
    some_words,
    string_map,
    synthetic_person,
    time_of_day,
    whole,
    words,
    yes_or_no,
)

# Every upstream, as it is named in logs, breakers and metrics.
UPSTREAMS = (
    "accounts",
    "alert_webhook",
    "btsss",
    "chip",
    "form526",
    "lighthouse_claims",
    "lighthouse_documents",
    "lorota",
    "sign_in",
    "sts",
    "travel_pay",
    "va_notify",
    "va_profile",
    "veis",
    "webhooks",
)

# Flows that may be tried with a synthetic submission, by the name of its subject, and what each has to know of the
# person.
SYNTHETIC_NEEDS = {
    "travel_claim": ("icn", "station"),
    "travel_pay_claim": ("account", "station"),
    "intent_to_file": ("account",),
    "form526_submission": ("account",),
}
# Stands for the day in the texts of the synthetic form.
SYNTHETIC_DAY = "{day}"

# Limits of one call, and how long something may take at all: in seconds.
call_limit, within_a_day = number(0, 3_600, above=True), number(0, 86_400, above=True)


class ConfigError(Exception):
    """Settings that are missing or cannot be read, all of them named in one message."""


def setting(read: Callable[[str], Any] = line, default: Any = ..., secret: bool = False, text: str = "") -> Any:
    """One setting: how its text is read, its default (a setting without one is required) and what it means."""
    metadata = {"read": read, "required": default is ..., "secret": secret, "text": text}
    return field(default=None if default is ... else default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    database_url: str = setting(read_database_url, secret=True, text="PostgreSQL, the system of record.")
    redis_url: str = setting(read_redis_url, secret=True, text="Redis; carries pointers only, may be lost at any time.")
    secret_key: str = setting(key_text, secret=True, text="Signs cookies and CSRF tokens; 32 characters or more.")
    earlier_secret_keys: tuple[str, ...] = setting(
        words, (), secret=True, text="Keys used before as `SECRET_KEY`, newest first: what they signed stays valid."
    )
    encryption_keys: tuple[str, ...] = setting(
        fernet_keys,
        secret=True,
        text="Fernet keys, comma separated, or 64 hexadecimal digits each; the first encrypts, all decrypt.",
    )
    digest_key: str = setting(
        key_text, secret=True, text="Key of the digests by which personal data is looked up; 32 characters or more."
    )
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
        one_or_two, secret=True, text="APIM subscription keys: one (all but production), or E and S (production)."
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
        some_words, secret=True, text="Bearer tokens accepted on delivery callbacks."
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
        some_words, ("va.gov",), text="Audiences that an access token may be for; one match is enough."
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
        one_or_two, secret=True, text="Its APIM subscription keys: one (all but production), or E and S (production)."
    )
    travel_pay_veis_resource: str = setting(text="VEIS `resource` its tokens are for.")
    sts_base_url: str = setting(read_base_url, text="Sign-in Service host whose token endpoint vouches for a person.")
    sts_issuer: str = setting(text="`iss` of the assertion shown there: our own host.")
    sts_service_account_id: str = setting(text="Our service account there.")
    sts_scopes: tuple[str, ...] = setting(some_words, text="Scopes to request there.")
    sts_private_key: str = setting(
        lambda text: key_blocks(text)[0], secret=True, text="PEM private key that signs the assertion."
    )
    va_profile_base_url: str = setting(read_base_url, text="VA Profile: a person's contact details.")
    va_profile_api_key: str = setting(secret=True, text="Its API key.")

    operators: dict[str, str] = setting(
        password_hashes, secret=True, text="JSON: operator name to password hash (`flask operators hash`)."
    )
    operator_viewers: tuple[str, ...] = setting(
        words, (), text="Those of `OPERATORS` who may look at the consoles, and change nothing."
    )
    operator_administrators: tuple[str, ...] = setting(
        words, (), text="Those of `OPERATORS` who may also find a person, and be shown who it is, with a reason."
    )
    oidc_issuer: str | None = setting(
        read_base_url,
        None,
        text="OpenID Connect issuer by which operators may sign in, too. Unset: by password only.",
    )
    oidc_client_id: str | None = setting(line, None, text="Our client id there; it has to be set with the issuer.")
    oidc_client_secret: str | None = setting(line, None, secret=True, text="Our client secret there.")
    oidc_scopes: str = setting(line, "openid profile", text="Scopes to request there.")
    oidc_name_claim: str = setting(line, "preferred_username", text="Claim with the name that stands beside acts.")
    oidc_roles_claim: str = setting(
        line,
        "roles",
        text="Claim with the roles: `surefile-viewer`, `surefile-operator` or `surefile-administrator`. A dot leads"
        " into a claim, as in `realm_access.roles`.",
    )
    case_owner_travel_claim: str = setting(text="Who owns a travel claim's cases.")
    case_owner_intent_to_file: str = setting(text="Who owns an intent to file's cases.")
    case_owner_form526: str = setting(text="Who owns the cases of 526 submissions and their documents.")
    case_owner_travel_pay: str = setting(text="Who owns the cases of travel pay claims made while signed in.")
    case_owner_notification: str = setting(text="Who owns the cases of notifications that did not arrive.")
    alert_webhook_url: str | None = setting(read_base_url, None, text="Called with every case that opens.")

    synthetic_flows: tuple[str, ...] = setting(
        some_of(*SYNTHETIC_NEEDS),
        (),
        text="Flows through which a submission is filed every day for `SYNTHETIC_PERSON`:"
        f" {', '.join(f'`{flow}`' for flow in SYNTHETIC_NEEDS)}. It is a real one to whatever upstream gets it.",
    )
    synthetic_person: dict[str, str] | None = setting(
        synthetic_person,
        None,
        secret=True,
        text="JSON: the test person, with what their flows need of `account` (of the sign-in), `icn`, `phone`,"
        " `station`, `facility_type` and `facility_name`.",
    )
    synthetic_form: dict[str, Any] | None = setting(
        json_object,
        None,
        secret=True,
        text="JSON: the form that is filed every day, with `{day}` in one of its texts, which makes each a form of its"
        " own.",
    )
    synthetic_at: str = setting(time_of_day, "09:00", text="When they are filed, in UTC.")
    synthetic_late_hours: float = setting(
        number(0.1, 23), 4.0, text="Hours after which one that its person was not told of is late, and alarms."
    )
    synthetic_owner: str | None = setting(
        line, None, text="Who owns the cases of those that are late; it has to be set with the flows."
    )

    sms_recipient: str = setting(one_of("icn", "phone"), "icn", text="Address texts by `icn` or by `phone`.")
    redis_verify_tls: bool = setting(yes_or_no, True, text="Verify the certificate of `rediss://` (Heroku: no).")
    database_direct_url: str | None = setting(
        read_database_url,
        None,
        secret=True,
        text="A direct connection for LISTEN and migrations when `DATABASE_URL` is a pooler.",
    )
    database_pool_size: int = setting(
        whole(2, 200), 5, text="Most PostgreSQL connections of one process (a relay: one more); 2 at least."
    )
    worker_calls: int = setting(
        whole(1, 1_000),
        200,
        text="Most calls that one worker process has under way in one queue. A queue that may have fewer keeps its own"
        " number.",
    )
    allow_lossy_postgres: bool = setting(
        yes_or_no,
        False,
        text="Run on a PostgreSQL that loses commits in a crash (`fsync` or `full_page_writes` off): for tests, and for"
        " file systems that never write half a page.",
    )
    frontend_origins: tuple[str, ...] = setting(origins, (), text="Browser origins allowed to call with cookies.")
    hand_out_csrf_tokens: bool = setting(
        yes_or_no,
        True,
        text="Send `X-CSRF-Token`. No where another backend on this host sends it: pages keep one token for all.",
    )
    legal_time_zone: ZoneInfo = setting(ZoneInfo, ZoneInfo("America/Chicago"), text="Zone of legal dates.")
    insecure_cookies: bool = setting(yes_or_no, False, text="Allow cookies over plain http (one machine only).")
    trusted_proxies: int = setting(
        whole(0, 10), text="How many proxies of yours stand before the web process (Heroku: 1; none: 0)."
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
        whole(6, 200),
        30,
        text="Threads of one web process. At most half of them wait for upstreams, at most a quarter for any one.",
    )
    request_seconds: float = setting(
        number(1, 300),
        25.0,
        text="Limit on all that one request waits for, from its arrival. Heroku's router gives up after 30 s.",
    )
    metrics_token: str | None = setting(
        line,
        None,
        secret=True,
        text="Token that reads `/metrics`, as bearer or as the password of basic access; without one nobody reads it.",
    )
    request_id_upstreams: tuple[str, ...] = setting(
        some_of(*UPSTREAMS),
        (),
        text="Upstreams that are told the id of the request as `X-Request-Id`, and its trace as `traceparent`.",
    )
    statsd_address: tuple[str, int] | None = setting(
        host_and_port, None, text="Host and port of a StatsD agent that understands Datadog's tags."
    )
    otlp_traces_url: str | None = setting(
        read_base_url, None, text="Where traces are sent, by OTLP over http; needs `requirements-watch.txt`."
    )
    otlp_headers: dict[str, str] | None = setting(
        string_map, None, secret=True, text="JSON: headers of what is sent there, such as a key."
    )
    sentry_dsn: str | None = setting(
        line, None, secret=True, text="Where errors are reported, by Sentry; needs `requirements-watch.txt`."
    )
    metrics_keep_seconds: float = setting(
        number(0, 3_600), 5.0, text="How long a web process shows the metrics that it read last."
    )
    max_body_bytes: int = setting(whole(1_024, 16_777_216), 65_536, text="Largest JSON body accepted.")
    check_in_session_seconds: int = setting(whole(60, 604_800), 43_200, text="How long a check-in session lasts.")
    check_in_tries: int = setting(
        whole(1, 1_000),
        3,
        text="After so many wrong names or dates of birth within seven days a check-in link is closed.",
    )
    upstream_connect_seconds: float = setting(call_limit, 5.0, text="Limit on connecting to any upstream.")
    veis_total_seconds: float = setting(call_limit, 20.0, text="Total limit on one VEIS call.")
    btsss_total_seconds: float = setting(call_limit, 120.0, text="Total limit on one BTSSS call.")
    btsss_confirm_seconds: float = setting(
        within_a_day, 450.0, text="Until this long after its start, a BTSSS submit that is not found may still happen."
    )
    btsss_clock_skew_seconds: float = setting(number(0, 3_600), 120.0, text="Most BTSSS's clock may differ from ours.")
    vanotify_total_seconds: float = setting(call_limit, 30.0, text="Total limit on one VANotify call.")
    vanotify_confirm_seconds: float = setting(
        within_a_day, 150.0, text="Until this long after its start, a VANotify send that is not found may still happen."
    )
    vanotify_kept_days: int = setting(
        whole(1, MOST_DAYS),
        7,
        text="How long VANotify still finds what it took: the data retention of our service there, in days.",
    )
    accounts_total_seconds: float = setting(call_limit, 15.0, text="Total limit on one account service call.")
    sis_total_seconds: float = setting(call_limit, 5.0, text="Total limit on reading the Sign-in Service's keys.")
    lighthouse_total_seconds: float = setting(call_limit, 60.0, text="Total limit on one Lighthouse call of a job.")
    lighthouse_confirm_seconds: float = setting(
        within_a_day, 540.0, text="Until this long after its start, an ITF creation that is not found may still happen."
    )
    form526_total_seconds: float = setting(call_limit, 60.0, text="Total limit on one call of the 526 service.")
    form526_confirm_seconds: float = setting(
        within_a_day,
        300.0,
        text="Until this long after its start, a 526 submission that is not found may still happen.",
    )
    document_upload_seconds: float = setting(call_limit, 300.0, text="Total limit on one document upload.")
    document_status_seconds: float = setting(call_limit, 65.0, text="Total limit on one poll of upload statuses.")
    document_poll_minutes: float = setting(
        number(0, 1_440, above=True), 60.0, text="How often a pending document is polled."
    )
    upload_limits_pages: bool = setting(
        yes_or_no,
        False,
        text="Refuse a PDF with a page over 78 x 101 inches. That is a limit of Benefits Intake, the way around the 526"
        " service, and not of Benefits Documents.",
    )
    document_ask_again_days: tuple[int, ...] = setting(
        days, (1, 3, 7, 14), text="Days after its failure on which a document is asked about again; empty: never."
    )
    document_keep_days: int = setting(
        whole(1, MOST_DAYS), 7, text="Days a document's bytes stay after it is done or failed for good."
    )
    attachment_keep_days: int = setting(
        whole(1, MOST_DAYS), 60, text="Days an uploaded file that no form has claimed is kept."
    )
    attachment_most_bytes_per_account: int = setting(
        whole(1024 * 1024, 1024**4),
        1024 * 1024 * 1024,
        text="Most bytes of files that no form has claimed, of one account.",
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
    itf_sync_seconds: float = setting(call_limit, 20.0, text="Total limit on one Lighthouse call a person waits for.")
    itf_first_look_seconds: float = setting(
        number(0, 20),
        2.0,
        text="How long the first page of a person never looked up waits until upstream was asked for an ITF from"
        " elsewhere; 0: no such look is made.",
    )
    itf_refresh_days: int = setting(whole(1, 364), 7, text="A confirmed ITF is compared with upstream this often.")
    itf_refresh_per_minute: int = setting(at_least_one, 30, text="Most ITFs compared with upstream in a minute.")
    travel_pay_total_seconds: float = setting(call_limit, 60.0, text="Total limit on one Travel Pay call of a job.")
    travel_pay_confirm_seconds: float = setting(
        within_a_day, 540.0, text="Until this long after its start, a Travel Pay write not found may still happen."
    )
    travel_pay_wait_seconds: float = setting(
        number(0, 20), 5.0, text="How long a posted Travel Pay claim may take before it is answered with 202."
    )
    status_wait_seconds: float = setting(
        number(0, 20),
        10.0,
        text="Longest that a status route waits for a change if its caller prefers that (`Prefer: wait=N`); 0: never.",
    )
    travel_pay_read_seconds: float = setting(call_limit, 20.0, text="Total limit on one call a person waits for.")
    travel_pay_cache_seconds: float = setting(
        number(0, 86_400),
        0.0,
        text="How long Travel Pay's answer to a person is shown again; 0: every time a new call.",
    )
    sts_total_seconds: float = setting(call_limit, 10.0, text="Total limit on one token exchange for a person.")
    va_profile_total_seconds: float = setting(call_limit, 10.0, text="Total limit on one VA Profile call.")
    check_in_total_seconds: float = setting(call_limit, 12.0, text="Total limit on one LoROTA or CHIP call.")
    webhook_total_seconds: float = setting(call_limit, 10.0, text="Total limit on one delivery to a webhook.")
    webhook_private_addresses: bool = setting(
        yes_or_no,
        False,
        text="Let webhooks be told at addresses that are not public, and over plain http: for one machine, or where all"
        " receivers are inside.",
    )
    webhook_keep_days: int = setting(
        whole(1, MOST_DAYS),
        30,
        text="Days after its end for which a delivery to a webhook can be sent again; one that nobody takes is dropped"
        " so long after it was due.",
    )
    breaker_open_seconds: float = setting(
        call_limit, 15.0, text="How long a breaker stays open; doubled by a failed probe."
    )
    breaker_cap_seconds: float = setting(
        within_a_day, 900.0, text="Longest time that it stays open, Retry-After included."
    )
    retry_scale: float = setting(
        number(0, 100, above=True), 1.0, text="Multiplies every retry delay; below 1 for demonstrations only."
    )
    keep_history_months: int = setting(whole(1, 1_200), 24, text="Months of history and attempts kept.")
    keep_ended_days: int = setting(
        whole(1, MOST_DAYS),
        90,
        text="Days after its end for which a submission or notification keeps what it holds of its person: ICN, phone,"
        " appointment, names of files, the words that were sent; and a closed case its notes.",
    )
    keep_form_days: int = setting(
        whole(1, MOST_DAYS), 30, text="Days after the end of a 526 and all its documents for which the form is kept."
    )
    keep_identity_days: int = setting(
        whole(1, MOST_DAYS),
        90,
        text="Days after it was looked up for which we keep whose account it is, unless something of theirs needs it:"
        " an intent to file does for its whole year. It is looked up again when it is needed again.",
    )
    keep_contact_days: int = setting(
        whole(1, MOST_DAYS), 90, text="Days after they were last seen for which differing contact details are kept."
    )
    release_version: str | None = setting(
        line, None, text="Name of the running release, such as a commit; the console shows it of every process."
    )
    log_level: str = setting(read_log_level, "INFO", text="Level of our own loggers.")


# What a lease lasts longer than the calls of its job may take.
LEASE_MARGIN_SECONDS = 30.0
# How long a worker may still be at a write that nobody hears of any more: its calls, each of them once more after a
# refused token. Before that is over, a write that is not found may still happen, and must not be made again.
WRITING_SECONDS: dict[str, Callable[[Config], float]] = {
    "btsss_confirm_seconds": lambda config: 2 * (config.veis_total_seconds + config.btsss_total_seconds),
    "vanotify_confirm_seconds": lambda config: config.vanotify_total_seconds,
    "lighthouse_confirm_seconds": lambda config: 8 * config.lighthouse_total_seconds,
    "form526_confirm_seconds": lambda config: config.form526_total_seconds,
    "travel_pay_confirm_seconds": lambda config: (
        2 * (config.veis_total_seconds + config.sts_total_seconds + 3 * config.travel_pay_total_seconds)
    ),
}


def contradictions(config: Config) -> dict[tuple[str, ...], str]:
    """What is wrong with settings that are each right by themselves, by the fields that contradict each other."""
    found: dict[tuple[str, ...], str] = {}
    if config.breaker_cap_seconds < config.breaker_open_seconds:
        why = "a breaker cannot stay open for less time at most than at first"
        found["breaker_cap_seconds", "breaker_open_seconds"] = (
            f"BREAKER_CAP_SECONDS is less than BREAKER_OPEN_SECONDS ({config.breaker_open_seconds:g}): {why}"
        )
    for name in ("operator_viewers", "operator_administrators"):
        if set(getattr(config, name)) - set(config.operators or {}):
            found[name, "operators"] = f"{name.upper()} names somebody who is not in OPERATORS"
    if config.oidc_issuer is not None and not (config.oidc_client_id and config.oidc_client_secret):
        both = ("oidc_client_id", "oidc_client_secret")
        found[both] = "OIDC_ISSUER is set without OIDC_CLIENT_ID or OIDC_CLIENT_SECRET: nobody could sign in by it"
    if set(config.operator_viewers) & set(config.operator_administrators):
        both = ("operator_viewers", "operator_administrators")
        found[both] = "OPERATOR_VIEWERS and OPERATOR_ADMINISTRATORS name the same person"
    found |= half_set(config)
    # In a demonstration nothing is sent again to anybody, and hours become seconds.
    if config.retry_scale >= 1:
        for name, writing_seconds in WRITING_SECONDS.items():
            least = writing_seconds(config) + LEASE_MARGIN_SECONDS
            if getattr(config, name) < least:
                found[(name,)] = (
                    f"{name.upper()} has to be {least:g} or more: for so long a worker may still be at a write, by the"
                    " limits on its calls, and it would be made twice"
                )
    return found


def half_set(config: Config) -> dict[tuple[str, ...], str]:
    """What is missing for synthetic submissions, or left over without them."""
    flows, person, form = config.synthetic_flows, config.synthetic_person, config.synthetic_form
    found: dict[tuple[str, ...], str] = {}
    if not flows:
        for name in ("synthetic_person", "synthetic_form", "synthetic_owner"):
            if getattr(config, name) is not None:
                why = f"{name.upper()} is set without SYNTHETIC_FLOWS: nothing would be filed"
                found["synthetic_flows", name] = why
        return found
    for name in ("synthetic_person", "synthetic_owner"):
        if getattr(config, name) is None:
            found["synthetic_flows", name] = f"SYNTHETIC_FLOWS is set without {name.upper()}"
    for flow in flows if person is not None else ():
        lacking = [each for each in SYNTHETIC_NEEDS[flow] if each not in (person or {})]
        if lacking:
            found["synthetic_flows", "synthetic_person", flow] = (
                f"SYNTHETIC_PERSON lacks {', '.join(lacking)} for {flow}"
            )
    if ("form526_submission" in flows) != (form is not None):
        why = "SYNTHETIC_FLOWS names form526_submission if and only if SYNTHETIC_FORM is set"
        found["synthetic_flows", "synthetic_form"] = why
    elif form is not None and SYNTHETIC_DAY not in json.dumps(form):
        why = f"SYNTHETIC_FORM has no text with {SYNTHETIC_DAY}: on every day it would be the same submission"
        found[("synthetic_form",)] = why
    if "intent_to_file" in flows and config.itf_async_percent == 0:
        why = "SYNTHETIC_FLOWS names intent_to_file, and with ITF_ASYNC_PERCENT 0 none is filed in the background"
        found["synthetic_flows", "itf_async_percent"] = why
    return found


def setting_names() -> dict[str, Any]:
    """Environment name → dataclass field, for the documentation and for messages."""
    return {item.name.upper(): item for item in fields(Config)}


def from_env(environ: Mapping[str, str]) -> Config:
    """Read every setting; raises ConfigError naming all that are missing or malformed."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    malformed: set[str] = set()
    for name, item in setting_names().items():
        text = environ.get(name, "")
        if not text:
            if item.metadata["required"]:
                problems.append(f"{name} is not set: {item.metadata['text']}")
            continue
        try:
            values[item.name] = item.metadata["read"](text)
        except Exception as error:
            why = "malformed" if item.metadata["secret"] and not isinstance(error, Expected) else error
            problems.append(f"{name} cannot be read: {why}")
            malformed.add(item.name)
    if not values.get("sis_jwks_url") and not values.get("sis_public_keys"):
        problems.append("SIS_JWKS_URL or SIS_PUBLIC_KEYS has to be set: nobody could sign in")
    config = Config(**values)
    problems += [words for names, words in contradictions(config).items() if not malformed & set(names)]
    if problems:
        raise ConfigError("; ".join(problems))
    return config
