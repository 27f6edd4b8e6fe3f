"""`keys rewrap`: the keys of runs under a new key of the process; the log stays as it is (H3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pydantic import Secret, SecretStr

from flowledger import App, Flow, KeyMissing, Settings, linear
from flowledger.adapters import rewrapping
from flowledger.adapters.erasing import erase
from flowledger.adapters.keys import Key, new_key
from flowledger.adapters.rewrapping import rewrap
from flowledger.adapters.stores import open_store
from flowledger.events.run_keys import RunKeyRow
from flowledger.events.store import Store

from .command_line import Command, flowledger

__all__ = ["flowledger"]

OLD, NEW, LOST = new_key("old", "aes"), new_key("new", "aes"), new_key("lost", "aes")
PASSWORD = "hunter2-hunter2"


def lines(*keys: Key) -> str:
    return "\n".join(key.line for key in keys)


def app_at(url: str, *keys: Key) -> App:
    app = App("shop", settings=Settings(database_url=url, codec_keys=lines(*keys)))

    @app.task
    def log_in(password: SecretStr) -> Secret[str]:
        return Secret[str](password.get_secret_value() + "-1")

    @app.flow
    def go(password: SecretStr) -> Flow[None]:
        return linear(log_in.bind(password))

    app.go = go  # type: ignore[attr-defined]
    return app


def runs_made(url: str, count: int, *keys: Key) -> list[str]:
    app = app_at(url, *keys)
    with closing(app):
        return [app.run(app.go(SecretStr(PASSWORD))).id for _ in range(count)]  # type: ignore[attr-defined]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/flowledger.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url)) as store:
        yield store


def log_of(store: Store, runs: list[str]) -> list[bytes]:
    """The head of each run: what anybody could have changed of it."""
    return [event.hash for run in runs for event in store.read(run, after_version=0, limit=100)]


def test_runs_are_read_with_the_new_key_alone_and_their_log_is_as_it_was(url: str, store: Store) -> None:
    # Given
    runs = runs_made(url, 3, OLD)
    before = log_of(store, runs)
    # When
    done = rewrap(store.run_keys, lines(NEW, OLD))
    # Then
    assert (done.to, done.done, done.before, done.left) == ("new", 3, {"old": 3}, {})
    assert log_of(store, runs) == before
    assert store.run_keys.counts() == {"new": 3}
    with closing(app_at(url, NEW)) as app:
        assert app.get(runs[0]).results["go/log_in"].get_secret_value() == PASSWORD + "-1"
    with closing(app_at(url, OLD)) as old, pytest.raises(KeyMissing, match="new"):
        _ = old.get(runs[0]).results


def test_one_that_was_stopped_is_gone_on_with(url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given five keys, two to a transaction
    runs_made(url, 5, OLD)
    monkeypatch.setattr(rewrapping, "PAGE", 2)
    keys = store.run_keys
    whole, calls = keys.rewrap, list[int]()

    def cut_off(rows: list[RunKeyRow]) -> int:
        calls.append(len(rows))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(rows)

    # When
    monkeypatch.setattr(keys, "rewrap", cut_off)
    with suppress(KeyboardInterrupt):
        rewrap(keys, lines(NEW, OLD))
    monkeypatch.undo()
    # Then
    assert keys.counts() == {"new": 2, "old": 3}
    again = rewrap(keys, lines(NEW, OLD))
    assert (again.done, again.before) == (3, {"new": 2, "old": 3})
    assert rewrap(keys, lines(NEW, OLD)).done == 0


def test_an_erased_run_stays_erased(url: str, store: Store) -> None:
    kept, erased = runs_made(url, 2, OLD)
    stream = store.stream(erased)
    assert stream is not None
    erase(store, stream, reason="asked to", actor="me@here")
    assert rewrap(store.run_keys, lines(NEW, OLD)).done == 1
    assert store.run_keys.get(erased) is None
    assert store.run_keys.get(kept) is not None


def test_the_command_says_what_it_would_do_does_it_and_says_what_is_left(
    url: str, flowledger: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    runs_made(url, 2, OLD)
    (lost,) = runs_made(url, 1, LOST)
    monkeypatch.setenv("FLOWLEDGER_CODEC_KEYS", lines(NEW, OLD))
    # When
    tried = flowledger("keys", "rewrap", "--dry-run", "--database-url", url)
    done = flowledger("keys", "rewrap", "--database-url", url, "--json")
    # Then
    assert (tried.code, tried.out) == (2, "2 keys would be encrypted by new\n")
    assert (done.code, done.json["rewrapped"], done.json["dry_run"]) == (2, 2, False)
    assert (done.json["before"], done.json["left"]) == ({"old": 2, "lost": 1}, {"lost": 1})
    assert "FL504" in done.err
    assert "'lost'" in done.err
    assert lost in done.err
    # And with all keys there is nothing left to say
    monkeypatch.setenv("FLOWLEDGER_CODEC_KEYS", lines(NEW, LOST))
    done = flowledger("keys", "rewrap", "--database-url", url)
    assert (done.code, done.out) == (0, "1 key now encrypted by new\n")


def test_without_a_key_there_is_nothing_to_encrypt_with(store: Store) -> None:
    with pytest.raises(KeyMissing):
        rewrap(store.run_keys, None)
