"""The settings: read once, typed and complete. One message says everything that is wrong with them, without secrets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flaskapp.config import ConfigError, from_env, setting_names
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

PEM = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def settings(secrets_folder: Path) -> dict[str, str]:
    return environment("postgres://u:pw@h:5432/d", "redis://h:6379/0", NOWHERE, kept_secrets(secrets_folder))


def required() -> list[str]:
    return [name for name, item in setting_names().items() if item.metadata["required"]]


def test_a_complete_environment_is_read_and_cannot_be_changed(settings: dict[str, str]) -> None:
    config = from_env(settings)
    with pytest.raises(FrozenInstanceError):
        config.log_level = "DEBUG"  # type: ignore[misc]
    assert (config.sms_recipient, config.legal_time_zone) == ("icn", ZoneInfo("America/Chicago"))
    assert (config.alert_webhook_url, config.frontend_origins) == (None, ())


def test_every_missing_setting_is_named_at_once_with_its_purpose() -> None:
    with pytest.raises(ConfigError) as caught:
        from_env({})
    for name in required():
        assert f"{name} is not set: {setting_names()[name].metadata['text']}" in str(caught.value)


@pytest.mark.parametrize("name", required())
def test_each_missing_required_setting_stops_the_start(settings: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is not set"):
        from_env({**settings, name: ""})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://u:p@h:5/d", "postgresql+psycopg2://u:p@h:5/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql+psycopg2://u:p@h/d?sslmode=require"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
        (
            "postgres://u:p@one:5,two:6/d?sslmode=require",
            "postgresql+psycopg2://u:p@/d?host=one:5&host=two:6&sslmode=require",
        ),
    ],
)
def test_herokus_database_urls_are_understood(settings: dict[str, str], text: str, expected: str) -> None:
    assert from_env({**settings, "DATABASE_URL": text}).database_url == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://u:s3cret@h/d", "expected postgres://user:password@host:port/name"),
        ("postgres://u:s3cret@h", "it names no database"),
        ("postgres://u:s3cret@h:five/d", "in the password, each of : / @ ? # % is percent-encoded"),
        ("postgres://u:s3cret@h/d?sllmode=require", "sllmode is no option of PostgreSQL's client"),
        ("postgres://u:s3cret@h/d?options=--verbose", "options may hold only -c name=value"),
    ],
)
def test_what_is_wrong_with_a_database_url_is_said_without_the_password(
    settings: dict[str, str], text: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_env({**settings, "DATABASE_URL": text})
    assert str(caught.value).startswith("DATABASE_URL cannot be read: ")
    assert said in str(caught.value)
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("REDIS_URL", "rediss://:p@h:6380", "rediss://:p@h:6380"),
        ("BTSSS_BASE_URL", "https://h/EC/ClaimIngestSvc/", "https://h/EC/ClaimIngestSvc"),
        ("EARLIER_DIGEST_KEYS", "a, b,", ("a", "b")),
        ("OPERATORS", '{"ana": "hash"}', {"ana": "hash"}),
        ("INSECURE_COOKIES", "Yes", True),
        ("REDIS_VERIFY_TLS", "off", False),
        ("SMS_RECIPIENT", "phone", "phone"),
        ("MAX_BODY_BYTES", "10", 10),
        ("BREAKER_OPEN_SECONDS", "0.5", 0.5),
        ("LEGAL_TIME_ZONE", "UTC", ZoneInfo("UTC")),
        ("ITF_ASYNC_PERCENT", "0", 0),
        ("ITF_SYNC_APPS", "one, two", ("one", "two")),
        ("DOCUMENT_POLL_MINUTES", "0.05", 0.05),
        ("SIS_PUBLIC_KEYS", PEM.replace("\n", "\\n") + PEM, (PEM, PEM)),
    ],
)
def test_texts_become_typed_values(settings: dict[str, str], name: str, text: str, expected: Any) -> None:
    assert getattr(from_env({**settings, name: text}), name.lower()) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("DATABASE_URL", "postgres://"),
        ("REDIS_URL", "http://:hunter2@h"),
        ("OPERATORS", '{"ana": 1, "x": "hunter2"}'),
        ("OPERATORS", "hunter2"),
        ("VANOTIFY_TEMPLATES", "[]"),
        ("LOROTA_BASE_URL", "h:80"),
        ("SMS_RECIPIENT", "pigeon"),
        ("INSECURE_COOKIES", "maybe"),
        ("MAX_BODY_BYTES", "many"),
        ("LEGAL_TIME_ZONE", "Mars/Olympus"),
        ("ITF_ASYNC_PERCENT", "101"),
        ("ITF_REFRESH_DAYS", "0"),
        ("DOCUMENT_POLL_MINUTES", "0"),
        ("DOCUMENT_POLL_MINUTES", "inf"),
        ("LIGHTHOUSE_PRIVATE_KEY", "hunter2"),
        ("ENCRYPTION_KEYS", "hunter2"),
        ("ENCRYPTION_KEYS", " , "),
    ],
)
def test_a_malformed_setting_is_named_and_no_secret_is_repeated(settings: dict[str, str], name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} cannot be read") as caught:
        from_env({**settings, name: text})
    assert "hunter2" not in str(caught.value)


def test_without_any_key_nobody_could_sign_in_and_nothing_starts(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="SIS_JWKS_URL or SIS_PUBLIC_KEYS has to be set"):
        from_env({**settings, "SIS_JWKS_URL": ""})


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, item in setting_names().items() if not item.metadata["text"].endswith(".")] == []
