"""Executors that lose what they were given, refuse it, cancel it or break, and whose close they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Fenced
from flowledger.adapters.executors import named
from flowledger.events import facts
from tests.acceptance import named_shop as shop
from tests.acceptance.command_line import flowledger
from tests.acceptance.far_executors import app, replaced, said
from tests.acceptance.logs import events, log_of
from tests.postgres_server import wait_until

__all__ = ["app", "flowledger", "said"]

pytestmark = pytest.mark.slow


# -- whose executors are closed -------------------------------------------------------------------


def test_an_executor_that_was_given_stays_its_owners(app: App, said: str) -> None:
    # Given
    with ThreadPoolExecutor(1) as pool:
        other = replaced(app, "crew", pool)
        # When
        assert other.run(shop.dies.bind(0, said), executor="crew").result == os.getpid()
        other.close()
        # Then
        assert pool.submit(os.getpid).result() == os.getpid()


def test_a_closed_app_leaves_no_flags_behind_and_tells_what_still_runs(
    app: App, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a body that runs when its app is closed
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(lambda: app.run(shop.until_told.bind(said), executor="pool"))
        wait_until(lambda: Path(said).exists(), "no body has begun")
        # When
        app.close()
        # Then
        with pytest.raises(Fenced):
            running.result()
        wait_until(lambda: Path(said).read_text() == "told", "the body goes on")
    assert list(tmp_path.glob("flowledger-*")) == []


# -- executors that are no good -------------------------------------------------------------------


class Losing(Executor):
    """Loses all that is handed to it."""

    def __init__(self, lose: Callable[[Future[Any]], None]) -> None:
        self._lose = lose

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._lose(future)
        return future


def cancelling(future: Future[Any]) -> None:
    future.cancel()


def raising(future: Future[Any]) -> None:
    future.set_exception(ConnectionError("the cluster is gone"))


def refusing(future: Future[Any]) -> None:
    raise RuntimeError("cannot schedule new futures after shutdown")


@pytest.mark.parametrize(
    ("lose", "cause"),
    [
        (cancelling, "the executor pool has cancelled it"),
        (raising, "the executor pool lost it: ConnectionError: the cluster is gone"),
        (refusing, "the executor pool lost it: RuntimeError: cannot schedule new futures after shutdown"),
    ],
)
def test_c6_what_an_executor_loses_is_interrupted_and_a_third_time_it_has_failed(
    app: App, said: str, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Future[Any]], None], cause: str
) -> None:
    # Given
    monkeypatch.setattr(named, "FIRST_PAUSE_S", 0.01)
    other = replaced(app, "pool", Losing(lose))
    # When
    run = other.run(shop.dies.bind(0, said), executor="pool", check=False)
    # Then
    assert [event.cause for event in events(log_of(other, run), facts.TaskInterrupted)] == [cause] * 3
    assert run.failures[0].kind == "poison"
    assert not Path(said).exists()
    other.close()


def test_c6_what_an_executor_lost_is_made_where_it_works_again(
    app: App, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an executor that loses the first and makes the second
    monkeypatch.setattr(named, "FIRST_PAUSE_S", 0.01)
    with ThreadPoolExecutor(1) as pool:
        lost: list[object] = []

        class Once(Executor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                if not lost:
                    lost.append(fn)
                    pool.submit(fn, *args, **kwargs).result()  # it is made, and nobody hears of it
                    raise ConnectionError("gone")
                return pool.submit(fn, *args, **kwargs)

        other = replaced(app, "pool", Once())
        # When
        run = other.run(shop.dies.bind(0, said), executor="pool")
        # Then
        assert len(list(events(log_of(other, run), facts.TaskInterrupted))) == 1
        assert len(Path(said).read_text().splitlines()) == 2
        other.close()


def test_c6_a_call_that_an_executor_makes_twice_begins_its_body_once(app: App, said: str) -> None:
    # Given an executor that begins again what has begun, as clusters do when a machine is gone
    with ThreadPoolExecutor(1) as pool:

        class Twice(Executor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                if not Path(said).exists():
                    pool.submit(fn, *args, **kwargs).result()
                return pool.submit(fn, *args, **kwargs)

        other = replaced(app, "pool", Twice())
        # When
        run = other.run(shop.dies.bind(0, said), executor="pool")
        # Then
        (interrupted,) = events(log_of(other, run), facts.TaskInterrupted)
        assert "begun a second time" in interrupted.cause
        assert len(Path(said).read_text().splitlines()) == 2
        other.close()


def test_c9_an_executor_that_cannot_be_made_is_a_failed_attempt_like_a_resource(app: App, said: str) -> None:
    # Given one whose maker fails once
    tries: list[int] = []

    def make() -> Executor:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("no scheduler")
        return ThreadPoolExecutor(1)

    other = replaced(app, "pool", make)

    @other.task(executor="pool", attempts=2)
    def patient() -> int:
        return 7

    # When
    run = other.run(patient)
    # Then
    assert run.result == 7
    (failed,) = events(log_of(other, run), facts.TaskFailed)
    assert (failed.failure.type, failed.failure.kind, failed.again) == ("ConnectionError", "resource", True)
    other.close()
