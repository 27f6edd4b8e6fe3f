"""Settings: the order of places, the origin of every value, and what a wrong one says."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from flowledger.adapters.settings import Settings, SettingsWarning, resolve
from flowledger.events.errors import InputError


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = resolve(environ={})
    assert settings.database_url == "sqlite:///flowledger.db"
    assert (settings.lease_heartbeat_s, settings.lease_fence_s, settings.lease_takeover_s) == (5, 15, 20)
    assert (settings.payload_inline_bytes, settings.payload_max_bytes) == (65_536, 16_777_216)
    assert set(settings.origins.values()) == {"default"}


def test_option_beats_argument_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    # Given the same setting in all places
    secret = tmp_path / "url"
    secret.write_text("memory://file\n", encoding="utf-8")
    environ = {"FLOWLEDGER_DATABASE_URL_FILE": str(secret)}
    # When they are added one by one, Then each beats the one before, and the origin says so
    file = resolve(environ=environ)
    assert (file.database_url, file.origins["database_url"]) == ("memory://file", "FLOWLEDGER_DATABASE_URL_FILE")
    environ["FLOWLEDGER_DATABASE_URL"] = "memory://env"
    env = resolve(environ=environ)
    assert (env.database_url, env.origins["database_url"]) == ("memory://env", "FLOWLEDGER_DATABASE_URL")
    argued = resolve(Settings(database_url="memory://settings"), environ=environ)
    assert (argued.database_url, argued.origins["database_url"]) == ("memory://settings", "argument")
    assert resolve(Settings(database_url="memory://a"), "memory://b", environ=environ).database_url == "memory://b"
    option = resolve(None, "memory://b", options={"database_url": "memory://option"}, environ=environ)
    assert (option.database_url, option.origins["database_url"]) == ("memory://option", "option")


def test_an_argument_that_equals_the_default_still_beats_the_environment() -> None:
    settings = resolve(Settings(payload_inline_bytes=65_536), environ={"FLOWLEDGER_PAYLOAD_INLINE_BYTES": "1000"})
    assert settings.payload_inline_bytes == 65_536


def test_an_argument_of_another_field_does_not_hide_the_environment() -> None:
    assert resolve(Settings(app="m:a"), environ={"FLOWLEDGER_THREADS": "3"}).threads == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FLOWLEDGER_THREADS", "many"),
        ("FLOWLEDGER_THREADS", "0"),
        ("FLOWLEDGER_LEASE_FENCE_S", "-1"),
        ("FLOWLEDGER_LEASE_FENCE_S", "nan"),
        ("FLOWLEDGER_PAYLOAD_MAX_BYTES", "16MB"),
        ("FLOWLEDGER_LOG_LEVEL", "loud"),
        ("FLOWLEDGER_LOG_FORMAT", "xml"),
        ("FLOWLEDGER_DATABASE_URL", ""),
        ("FLOWLEDGER_DATABASE_URL_FILE", "/nowhere/at/all"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(environ={variable: value})
    assert variable in caught.value.message
    assert caught.value.field == variable
    assert caught.value.expected


def test_a_wrong_argument_names_its_field() -> None:
    with pytest.raises(InputError, match="threads"):
        Settings(threads=-1)


def test_a_url_is_never_repeated_in_an_error() -> None:
    with pytest.raises(InputError) as caught:
        resolve(environ={"FLOWLEDGER_DATABASE_URL_FILE": "/nowhere", "FLOWLEDGER_DATABASE_URL": "  "})
    assert "  " not in caught.value.given


def test_b2_an_owner_must_fence_itself_before_others_take_over() -> None:
    with pytest.raises(InputError, match="FENCE_S"):
        resolve(environ={"FLOWLEDGER_LEASE_FENCE_S": "30"})


def test_an_unknown_variable_warns_and_names_the_near_one() -> None:
    with pytest.warns(SettingsWarning, match=r"FLOWLEDGER_DATABSE_URL .*FLOWLEDGER_DATABASE_URL"):
        resolve(environ={"FLOWLEDGER_DATABSE_URL": "memory://"})


def test_variables_for_tests_and_debugging_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve(environ={"FLOWLEDGER_FAILPOINT": "x", "FLOWLEDGER_TEST_URL": "y", "FLOWLEDGER_DEBUG": "1", "HOME": "/"})
