"""Jobs, owners, changed code: what the ancestor's tests pin (TASKFLOW §3 28, 47, 53, 67–73), matched or better."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flowledger import App, Fenced, Flow, InputError, PlanDiffers, StoreUnavailable, TaskContext, linear
from flowledger.events.board import Offer
from flowledger.events.store import Claim, Owner

from .conftest import World


def test_tf_behaviour_28_a_suspended_run_is_cancelled_and_run_from_the_start(world: World) -> None:
    # Given a run suspended in the middle
    @world.app.task
    def stop_here(ctx: TaskContext) -> None:
        world.said.append("+stop")
        if world.said.count("+stop") == 1:
            world.suspend(ctx.run_id)

    @world.app.flow
    def flow() -> Flow[None]:
        return linear(world.task("a"), stop_here, world.task("b"))

    run = world.app.run(flow(), check=False)
    assert run.state == "SUSPENDED"
    # When it is given up, and then asked to run once more
    run.cancel(reason="from the start")
    assert world.app.get(run.id).state == "CANCELLED"
    world.app.get(run.id).rerun(reason="from the start")
    # Then all of it runs again, and nothing was made twice
    assert world.said == ["+a", "+stop", "-a", "+a", "+stop", "+b"]


def test_tf_behaviour_47_the_code_of_a_failed_task_must_be_there_to_undo_it(tmp_path: Path) -> None:
    """The ancestor goes on without it, and undoes the rest; what has history must be unchanged here (E8)."""

    def app_with(*names: str) -> tuple[App, Any]:
        app = App("code", database_url=f"sqlite:///{tmp_path}/log.db")

        @app.task
        def step(name: str) -> None:
            if name == "b":
                raise ValueError(name)

        @app.flow(on_failure="stop")
        def flow() -> Flow[None]:
            return linear(*[step.bind(name).named(name) for name in names])

        return app, flow

    before, flow = app_with("a", "b")
    run = before.run(flow(), check=False)
    before.close()
    after, _ = app_with("a")
    with pytest.raises(PlanDiffers, match="b"):
        after.get(run.id).revert(reason="undo")
    after.close()


def test_tf_behaviour_53_many_threads_with_one_key_make_one_run(world: World) -> None:
    @world.app.flow
    def flow() -> Flow[None]:
        return linear(world.task("a"))

    with ThreadPoolExecutor(10) as pool:
        runs = list(pool.map(lambda _: world.app.submit(flow(), key="k").id, range(10)))
    assert len(set(runs)) == 1


def test_tf_behaviour_68_a_job_whose_flow_fails_is_over_and_its_run_says_how(world: World) -> None:
    @world.app.flow
    def flow() -> Flow[None]:
        return linear(world.task("a"))

    world.failing.add("a")
    run = world.app.submit(flow())

    async def serve() -> None:
        async with world.app.conductor():
            with pytest.raises(Exception, match="REVERTED"):
                await run

    asyncio.run(serve())
    assert run.state == "REVERTED"
    assert world.app.runtime.store.board.jobs() == []


def test_tf_behaviour_67_the_job_of_an_owner_that_is_gone_is_claimed_by_another(world: World) -> None:
    """There: with a session's end, or a time that has to be set and extended by hand."""
    # Given a job that somebody has claimed
    flow = world.app.flow(name="flow")(lambda: linear(world.task("a")))
    run = world.app.submit(flow())
    store = world.app.runtime.store
    offer = Offer(app="ancestor", factories=["flow"], queues=["default"], takeover_s=20)
    first, second = (Owner(id=name, host="there", pid=n, app="ancestor") for n, name in enumerate(("first", "second")))
    store.join(first)
    store.join(second)
    assert [run_id for run_id, _ in store.board.claim(first.id, offer, limit=1)] == [run.id]
    # Then nobody else gets it as long as that one lives, and at once when it does not
    assert store.board.claim(second.id, offer, limit=1) == []
    store.leave(first.id)
    assert [run_id for run_id, _ in store.board.claim(second.id, offer, limit=1)] == [run.id]


def test_tf_behaviour_70_a_job_without_an_input_is_not_taken_onto_the_board(world: World) -> None:
    """There it is posted, consumed, and its flow never gets a state."""

    @world.app.flow
    def flow(name: str) -> Flow[None]:
        return linear(world.task(name))

    with pytest.raises(InputError, match="name"):
        world.app.submit_named("flow", {})
    assert world.app.runtime.store.board.jobs() == []


def test_tf_behaviour_71_a_conductor_goes_on_when_the_board_was_away_for_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a board that fails
    board = world.app.runtime.store.board
    claim, failures = board.claim, [StoreUnavailable("away")]

    def away(*args: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return claim(*args, **more)

    monkeypatch.setattr(board, "claim", away)
    flow = world.app.flow(name="flow")(lambda: linear(world.task("a")))

    async def serve() -> None:
        async with world.app.conductor():
            await world.app.submit(flow())

    # Then what is submitted is driven all the same
    asyncio.run(serve())
    assert (failures, world.said) == ([], ["+a"])


def test_tf_behaviour_73_who_has_lost_a_run_writes_nothing_more_and_another_goes_on(world: World) -> None:
    """There: a listener that looks at the claim on each change, and suspends the engine. Here the epoch is checked in
    every append, so nothing of a lost run is ever written."""
    # Given a run in the middle of a body, which another process takes over
    began, go_on = Event(), Event()

    @world.app.task(attempts=1)
    def long() -> None:
        began.set()
        go_on.wait(30)

    flow = world.app.flow(name="flow")(lambda: linear(long, world.task("b")))
    with ThreadPoolExecutor(1) as pool:
        driving = pool.submit(world.app.run, flow(), key="k")
        assert began.wait(30)
        store = world.app.runtime.store
        [run] = world.app.runs()
        store.leave(world.app.runtime.owner)
        store.join(Owner(id="other", host="there", pid=1, app="ancestor"))
        claim = store.claim(run.id, "other", takeover_s=20)
        assert isinstance(claim, Claim)
        before = store.stream(run.id)
        # When the body ends in the process that has lost it
        go_on.set()
        # Then who drove it is told, and it has written nothing
        with pytest.raises(Fenced):
            driving.result(30)
    assert store.stream(run.id) == before
    assert "+b" not in world.said


def test_tf_j5_higher_priority_first_then_oldest(world: World) -> None:
    """The ancestor's boards give the newest, or the lowest, first."""

    @world.app.flow
    def flow() -> Flow[None]:
        return linear(world.task("a"))

    submitted = [world.app.submit(flow(), priority=priority).id for priority in (0, 0, 5)]
    store = world.app.runtime.store
    offer = Offer(app="ancestor", factories=["flow"], queues=["default"], takeover_s=20)
    claimed = store.board.claim(world.app.runtime.owner, offer, limit=3)
    first, second, high = submitted
    assert [run_id for run_id, _ in claimed] == [high, *sorted([first, second])]
