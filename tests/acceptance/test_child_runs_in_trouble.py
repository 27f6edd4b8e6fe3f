"""G7 where something is in the way: the store is away when a parent looks, or a person has the word on a child."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from flowledger import Flow, Hold, IllegalRequest, linear, unordered
from flowledger.events import facts
from flowledger.events.errors import StoreUnavailable
from tests.acceptance.house import House, app, child_of
from tests.acceptance.logs import events, log_of

__all__ = ["app"]


def away_once(real: Callable[..., Any]) -> Callable[..., Any]:
    """The same question, which the store does not answer the first time."""
    asked: list[None] = []

    def ask(*args: Any, **given: Any) -> Any:
        asked.append(None)
        if len(asked) == 1:
            raise StoreUnavailable("away for a moment")
        return real(*args, **given)

    return ask


def a_house(app: House) -> Any:
    @app.flow
    def house() -> Flow[str]:
        room = app.room.child("attic")
        return linear(room, returns=room)

    return house()


def test_g7_a_store_that_is_away_when_a_parent_looks_says_nothing_of_the_child(
    app: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    store = app.runtime.store
    monkeypatch.setattr(store, "find", away_once(store.find))
    # When
    run = app.run(a_house(app))
    # Then it has looked again
    assert (run.state, child_of(app, run).state) == ("SUCCEEDED", "SUCCEEDED")
    assert not list(events(log_of(app, run), facts.TaskFailed))


def test_g7_a_store_that_is_away_when_a_child_is_undone_stops_no_revert(
    app: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    run = app.run(a_house(app))
    store = app.runtime.store
    monkeypatch.setattr(store, "find", away_once(store.find))
    # When
    run.revert(reason="moved out")
    # Then
    assert (run.state, child_of(app, run).state) == ("REVERTED", "REVERTED")
    assert not list(events(log_of(app, run), facts.RevertFailed))


def test_g7_a_parent_that_is_undone_waits_for_the_word_on_a_child_that_is_held(app: House) -> None:
    # Given a child at which somebody must say what became of an attempt, when its sibling fails
    held, asks = Event(), [True]

    @app.task
    def pay() -> None:
        if asks.pop():
            asks.append(False)
            raise Hold("who knows whether it went through")
        asks.append(False)

    @app.flow
    def shop() -> Flow[Any]:
        return linear(app.build.bind("counter"), pay)

    @app.task
    def fails() -> None:
        held.wait(30)
        raise ValueError

    @app.flow
    def house() -> Flow[Any]:
        return unordered(shop.child(), fails)

    began = Thread(target=lambda: app.run(house(), check=False))
    began.start()
    child = _when(lambda: next((run for run in app.runs() if run.key and run.state == "SUSPENDED"), None))
    parent = next(run for run in app.runs() if run.id != child.id)
    # When its parent is undone, and somebody says so only then
    held.set()
    _when(lambda: list(events(log_of(app, parent), facts.RevertStarted)))
    with pytest.raises(IllegalRequest, match="held"):
        child.resume()
    child.resolve("shop/pay", "rerun", reason="the bank says no")
    began.join(30)
    # Then nothing of either stands
    states = {run.id: run.state for run in app.runs()}
    assert states[parent.id] == "REVERTED"
    assert states[child.id] in ("CANCELLED", "REVERTED")
    assert app.done == ["build counter", "pull down counter"]


def _when(found: Callable[[], Any]) -> Any:
    """What is found, as soon as it is."""
    until = monotonic() + 30
    while not (what := found()):
        assert monotonic() < until
        Event().wait(0.01)
    return what


def test_g7_a_child_whose_deeds_a_fork_has_adopted_stops_the_parents_revert(app: House) -> None:
    # Given a child that has succeeded, and a fork that answers for what it did
    run = app.run(a_house(app))
    child_of(app, run).fork(adopt=True, reason="it is theirs now")
    # When
    run.revert(reason="moved out")
    # Then that is for whoever has adopted it
    assert run.state == "FAILED"
    assert "has adopted what it did" in run.failures[0].message
    assert app.done == ["build attic"]
