"""Clients of the outside world, one for each API. All fail in the six ways of `errors.py`, and none uses Flask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from redis import Redis

from flaskapp.config import Config
from flaskapp.upstreams.accounts import AccountsClient
from flaskapp.upstreams.alerts import AlertClient
from flaskapp.upstreams.btsss import BTSSSClient
from flaskapp.upstreams.chip import CHIPClient
from flaskapp.upstreams.form526 import Form526Client
from flaskapp.upstreams.lighthouse.auth import LighthouseAuthClient, TokenService, claims_tokens, documents_tokens
from flaskapp.upstreams.lighthouse.claims import LighthouseClaimsClient
from flaskapp.upstreams.lighthouse.documents import LighthouseDocumentsClient
from flaskapp.upstreams.lorota import LorotaClient
from flaskapp.upstreams.sign_in_keys import SignInKeys
from flaskapp.upstreams.sts import STSClient
from flaskapp.upstreams.tokens.cache import TokenCache
from flaskapp.upstreams.tokens.person import PersonTokens
from flaskapp.upstreams.tokens.store import ImpatientRedis
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.travel_pay.auth import TravelerTokenClient, TravelPayAuth
from flaskapp.upstreams.travel_pay.filing import TravelPayFilingClient
from flaskapp.upstreams.travel_pay.reads import TravelPayClient
from flaskapp.upstreams.va_notify import VANotifyClient
from flaskapp.upstreams.va_profile import VAProfileClient
from flaskapp.upstreams.veis import VEISClient
from flaskapp.upstreams.webhooks import WebhookClient


@dataclass(frozen=True)
class Upstreams:
    veis: VEISClient
    btsss: BTSSSClient
    va_notify: VANotifyClient
    lorota: LorotaClient
    chip: CHIPClient
    accounts: AccountsClient
    sign_in_keys: SignInKeys
    lighthouse_claims: LighthouseClaimsClient
    lighthouse_documents: LighthouseDocumentsClient
    form526: Form526Client
    travel_pay: TravelPayClient
    travel_pay_filing: TravelPayFilingClient
    va_profile: VAProfileClient
    alerts: AlertClient
    webhooks: WebhookClient


def build(config: Config, redis: Redis) -> Upstreams:
    """The clients of one process. Opens no connection; raises ValueError with the name of a setting that is wrong."""
    told = frozenset(config.request_id_upstreams)
    http = HTTP(config.upstream_connect_seconds, max(100, config.worker_calls), told)
    veis = VEISClient(config, http)
    cipher = MultiFernet([Fernet(key) for key in config.encryption_keys])
    # Shared, so that all tokens together cost the process one connection.
    shared = ImpatientRedis(redis)
    token_cache = partial(TokenCache, shared, encrypt=cipher.encrypt, decrypt=cipher.decrypt)
    veis_tokens = token_cache("veis", veis.fetch_token, fetch_seconds=config.veis_total_seconds)

    def lighthouse_tokens(name: str, service: TokenService) -> TokenCache:
        auth = LighthouseAuthClient(config, http, service)
        return token_cache(name, auth.fetch_token, fetch_seconds=service.total_seconds)

    claims = lighthouse_tokens("lighthouse_claims", claims_tokens(config))
    documents = lighthouse_tokens("lighthouse_documents", documents_tokens(config))
    travel_pay_auth = _travel_pay_auth(config, http, veis, shared, cipher)
    return Upstreams(
        veis=veis,
        btsss=BTSSSClient(config, http, veis_tokens),
        va_notify=VANotifyClient(config, http),
        lorota=LorotaClient(config, http),
        chip=CHIPClient(config, http),
        accounts=AccountsClient(config, http),
        sign_in_keys=SignInKeys(config, http),
        lighthouse_claims=LighthouseClaimsClient(config, http, claims),
        lighthouse_documents=LighthouseDocumentsClient(config, http, documents),
        form526=Form526Client(config, http),
        travel_pay=TravelPayClient(config, http, travel_pay_auth),
        travel_pay_filing=TravelPayFilingClient(config, http, travel_pay_auth),
        va_profile=VAProfileClient(config, http),
        alerts=AlertClient(config, http),
        webhooks=WebhookClient(config),
    )


def _travel_pay_auth(
    config: Config, http: HTTP, veis: VEISClient, shared: ImpatientRedis, cipher: MultiFernet
) -> TravelPayAuth:
    """Travel Pay's token from VEIS is cached under another name than ClaimIngest's: neither works for the other API."""
    sealed: dict[str, Any] = {"encrypt": cipher.encrypt, "decrypt": cipher.decrypt}
    fetch, seconds = veis.fetch_travel_pay_token, config.veis_total_seconds
    veis_tokens = TokenCache(shared, "veis", fetch, fetch_seconds=seconds, holder="travel_pay", **sealed)
    source = TravelerTokenClient(config, http, STSClient(config, http), veis_tokens)
    person_tokens = PersonTokens(
        shared,
        "travel_pay",
        source.fetch_token,
        digest_key=config.digest_key,
        fetch_seconds=source.fetch_seconds,
        **sealed,
    )
    return TravelPayAuth(config, veis_tokens, person_tokens)
