"""Suspending, resuming, progress, listening: what the ancestor's tests pin (TASKFLOW §3 46, 47, 58, 73, 74)."""

from __future__ import annotations

from threading import Event
from typing import Any

from flowledger import Flow, TaskContext, linear
from flowledger.adapters.listening import Progress
from flowledger.events.envelope import Envelope

from .conftest import World


def test_tf_behaviour_46_a_run_suspended_while_it_reverts_goes_on_reverting(world: World) -> None:
    # Given a revert during which somebody asks to suspend
    said = world.said

    @world.app.task
    def held() -> None:
        said.append("+held")

    @held.revert
    def release(ctx: TaskContext) -> None:
        said.append("-held")
        world.suspend(ctx.run_id)

    @world.app.flow
    def flow() -> Flow[None]:
        return linear(world.task("a"), held, world.task("b"))

    world.failing.add("b")
    # When
    run = world.app.run(flow(), check=False)
    # Then it is suspended without an error, and by whoever resumes it the rest is undone
    assert run.state == "SUSPENDED"
    assert said == ["+a", "+held", "+b", "-b", "-held"]
    resumed = world.app.get(run.id).resume()
    assert resumed.state == "REVERTED"
    assert said[-1] == "-a"
    assert resumed.failures[0].message == "b"


def test_tf_behaviour_58_progress_is_heard_while_the_body_runs(world: World) -> None:
    heard: list[tuple[float, str]] = []
    told = Event()

    @world.app.listen_progress
    def listener(progress: Progress) -> None:
        heard.append((progress.fraction, progress.message))
        told.set()

    @world.app.task
    def works(ctx: TaskContext) -> None:
        ctx.progress(0.5, "half")
        assert told.wait(10)

    world.app.run(works.bind())
    assert heard == [(0.5, "half")]


def test_tf_behaviour_74_a_listener_that_fails_never_fails_the_run(world: World) -> None:
    heard: list[str] = []

    def breaks(envelope: Envelope) -> None:
        heard.append(envelope.type)
        raise OSError("disk full")

    with world.app.listening(breaks, "TaskSucceeded"):
        run = world.app.run(world.task("a"))
    assert (run.state, heard) == ("SUCCEEDED", ["TaskSucceeded"])


def test_tf_notifications_come_in_the_order_of_the_log(world: World) -> None:
    heard: list[str] = []

    def hear(envelope: Envelope) -> Any:
        heard.append(envelope.type)

    with world.app.listening(hear):
        world.app.run(world.task("a"))
    assert heard == ["RunSubmitted", "RunClaimed", "RunStarted", "TaskStarted", "TaskSucceeded", "RunSucceeded"]
