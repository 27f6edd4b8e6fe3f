"""G7: an atom may be a run of its own, with a log of its own; its parent waits for it and holds no thread."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flowledger import App, Flow, FlowNotRegistered, Run, Settings, Times, linear, unordered
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from tests.acceptance.house import House, app, child_of
from tests.acceptance.logs import events, log_of

__all__ = ["app"]


def test_g7_an_atom_is_a_run_of_its_own(app: House) -> None:
    # Given
    @app.task(read_only=True)
    def say(text: str) -> str:
        return text.upper()

    @app.flow
    def house(name: str) -> Flow[str]:
        room = app.room.child(name)
        said = say.bind(room)
        return linear(room, said, returns=said)

    # When
    run = app.run(house("attic"), tags={"who": "ada"})
    # Then its result is its run's, whose key names the atom and its try
    assert run.result == "BUILT ATTIC"
    child = child_of(app, run)
    stream = app.stream_of(child.id)
    assert (child.state, child.key, stream.queue, dict(stream.tags)) == (
        "SUCCEEDED", f"{run.id}/house/room/1", None, {"who": "ada"},
    )  # fmt: skip
    submitted = next(events(log_of(app, child), facts.RunSubmitted))
    assert submitted.parent == facts.ParentAtom(run=run.id, path="house/room", try_=1)
    # And the parent has waited for it, by name
    waited = [e.child for e in events(log_of(app, run), facts.TaskWaiting)]
    assert waited == [child.id]
    log = log_of(app, run)
    check_complete(app.plan(house("attic")), check(app.plan(house("attic")), log))


def test_g7_a_child_that_does_not_succeed_fails_its_atom(app: House) -> None:
    # Given
    @app.flow
    def house() -> Flow[Any]:
        return linear(app.build.bind("cellar"), app.room.child("attic"))

    app.fails = 1
    # When
    run = app.run(house(), check=False)
    # Then
    child = child_of(app, run)
    assert (run.state, child.state) == ("REVERTED", "REVERTED")
    [failure] = run.failures
    assert (failure.kind, failure.message) == ("child", "its run is REVERTED")
    assert failure.cause is not None
    assert failure.cause.message == "attic is crooked"
    assert app.done == ["build cellar", "build attic", "pull down attic", "pull down cellar"]


def test_g7_a_retry_gives_the_next_try_a_run_of_its_own(app: House) -> None:
    # Given
    @app.flow
    def house() -> Flow[str]:
        room = app.room.child("attic")
        return linear(room, returns=room, retry=Times(3))

    app.fails = 2
    # When
    run = app.run(house())
    # Then
    assert run.result == "built attic"
    children = sorted(child.key or "" for child in app.runs() if child.id != run.id)
    assert children == [f"{run.id}/house/room/{n}" for n in (1, 2, 3)]


def test_g7_undoing_the_parent_reverts_a_child_that_has_succeeded(app: House) -> None:
    # Given
    @app.flow
    def house() -> Flow[Any]:
        return linear(app.room.child("attic"), app.inspect.bind("house"))

    # When
    run = app.run(house())
    app.done.clear()
    run.revert(reason="moved out")
    # Then
    assert (run.state, child_of(app, run).state) == ("REVERTED", "REVERTED")
    assert app.done == ["pull down attic"]


def test_g7_undoing_the_parent_cancels_a_child_that_lives(app: House) -> None:
    # Given a child that is under way when its sibling fails
    app.hold.clear()

    @app.task
    def fails() -> None:
        while not any(run.state == "RUNNING" and run.key for run in app.runs()):
            Event().wait(0.01)
        raise ValueError

    @app.flow
    def house() -> Flow[Any]:
        return unordered(app.room.child("attic"), fails)

    # When
    run = app.run(house(), check=False)
    # Then it has been told to stop, and what it did is undone
    assert (run.state, child_of(app, run).state) == ("REVERTED", "CANCELLED")
    assert app.done == ["build attic", "pull down attic"]
    [asked] = events(log_of(app, child_of(app, run)), facts.RequestAccepted)
    assert (asked.kind, asked.reason) == ("cancel", f"house/room of run {run.id} is undone")


def test_g7_a_child_that_cannot_be_undone_stops_the_parents_revert(app: House) -> None:
    # Given a child whose revert fails
    @app.task
    def root() -> None: ...

    @root.revert
    def uproot() -> None:
        raise ValueError("rooted")

    @app.flow
    def tree() -> Flow[None]:
        return linear(root)

    @app.flow
    def garden() -> Flow[Any]:
        return linear(app.build.bind("fence"), tree.child())

    run = app.run(garden())
    # When
    run.revert(reason="moved out")
    # Then what the child stands on stays, too
    assert (run.state, child_of(app, run).state) == ("FAILED", "FAILED")
    assert "cannot be undone with it" in run.failures[0].message
    assert app.done == ["build fence"]


def test_g7_children_of_children_and_side_by_side(app: House) -> None:
    # Given
    @app.flow
    def floor(names: list[str]) -> Flow[list[str]]:
        return unordered(*(app.room.child(name).named(name) for name in names))

    @app.flow
    def house() -> Flow[Any]:
        first, second = floor.child(["a", "b"]).named("first"), floor.child(["c", "d"]).named("second")
        return unordered(first, second)

    # When
    run = app.run(house())
    # Then
    assert run.result == [["built a", "built b"], ["built c", "built d"]]
    assert len(list(app.runs())) == 7


def test_g7_a_childs_inputs_may_be_known_only_at_run_time(app: House) -> None:
    # Given
    @app.task(read_only=True)
    def choose() -> str:
        return "hall"

    @app.flow
    def house() -> Flow[str]:
        chosen = choose
        room = app.room.child(chosen)
        return linear(chosen, room, returns=room)

    # When / Then
    assert app.run(house()).result == "built hall"


def test_g7_a_child_is_of_a_flow_the_app_has() -> None:
    app, other = App("one", database_url="memory://"), App("other")

    @other.task
    def nothing() -> None: ...

    @other.flow
    def elsewhere() -> Flow[None]:
        return linear(nothing)

    @app.flow
    def house() -> Flow[Any]:
        return linear(elsewhere.child())

    with pytest.raises(FlowNotRegistered):
        app.run(house())
    app.close()


def test_g7_a_waiting_parent_holds_no_thread(tmp_path: Path) -> None:
    # Given a process with one thread for bodies
    app = App("thin", settings=Settings(threads=1, database_url=f"sqlite:///{tmp_path}/log.db"))

    @app.task
    def body(n: int) -> int:
        return n

    @app.flow
    def leaf(n: int) -> Flow[int]:
        done = body.bind(n)
        return linear(done, returns=done)

    @app.flow
    def root() -> Flow[Any]:
        return unordered(*(leaf.child(n).named(f"leaf-{n}") for n in range(5)))

    # When / Then
    assert app.run(root()).result == [0, 1, 2, 3, 4]
    app.close()


def test_g7_where_there_is_a_conductor_it_takes_parent_and_child_from_the_board(app: House) -> None:
    # Given a run that is submitted, so that it has a queue
    @app.flow
    def house() -> Flow[str]:
        room = app.room.child("attic")
        return linear(room, returns=room)

    async def conducted() -> Run[str]:
        async with app.conductor():
            run = app.submit(house(), priority=3)
            await run
            return run

    # When
    run = asyncio.run(conducted())
    # Then its child had one, too
    stream = app.stream_of(child_of(app, run).id)
    assert (run.result, stream.queue, stream.priority, stream.status) == ("built attic", "default", 3, "SUCCEEDED")
    assert any(e.type == "RunClaimed" for e in log_of(app, child_of(app, run)))


def test_g7_the_child_of_a_submitted_run_is_driven_here_where_nobody_takes_jobs(app: House) -> None:
    # Given
    @app.flow
    def house() -> Flow[str]:
        room = app.room.child("attic")
        return linear(room, returns=room)

    # When / Then
    assert app.submit(house()).wait(60) == "built attic"
