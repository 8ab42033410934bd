"""The sandbox gives the product every setting that it requires, and keeps its secrets from one start to the next."""

import stat

import pytest
from werkzeug.security import check_password_hash

from flaskapp.config import ConfigError, from_env, setting_names
from sandbox.settings import environment, fake_settings, kept_secrets
from sandbox.upstreams.serve import PORTS

UPSTREAMS = {name: f"http://127.0.0.1:{port}" for name, port in PORTS.items()}


def settings(folder, **overrides):
    database = "postgres://surefile:secret@127.0.0.1/surefile"
    return environment(database, "redis://127.0.0.1", UPSTREAMS, kept_secrets(folder), overrides)


def test_no_required_setting_is_forgotten(tmp_path):
    required = {name for name, item in setting_names().items() if item.metadata["required"]}
    assert required <= set(settings(tmp_path))


def test_the_product_reads_the_settings(tmp_path):
    config = from_env(settings(tmp_path))
    assert config.btsss_base_url == UPSTREAMS["btsss"]
    assert check_password_hash(config.operators["operator"], kept_secrets(tmp_path).operator_password)


def test_both_sides_of_a_callback_know_the_same_token(tmp_path):
    fakes = fake_settings("http://127.0.0.1:8000")
    assert fakes.vanotify_callback_token in from_env(settings(tmp_path)).vanotify_callback_tokens


def test_secrets_are_drawn_once_and_hidden_from_other_users(tmp_path):
    first = settings(tmp_path / "run")
    again = settings(tmp_path / "run")
    assert {name: first[name] for name in first if name != "OPERATORS"} == {
        name: again[name] for name in again if name != "OPERATORS"
    }
    assert stat.S_IMODE((tmp_path / "run" / "settings.json").stat().st_mode) == 0o600
    assert settings(tmp_path / "other")["DIGEST_KEY"] != first["DIGEST_KEY"]


def test_the_callers_own_settings_win_and_other_variables_are_not_passed_on(tmp_path):
    chosen = settings(tmp_path, LOG_LEVEL="DEBUG", VEIS_TENANT="mine", VEIS_SCOPE="", HOME="/nowhere")
    assert (chosen["LOG_LEVEL"], chosen["VEIS_TENANT"]) == ("DEBUG", "mine")
    assert chosen["VEIS_SCOPE"] and "HOME" not in chosen


def test_a_malformed_setting_of_the_caller_is_named(tmp_path):
    with pytest.raises(ConfigError, match="MAX_BODY_BYTES cannot be read"):
        from_env(settings(tmp_path, MAX_BODY_BYTES="lots"))
