"""Jobs, owners, changed code: what the ancestor's tests pin (TASKFLOW §3 28, 47, 53, 67–73), matched or better."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, PlanDiffers, TaskContext, linear
from flowledger.events.board import Offer

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
