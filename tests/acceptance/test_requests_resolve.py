"""What a body leaves to a person, and what that person may say of it (rule G3)."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger import App, Flow, Hold, linear, unordered
from flowledger.events import facts, requests
from flowledger.events.errors import IllegalRequest
from tests.acceptance.requesting import app, memory

from .asked import Gate, background, check_replay, has, log, only, types, until

__all__ = ["app", "memory"]


class Held:
    """A flow whose second task leaves it to a person, once."""

    def __init__(self, app: App) -> None:
        self.done: list[str] = []
        self.keys: list[str] = []

        @app.task
        def make() -> None:
            self.done.append("+make")

        @make.revert
        def unmake() -> None:
            self.done.append("-make")

        @app.task(attempts=3)
        def decide() -> int:
            self.done.append("+decide")
            if self.done.count("+decide") == 1:
                raise Hold("who knows whether it went through")
            return 1

        @decide.revert
        def undecide(result: int | None) -> None:
            self.done.append(f"-decide {result}")

        @app.task
        def after(decided: int) -> int:
            return decided

        @app.flow
        def work() -> Flow[int]:
            decided = decide.bind()
            last = after.bind(decided)
            return linear(make, decided, last, returns=last)

        self.work = work


PATH = "work/decide"


def test_g3_a_body_may_leave_it_to_a_person(app: App) -> None:
    # Given
    held = Held(app)
    # When
    run = app.run(held.work(), check=False)
    # Then
    assert run.state == "SUSPENDED"
    suspended = only(app, run, "RunSuspended").event
    assert isinstance(suspended, facts.RunSuspended)
    assert suspended.held == (PATH,)
    said = only(app, run, "TaskHeld").event
    assert isinstance(said, facts.TaskHeld)
    assert said.reason == "who knows whether it went through"
    check_replay(app, held.work(), run)
    # And nothing but a word of a person lets it go on
    with pytest.raises(IllegalRequest, match=f"held at {PATH}") as caught:
        run.resume()
    assert "resolve" in caught.value.hint
    with pytest.raises(IllegalRequest, match=f"held at {PATH}"):
        app.ask(run.id, requests.Cancel(reason="r"))
    assert run.state == "SUSPENDED"


def test_g3_resolved_as_rerun_the_attempt_is_made_again_under_the_same_key(app: App) -> None:
    # Given
    held = Held(app)
    run = app.run(held.work(), check=False)
    # When
    run.resolve(PATH, "rerun", reason="it did not")
    # Then: whether it had an effect was not known, so the key is the same (C5)
    assert app.get(run.id).result == 1
    keys = [e.event.key for e in log(app, run) if isinstance(e.event, facts.TaskStarted) and e.path == PATH]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    check_replay(app, held.work(), run)


def test_g3_resolved_as_succeeded_what_follows_gets_the_result(app: App) -> None:
    # Given
    held = Held(app)
    run = app.run(held.work(), check=False)
    # When
    run.resolve(PATH, "succeeded", value=42, reason="I saw it")
    # Then
    assert app.get(run.id).result == 42
    assert held.done.count("+decide") == 1
    check_replay(app, held.work(), run)


def test_g3_resolved_as_failed_it_is_a_failure_like_any_other(app: App) -> None:
    # Given
    held = Held(app)
    run = app.run(held.work(), check=False)
    # When
    run.resolve(PATH, "failed", reason="it was refused")
    # Then
    assert app.get(run.id).state == "REVERTED"
    assert held.done == ["+make", "+decide", "-decide None", "-make"]
    [failure] = app.get(run.id).failures
    assert (failure.kind, failure.message) == ("resolved", "it was refused")
    check_replay(app, held.work(), run)


def test_g3_a_word_that_does_not_fit_is_refused(memory: App) -> None:
    # Given
    held = Held(memory)
    run = memory.run(held.work(), check=False)
    # When / Then
    with pytest.raises(IllegalRequest, match="does not fit what work/decide returns"):
        run.resolve(PATH, "succeeded", value="no number", reason="r")
    with pytest.raises(IllegalRequest, match=r"'work/make' is not held \(held: work/decide\)"):
        run.resolve("work/make", "failed", reason="r")
    assert run.state == "SUSPENDED"


def test_g3_a_run_that_is_held_twice_waits_for_both(memory: App) -> None:
    # Given
    @memory.task
    def one() -> int:
        raise Hold("one")

    @memory.task
    def two() -> int:
        raise Hold("two")

    @memory.flow
    def work() -> Flow[list[int]]:
        both = unordered(one, two).named("both")
        return linear(both, returns=both)

    run = memory.run(work(), check=False)
    suspended = only(memory, run, "RunSuspended").event
    assert isinstance(suspended, facts.RunSuspended)
    assert suspended.held == ("work/both/one", "work/both/two")
    # When
    run.resolve("work/both/two", "succeeded", value=2, reason="r")
    # Then
    assert run.state == "SUSPENDED"
    run.resolve("work/both/one", "succeeded", value=1, reason="r")
    assert memory.get(run.id).result == [1, 2]
    check_replay(memory, work(), run)


def test_g3_a_hold_in_a_scope_that_fails_anyway_is_a_failure(memory: App) -> None:
    # Given two bodies side by side, one of which fails while the other runs
    gate = Gate()

    @memory.task
    def breaks() -> None:
        assert gate.reached.wait(20)
        raise ValueError("no")

    @memory.task
    def holds() -> None:
        gate.wait()
        raise Hold("too late")

    @memory.flow
    def work() -> Flow[Any]:
        return linear(unordered(breaks, holds).named("both"))

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskFailed"))
        gate.opened.set()
    # Then
    assert driven.state == "REVERTED"
    assert "TaskHeld" not in types(memory, driven.run)
