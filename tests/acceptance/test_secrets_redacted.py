"""What bodies say when they fail is redacted before it is written (RELIABILITY S10)."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger import (
    Flow,
    RunFailed,
    TaskContext,
    linear,
)
from flowledger.events.errors import (
    FlowledgerError,
)  # fmt: skip
from tests.acceptance.secret_shop import LOGIN, PASSWORD, Login, Make, everything_written, new_app

__all__ = ["new_app"]


def test_rel_s10_what_a_body_says_is_redacted_before_it_is_written(
    new_app: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a body that tells all it knows
    app = new_app()

    @app.task
    def tell(login: Login, ctx: TaskContext) -> None:
        secret = login.password.get_secret_value()
        ctx.log.warning("logging in with %s", secret)
        try:
            dict[str, int]()[secret]
        except KeyError as error:
            ctx.log.exception("and again")
            raise ValueError(f"no entry for {secret} in https://me:pa55@host") from error

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[None]:
        return linear(tell.bind(login))

    # When
    with caplog.at_level(logging.DEBUG), pytest.raises(RunFailed) as caught:
        app.run(go(LOGIN), executor="inline")
    # Then
    failure = caught.value.failures[0]
    assert failure.message == "no entry for ‹redacted› in https://‹redacted›@host"
    assert failure.cause is not None
    assert failure.cause.message == "'‹redacted›'"
    assert PASSWORD not in failure.traceback
    assert PASSWORD.encode() not in everything_written(tmp_path)
    assert PASSWORD not in caplog.text
    assert caplog.text.count("‹redacted›") >= 2
    records = [record for record in caplog.records if record.name == "flowledger.task"]
    assert {record.filename for record in records} == {Path(__file__).name}


def test_a_secret_at_the_place_where_a_text_is_cut_is_not_cut_in_two(new_app: Make, tmp_path: Path) -> None:
    app = new_app()

    @app.task
    def tell(login: Login) -> None:
        raise ValueError("x" * 3_995 + login.password.get_secret_value())

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[None]:
        return linear(tell.bind(login))

    app.run(go(LOGIN), executor="inline", check=False)
    assert PASSWORD[:8].encode() not in everything_written(tmp_path)


def test_the_secrets_of_one_run_are_not_looked_for_in_another(new_app: Make) -> None:
    # Given
    app = new_app()

    @app.task
    def fail(login: Login, text: str) -> None:
        raise ValueError(f"about {text}")

    @app.flow(on_failure="stop")
    def go(login: Login, text: str) -> Flow[None]:
        return linear(fail.bind(login, text))

    # When
    app.run(go(Login(user="a", password=SecretStr("weather")), "x"), executor="inline", check=False)
    run = app.run(go(LOGIN, "the weather"), executor="inline", check=False)
    # Then
    assert run.failures[0].message == "about the weather"


def test_patterns_of_ones_own_are_redacted(new_app: Make) -> None:
    app = new_app(redact=r"AC\d{6}" + "\n" + r"customer (?P<secret>\w+)")

    @app.task
    def fail() -> None:
        raise ValueError("account AC123456 of customer Smith")

    run = app.run(fail, executor="inline", check=False)
    assert run.failures[0].message == "account ‹redacted› of customer ‹redacted›"
    with closing(new_app(redact="(")) as wrong, pytest.raises(FlowledgerError, match="REDACT"):
        _ = wrong.runtime
