"""The outside world: one client a file, all failing in the six ways of `errors.py`. Knows no models and no Flask."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.fernet import Fernet, MultiFernet
from redis import Redis

from flaskapp.config import Config
from flaskapp.upstreams.alerts import AlertClient
from flaskapp.upstreams.btsss import BTSSSClient
from flaskapp.upstreams.chip import CHIPClient
from flaskapp.upstreams.http import HTTP
from flaskapp.upstreams.lorota import LorotaClient
from flaskapp.upstreams.tokens import TokenCache
from flaskapp.upstreams.va_notify import VANotifyClient
from flaskapp.upstreams.veis import VEISClient


@dataclass(frozen=True)
class Upstreams:
    veis: VEISClient
    btsss: BTSSSClient
    va_notify: VANotifyClient
    lorota: LorotaClient
    chip: CHIPClient
    alerts: AlertClient


def build(config: Config, redis: Redis) -> Upstreams:
    """The clients of one process. Connects nowhere; raises ValueError naming a setting that cannot be right."""
    http = HTTP(config.upstream_connect_seconds)
    veis = VEISClient(config, http)
    cipher = MultiFernet([Fernet(key) for key in config.encryption_keys])
    tokens = TokenCache(
        redis,
        "veis",
        veis.fetch_token,
        encrypt=cipher.encrypt,
        decrypt=cipher.decrypt,
        fetch_seconds=config.veis_total_seconds,
    )
    return Upstreams(
        veis=veis,
        btsss=BTSSSClient(config, http, tokens),
        va_notify=VANotifyClient(config, http),
        lorota=LorotaClient(config, http),
        chip=CHIPClient(config, http),
        alerts=AlertClient(config, http),
    )
