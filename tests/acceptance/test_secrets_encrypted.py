"""A run of which every value is encrypted, and codecs of one's own (rule H3)."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flowledger import (
    App,
    Failure,
    Flow,
    KeyMissing,
    Settings,
    TryEach,
    linear,
)
from flowledger.adapters.erasing import erase
from flowledger.adapters.history import History
from flowledger.adapters.moments import Moment
from flowledger.adapters.verifying import verify_all
from flowledger.core.replay import check
from flowledger.events import facts
from tests.acceptance.logs import events, log_of
from tests.acceptance.secret_shop import KEY, LOGIN, PASSWORD, TOKEN, Make, everything_written, new_app, shop

__all__ = ["new_app"]


def test_h3_of_an_encrypted_run_no_value_stands_in_the_log(new_app: Make, tmp_path: Path) -> None:
    # Given
    app, seen = new_app(encrypt_values=True), list[Any]()

    @app.task(attempts=2)
    def greet(name: str) -> str:
        if not seen:
            seen.append(name)
            raise ValueError(f"{name} is not at home")
        return f"hello, {name}"

    @app.task
    def shout(greeting: str, failure_of: list[str]) -> str:
        return greeting.upper()

    @app.flow
    def go(name: str, words: list[str]) -> Flow[str]:
        hello = greet.bind(name)
        loud = shout.bind(hello, words)
        return linear(hello, loud, returns=loud, retry=TryEach(["apples", "pears"], provides="fruit"))

    # When
    run = app.run(go("Esmeralda", ["violets"]), executor="inline")
    # Then
    assert run.result == "HELLO, ESMERALDA"
    log = log_of(app, run)
    assert next(events(log, facts.RunSubmitted)).codec == "run-key"
    failed = next(events(log, facts.TaskFailed))
    assert failed.failure.message.startswith("‹encrypted:")
    written = everything_written(tmp_path)
    for word in (b"Esmeralda", b"ESMERALDA", b"violets", b"not at home"):
        assert word not in written, word
    assert verify_all(app.runtime.store).findings == []
    loaded = app.load_run(run.id)
    assert check(loaded.plan, loaded.envelopes, moved=loaded.moved, vault=loaded.vault).status == "SUCCEEDED"


def test_h3_digests_of_an_encrypted_run_tell_nothing_to_who_has_no_key(new_app: Make, tmp_path: Path) -> None:
    # Given the same run twice, under different keys of their own
    app = new_app(encrypt_values=True)

    @app.task
    def greet(name: str) -> str:
        return name

    runs = [app.run(greet.bind("Ann"), executor="inline") for _ in range(2)]
    plain = App("shop", settings=Settings(database_url="memory://"))
    plain.include(app)
    # When
    digests = [next(events(log_of(app, run), facts.TaskStarted)).inputs for run in runs]
    rows = [app.stream_of(run.id).inputs_digest for run in runs]
    # Then
    assert digests[0] != digests[1]
    assert rows[0] == rows[1] != sha256(b'{"name":"Ann"}').hexdigest()


def test_failures_of_an_encrypted_run_are_read_by_who_has_its_key(new_app: Make) -> None:
    # Given
    app, seen = new_app(encrypt_values=True), list[Any]()

    @app.task
    def fail() -> None:
        raise ValueError("Esmeralda is not at home")

    @fail.revert
    def undo(failure: Failure) -> None:
        seen.append(failure.message)

    # When
    run = app.run(fail, executor="inline", check=False)
    # Then
    assert seen == ["Esmeralda is not at home"]
    assert run.failures[0].message == "Esmeralda is not at home"
    assert "raise ValueError" in app.get(run.id).failures[0].traceback


class Rot13:
    """A codec of somebody else's."""

    name = "rot13"

    def encode(self, run_id: str, content: bytes) -> bytes:
        return bytes((byte + 13) % 256 for byte in content)

    def decode(self, run_id: str, content: bytes) -> bytes:
        return bytes((byte - 13) % 256 for byte in content)


def test_a_codec_of_ones_own_turns_all_values_into_what_is_stored(tmp_path: Path) -> None:
    # Given
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db", codec_keys=KEY.line)
    app, seen = App("shop", settings=settings, codec=Rot13()), list[Any]()
    # When
    run = app.run(shop(app, seen)(LOGIN), executor="inline")
    # Then
    assert seen == [PASSWORD, TOKEN]
    assert run.result == "bought for 60 s"
    assert next(events(log_of(app, run), facts.RunSubmitted)).codec == "rot13"
    written = everything_written(tmp_path)
    assert b"bought for" not in written
    assert Rot13().encode("", b"bought for") in written
    app.close()
    without = App("shop", settings=settings)
    shop(without, [])
    with closing(without), pytest.raises(KeyMissing, match="rot13"):
        _ = without.get(run.id).result


def test_h3_who_has_the_keys_reads_what_an_encrypted_run_says(new_app: Make) -> None:
    # Given
    app = new_app(encrypt_values=True)

    @app.task(provides="greeting")
    def greet(name: str) -> str:
        if name == "Esmeralda":
            raise ValueError(f"{name} is not at home")
        return f"hello, {name}"

    bad, good = (app.run(greet.bind(name), executor="inline", check=False) for name in ("Esmeralda", "Ann"))
    again = app.run(greet.bind("Esmeralda"), executor="inline", check=False)
    url = app.settings.database_url

    def read(keys: str | None) -> tuple[str, bytes | None]:
        """The failure of the one, and the result of the other."""
        with History.of(Settings(database_url=url, codec_keys=keys)) as history:
            [failure] = history.view(bad.id).failures
            moment = Moment(history, good.id, history.find(good.id).version)
            return failure.message, moment.value(moment.symbols["greeting"][-1])

    # Then
    assert read(KEY.line) == ("Esmeralda is not at home", b'"hello, Ann"')
    message, value = read(None)
    assert (message.startswith("‹encrypted:"), value) == (True, None)
    # And the same failure under two keys is one
    [group] = app.history.failures()
    assert (group.count, {bad.id, again.id} >= {group.last_run}) == (2, True)
    # When the key is gone, Then nobody does
    erase(app.runtime.store, app.stream_of(bad.id), reason="x", actor="me")
    assert read(KEY.line)[0].startswith("‹encrypted:")
