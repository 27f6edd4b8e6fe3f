"""What must not happen with secrets: nothing is written in clear where a type does not say that there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretBytes, SecretStr, field_serializer
from pydantic_core import PydanticSerializationError

from flowledger import (
    Flow,
    KeyMissing,
    linear,
)
from flowledger.adapters.keys import new_key
from flowledger.adapters.verifying import verify_all
from flowledger.core.typed import typed
from flowledger.events.errors import (
    SecretInClear,
)  # fmt: skip
from tests.acceptance.secret_shop import (
    KEY,
    LOGIN,
    PASSWORD,
    TOKEN,
    Login,
    Make,
    Session,
    everything_written,
    new_app,
    shop,
)

__all__ = ["new_app"]


def test_without_a_key_a_flow_with_secrets_does_not_begin(new_app: Make) -> None:
    app = new_app(keys=[])
    with pytest.raises(KeyMissing) as caught:
        app.run(shop(app, [])(LOGIN), executor="inline")
    assert "flowledger keys new" in caught.value.hint
    assert list(app.runs()) == []


def test_a_key_that_follows_another_reads_what_that_one_wrote(new_app: Make) -> None:
    # Given
    app = new_app()
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    app.close()
    new = new_key("k2", "aes")
    # When / Then
    other = new_app(keys=[new, KEY])
    shop(other, [])
    assert other.get(run.id).results["go/log_in"].token.get_secret_value() == TOKEN
    other.close()
    for wrong in ([new], [new_key("k1", "aes")]):
        without = new_app(keys=wrong)
        shop(without, [])
        with pytest.raises(KeyMissing, match="k1"):
            _ = without.get(run.id).results
        without.close()


def test_a_secret_in_a_result_that_does_not_say_so_is_not_written(new_app: Make, tmp_path: Path) -> None:
    # Given
    app, reverted = new_app(), list[Any]()

    @app.task
    def dsn(login: Login) -> str:
        return f"postgres://{login.user}:{login.password.get_secret_value()}@db"

    @dsn.revert
    def undo(result: str | None) -> None:
        reverted.append(result)

    @app.flow
    def go(login: Login) -> Flow[str]:
        bound = dsn.bind(login)
        return linear(bound, returns=bound)

    # When
    run = app.run(go(LOGIN), executor="inline", check=False)
    # Then
    assert (run.state, run.failures[0].kind, reverted) == ("REVERTED", "result", [None])
    assert run.failures[0].type.endswith(SecretInClear.__name__)
    assert PASSWORD.encode() not in everything_written(tmp_path)


class Hiding(BaseModel):
    token: SecretStr

    @field_serializer("token", when_used="json")
    def open_it(self, token: SecretStr) -> Any:
        return {"it is": token.get_secret_value()}


class Holding(BaseModel):
    logins: list[Login]

    @field_serializer("logins", when_used="json")
    def only_users(self, logins: list[Login]) -> str:
        return ", ".join(login.user for login in logins)


def test_a_serialiser_of_ones_own_may_not_hide_where_a_secret_stands() -> None:
    assert typed(Hiding, where="x").to_json(Hiding(token=SecretStr(TOKEN))) == b'{"token":{"$clear":"%s"}}' % (
        TOKEN.encode()
    )
    with pytest.raises(PydanticSerializationError, match="hides"):
        typed(Holding, where="x").to_json(Holding(logins=[LOGIN]))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Any, SecretStr(TOKEN)), (Any, LOGIN), (dict[str, Any], {"a": [Secret[str](TOKEN)]}), (list[Any], [LOGIN])],
    ids=["bare", "model", "deep", "list"],
)
def test_a_secret_where_nothing_says_so_is_refused_and_not_turned_into_stars(annotation: Any, value: Any) -> None:
    with pytest.raises(PydanticSerializationError, match="annotate"):
        typed(annotation, where="x").to_json(value)


def test_a_users_own_json_is_not_taken_for_a_secret(new_app: Make) -> None:
    # Given values that look like ours, beside a secret
    app, seen = new_app(), list[Any]()
    odd = {"a": {"$clear": 1}, "b": {"$secret": "0" * 64, "fingerprint": "x"}, "c": {"$moved": "d"}}

    @app.task
    def keep(odd: dict[str, Any], login: Login) -> dict[str, Any]:
        seen.append(odd)
        return odd

    @app.flow
    def go(odd: dict[str, Any], login: Login) -> Flow[dict[str, Any]]:
        bound = keep.bind(odd, login)
        return linear(bound, returns=bound)

    # When
    run = app.run(go(odd, LOGIN), executor="inline")
    # Then
    assert seen == [odd]
    assert app.get(run.id).result == odd
    assert verify_all(app.runtime.store).findings == []


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (SecretStr, SecretStr(TOKEN)),
        (SecretBytes, SecretBytes(TOKEN.encode())),
        (Secret[str], Secret[str](TOKEN)),
        (Secret[dict[str, list[str]]], Secret[dict[str, list[str]]]({"a": [TOKEN]})),
        (Login, Login(user="ann", password=SecretStr(TOKEN))),
        (Session, Session(Secret[str](TOKEN), 1)),
        (list[SecretStr], [SecretStr(TOKEN), SecretStr("other")]),
        (dict[int, SecretStr], {1: SecretStr(TOKEN)}),
        (SecretStr | None, SecretStr(TOKEN)),
        (tuple[int, list[Login]], (1, [Login(user="ann", password=SecretStr(TOKEN))])),
        (set[SecretStr], {SecretStr(TOKEN), SecretStr("other")}),
    ],
    ids=str,
)
def test_secrets_are_found_wherever_they_stand_in_a_type(annotation: Any, value: Any) -> None:
    # Given
    type_ = typed(annotation, where="x")
    # When
    content = type_.to_json(value)
    # Then
    assert type_.secretive
    assert b'{"$clear":' in content
    assert b"***" not in content
    assert type_.load(content) == value


@pytest.mark.parametrize("annotation", [str, int, Any, dict[str, Any], list[int], str | None], ids=str)
def test_other_types_have_none(annotation: Any) -> None:
    assert not typed(annotation, where="x").secretive
