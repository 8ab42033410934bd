"""The settings: read once, typed and complete. One message says everything that is wrong with them, without secrets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flaskapp import REGISTERED
from flaskapp.config import ConfigError, from_env, setting_names
from flaskapp.config_readers import key_text, line
from jobs.registry import spec_of
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

KEYS = ("A" * 43 + "=", "B" * 42 + "A=")
PEM = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def settings(secrets_folder: Path) -> dict[str, str]:
    made = environment("postgres://u:pw@h:5432/d", "redis://h:6379/0", NOWHERE, kept_secrets(secrets_folder))
    # A role of an operator whom a test may replace.
    return {**made, "OPERATOR_ADMINISTRATORS": ""}


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
        ("ENCRYPTION_KEYS", f"{KEYS[0]}, {KEYS[1]},", KEYS),
        ("OPERATORS", '{"ana": "scrypt:1$salt$hash"}', {"ana": "scrypt:1$salt$hash"}),
        ("FRONTEND_ORIGINS", "https://a.gov, http://b:3001", ("https://a.gov", "http://b:3001")),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("INSECURE_COOKIES", "Yes", True),
        ("REDIS_VERIFY_TLS", "off", False),
        ("SMS_RECIPIENT", "phone", "phone"),
        ("MAX_BODY_BYTES", "2048", 2048),
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
        ("SECRET_KEY", "hunter2"),
        ("DIGEST_KEY", "hunter2"),
        ("DIGEST_KEY", f" {'hunter2' * 5}"),
        ("ENCRYPTION_KEYS", f"{KEYS[0]},hunter2"),
        ("ENCRYPTION_KEYS", ","),
        ("OPERATORS", '{"ana": "hunter2"}'),
        ("OPERATORS", '{" ": "scrypt:1$hunter2$x"}'),
        ("BTSSS_SUBSCRIPTION_KEYS", "hunter2,b,c"),
        ("VANOTIFY_CALLBACK_TOKENS", ", ,"),
        ("STS_SCOPES", ","),
        ("LOROTA_BASE_URL", "http://"),
        ("LOROTA_BASE_URL", "http://h:0"),
        ("LOROTA_BASE_URL", "http://h/?a=b"),
        ("FRONTEND_ORIGINS", "https://a.gov/path"),
        ("FRONTEND_ORIGINS", "*"),
        ("LOG_LEVEL", "loud"),
        ("KEEP_HISTORY_MONTHS", "-1"),
        ("KEEP_HISTORY_MONTHS", "0"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_SIZE", "1"),
        ("MAX_BODY_BYTES", "0"),
        ("DOCUMENT_ASK_AGAIN_DAYS", "1,99999"),
    ],
)
def test_a_malformed_setting_is_named_and_no_secret_is_repeated(settings: dict[str, str], name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} cannot be read") as caught:
        from_env({**settings, name: text})
    assert "hunter2" not in str(caught.value)


def numeric() -> list[str]:
    return [name for name, item in setting_names().items() if type(item.default) in (int, float) or item.type == "int"]


def reading(name: str, text: str) -> Any:
    return setting_names()[name].metadata["read"](text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e300", "1" + "0" * 30])
def test_no_number_is_read_that_means_nothing(text: str) -> None:
    """Of no setting, however it is used: most of them would break far from the start, and without a word."""
    assert len(numeric()) > 40
    for name in numeric():
        with pytest.raises(ValueError):
            reading(name, text)


def test_no_text_of_one_line_may_have_a_second_one_or_blanks_around_it(settings: dict[str, str]) -> None:
    """They come with copying, and would be sent in headers or be a part of a key."""
    lines = [name for name, item in setting_names().items() if item.metadata["read"] in (line, key_text)]
    assert {"VEIS_CLIENT_SECRET", "LOROTA_API_KEY", "CASE_OWNER_FORM526", "SECRET_KEY"} <= set(lines)
    for name in lines:
        right = settings.get(name) or "x" * 40
        for text in (f"{right}\n", f" {right}", f"{right}\r\nX: y", " "):
            with pytest.raises(ValueError):
                reading(name, text)


def test_each_default_is_one_that_its_own_reader_takes() -> None:
    for name in numeric():
        default = setting_names()[name].default
        assert default is None or reading(name, str(default)) == default


SHORTEST = {
    "BTSSS_CONFIRM_SECONDS": 310,
    "VANOTIFY_CONFIRM_SECONDS": 60,
    "LIGHTHOUSE_CONFIRM_SECONDS": 510,
    "FORM526_CONFIRM_SECONDS": 90,
    "TRAVEL_PAY_CONFIRM_SECONDS": 450,
}


def test_a_write_may_not_be_made_again_while_its_worker_may_still_make_it(settings: dict[str, str]) -> None:
    """All that contradict others are named in one message, beside what cannot be read."""
    too_short = {name: str(seconds - 1) for name, seconds in SHORTEST.items()}
    with pytest.raises(ConfigError) as caught:
        from_env({**settings, **too_short, "SECRET_KEY": "x", "BREAKER_CAP_SECONDS": "14"})
    for name, seconds in SHORTEST.items():
        assert f"{name} has to be {seconds} or more" in str(caught.value)
    assert "SECRET_KEY cannot be read: expected 32 characters or more" in str(caught.value)
    assert "BREAKER_CAP_SECONDS is less than BREAKER_OPEN_SECONDS" in str(caught.value)
    assert from_env({**settings, **too_short, "RETRY_SCALE": "0.5"}), "a demonstration, where hours are seconds"


def test_the_shortest_confirm_times_are_as_long_as_the_leases_of_their_jobs(settings: dict[str, str]) -> None:
    config = from_env({**settings, **{name: str(seconds) for name, seconds in SHORTEST.items()}})
    specs = [spec_of(path) for path in REGISTERED.works]
    writing = [spec for spec in specs if spec.writes and spec.searchable and spec.look_up is not None]
    assert len(writing) >= 7
    for spec in writing:
        assert spec.confirm_after_seconds(config) >= spec.lease_seconds(config), spec.work.path


def test_a_role_is_of_an_operator_and_of_one_kind(settings: dict[str, str]) -> None:
    settings["OPERATORS"] = '{"ana": "scrypt:1$salt$hash"}'
    assert from_env({**settings, "OPERATOR_VIEWERS": "ana"}).operator_viewers == ("ana",)
    with pytest.raises(ConfigError, match="OPERATOR_VIEWERS names somebody who is not in OPERATORS"):
        from_env({**settings, "OPERATOR_VIEWERS": "anna"})
    with pytest.raises(ConfigError, match="OPERATOR_VIEWERS and OPERATOR_ADMINISTRATORS name the same person"):
        from_env({**settings, "OPERATOR_VIEWERS": "ana", "OPERATOR_ADMINISTRATORS": "ana"})


SYNTHETIC = {
    "SYNTHETIC_FLOWS": "travel_claim,form526_submission",
    "SYNTHETIC_PERSON": '{"account": "00000000-0000-4000-8000-0000000000aa", "icn": "1", "station": "983"}',
    "SYNTHETIC_FORM": '{"note": "of {day}"}',
    "SYNTHETIC_OWNER": "ops",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SYNTHETIC_FLOWS": ""}, "SYNTHETIC_PERSON is set without SYNTHETIC_FLOWS"),
        ({"SYNTHETIC_PERSON": ""}, "SYNTHETIC_FLOWS is set without SYNTHETIC_PERSON"),
        ({"SYNTHETIC_OWNER": ""}, "SYNTHETIC_FLOWS is set without SYNTHETIC_OWNER"),
        ({"SYNTHETIC_FORM": ""}, "SYNTHETIC_FLOWS names form526_submission if and only if SYNTHETIC_FORM is set"),
        ({"SYNTHETIC_FLOWS": "travel_claim"}, "form526_submission if and only if SYNTHETIC_FORM is set"),
        ({"SYNTHETIC_FORM": '{"note": "always"}'}, "SYNTHETIC_FORM has no text with {day}"),
        ({"SYNTHETIC_PERSON": '{"icn": "1"}'}, "SYNTHETIC_PERSON lacks station for travel_claim"),
        ({"SYNTHETIC_PERSON": '{"account": "1"}'}, "SYNTHETIC_PERSON cannot be read: expected a UUID as account"),
        ({"SYNTHETIC_FLOWS": "claims"}, "SYNTHETIC_FLOWS cannot be read: expected some of travel_claim"),
        ({"SYNTHETIC_AT": "24:00"}, "SYNTHETIC_AT cannot be read: expected a time like 09:30"),
        ({"SYNTHETIC_LATE_HOURS": "24"}, "SYNTHETIC_LATE_HOURS cannot be read"),
        (
            {"SYNTHETIC_FLOWS": "intent_to_file,form526_submission", "ITF_ASYNC_PERCENT": "0"},
            "SYNTHETIC_FLOWS names intent_to_file, and with ITF_ASYNC_PERCENT 0 none",
        ),
    ],
)
def test_half_of_what_synthetic_submissions_need_stops_the_start(
    settings: dict[str, str], changes: dict[str, str], said: str
) -> None:
    assert len(from_env({**settings, **SYNTHETIC}).synthetic_flows) == 2
    with pytest.raises(ConfigError) as caught:
        from_env({**settings, **SYNTHETIC, **changes})
    assert said in str(caught.value) and "0000aa" not in str(caught.value)


def test_without_any_key_nobody_could_sign_in_and_nothing_starts(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="SIS_JWKS_URL or SIS_PUBLIC_KEYS has to be set"):
        from_env({**settings, "SIS_JWKS_URL": ""})


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, item in setting_names().items() if not item.metadata["text"].endswith(".")] == []
