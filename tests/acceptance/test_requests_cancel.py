"""Cancelling: what stands is undone, or kept (rule G4)."""

from __future__ import annotations

import pytest

from flowledger import App, Flow, NotReady, TaskContext, Times, linear
from flowledger.events import facts
from flowledger.events.errors import IllegalRequest, RunCancelled, RunFailed
from tests.acceptance.requesting import World, app, memory

from .asked import Gate, background, check_replay, has, only, types, until

__all__ = ["app", "memory"]


def test_g4_cancel_undoes_what_stands(app: App) -> None:
    # Given
    world = World(app)
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        # When
        preview = driven.run.cancel(reason="wrong version")
        # Then it waits for the body that runs, and starts nothing
        world.gate.opened.set()
    assert driven.state == "CANCELLED"
    assert preview.reverts == ("work/hold", "work/make")
    assert world.done == ["+make", "+hold", "-hold", "-make"]
    with pytest.raises(RunCancelled):
        driven.run.check()
    check_replay(app, world.work(), driven.run)


def test_g4_what_waits_ends_at_once(app: App) -> None:
    world = World(app)
    with background(app, world.waiting()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.cancel(reason="r")
    assert driven.state == "CANCELLED"
    assert world.done == ["+make", "-make"]
    check_replay(app, world.waiting(), driven.run)


def test_g4_cancel_undoes_also_where_a_failure_would_keep(memory: App) -> None:
    world = World(memory, on_failure="stop")
    with background(memory, world.work()) as driven:
        assert world.gate.reached.wait(20)
        driven.run.cancel(reason="r")
        world.gate.opened.set()
    assert driven.state == "CANCELLED"
    assert world.done == ["+make", "+hold", "-hold", "-make"]


def test_g4_keep_leaves_it_standing(app: App) -> None:
    world = World(app)
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        preview = driven.run.cancel(reason="r", revert=False)
        world.gate.opened.set()
    assert driven.state == "CANCELLED"
    assert preview.keeps == ("work/make", "work/hold")
    assert world.done == ["+make", "+hold"]
    cancelled = only(app, driven.run, "RunCancelled").event
    assert cancelled == facts.RunCancelled(kept=True)
    check_replay(app, world.work(), driven.run)


def test_g4_a_dry_run_says_what_would_be_undone_and_asks_nothing(memory: App) -> None:
    world = World(memory)
    with background(memory, world.work()) as driven:
        assert world.gate.reached.wait(20)
        assert driven.run.cancel(reason="", dry_run=True).reverts == ("work/hold", "work/make")
        assert memory.runtime.store.inbox(driven.run.id).requests == 0
        world.gate.opened.set()
    assert driven.state == "SUCCEEDED"


def test_g4_a_cancel_that_cannot_undo_ends_failed(memory: App) -> None:
    # Given
    gate = Gate()

    @memory.task
    def make() -> None: ...

    @make.revert
    def unmake() -> None:
        raise ValueError("stuck")

    @memory.task
    def hold() -> None:
        gate.wait()

    @memory.flow
    def work() -> Flow[None]:
        return linear(make, hold)

    with background(memory, work()) as driven:
        assert gate.reached.wait(20)
        driven.run.cancel(reason="r")
        gate.opened.set()
    # Then
    with pytest.raises(RunFailed):
        driven.run.check()
    assert only(memory, driven.run, "RunFailed").event == facts.RunFailed(reason="revert_failed")


def test_g4_a_revert_under_way_is_widened_and_not_restarted(app: App) -> None:
    # Given a scope that is being undone for its next round
    done: list[str] = []
    gate = Gate()

    @app.task
    def outer() -> None:
        done.append("+outer")

    @outer.revert
    def un_outer() -> None:
        done.append("-outer")

    @app.task
    def inner() -> None:
        done.append("+inner")

    @inner.revert
    def un_inner() -> None:
        done.append("-inner")
        gate.wait()

    @app.task
    def breaks() -> None:
        raise ValueError("no")

    @app.flow
    def work() -> Flow[None]:
        return linear(outer, linear(inner, breaks, retry=Times(5), name="scope"))

    with background(app, work()) as driven:
        assert gate.reached.wait(20)
        # When
        driven.run.cancel(reason="r")
        gate.opened.set()
    # Then the revert is completed once, and the rest undone
    assert driven.state == "CANCELLED"
    assert done == ["+outer", "+inner", "-inner", "-outer"]
    assert types(app, driven.run).count("RevertStarted") == 2
    check_replay(app, work(), driven.run)


def test_g4_a_run_that_is_being_undone_ends_cancelled_and_keeps_nothing(memory: App) -> None:
    # Given
    gate = Gate()

    @memory.task
    def make() -> None: ...

    @make.revert
    def unmake() -> None:
        gate.wait()

    @memory.task
    def breaks() -> None:
        raise ValueError("no")

    @memory.flow
    def work() -> Flow[None]:
        return linear(make, breaks)

    with background(memory, work()) as driven:
        assert gate.reached.wait(20)
        with pytest.raises(IllegalRequest, match="nothing can be kept"):
            driven.run.cancel(reason="r", revert=False)
        driven.run.cancel(reason="r")
        with pytest.raises(IllegalRequest, match="cancelled already"):
            driven.run.cancel(reason="again")
        gate.opened.set()
    assert driven.state == "CANCELLED"
    assert types(memory, driven.run).count("RevertStarted") == 1
    check_replay(memory, work(), driven.run)


def test_g4_a_suspended_run_is_cancelled_by_who_asks(app: App) -> None:
    # Given
    world = World(app)
    with background(app, world.waiting()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.suspend(reason="r")
    # When
    driven.run.cancel(reason="enough")
    # Then
    assert driven.state == "CANCELLED"
    assert world.done == ["+make", "-make"]
    check_replay(app, world.waiting(), driven.run)


def test_g4_a_body_that_runs_is_told_to_stop(memory: App) -> None:
    # Given
    @memory.task
    def listens(ctx: TaskContext) -> bool:
        until(lambda: ctx.cancelled)
        return True

    @memory.flow
    def work() -> Flow[None]:
        return linear(listens)

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskStarted"))
        # When
        driven.run.cancel(reason="r")
    # Then
    assert driven.state == "CANCELLED"
    assert has(memory, driven.run, "TaskSucceeded")


def test_g4_a_poll_ends_at_once(memory: App) -> None:
    # Given
    @memory.task
    def polls() -> None:
        raise NotReady("still", retry_after=3600)

    @memory.flow
    def work() -> Flow[None]:
        return linear(polls)

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        # When
        driven.run.cancel(reason="r")
    # Then
    assert driven.state == "CANCELLED"
    check_replay(memory, work(), driven.run)
