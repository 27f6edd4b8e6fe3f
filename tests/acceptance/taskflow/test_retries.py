"""Retries: what the ancestor's retry tests pin (TASKFLOW §3 29–44, §1.4), matched or better on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from flowledger import AlwaysRevertAll, Flow, Retry, TaskContext, Times, TryEach, linear
from flowledger.core.retry import Try
from flowledger.events import facts
from flowledger.events.facts import Decision
from flowledger.testing import InMemory, assert_survives_crashes
from tests.acceptance.logs import events, log_of, story

from .conftest import World


def test_tf_behaviour_29_times_reverts_in_reverse_and_runs_the_round_again(world: World) -> None:
    # Given a task that works in the second round
    @world.app.task
    def works_at_two(number: int) -> None:
        world.said.append(f"round {number}")
        if number < 2:
            raise ValueError(number)

    @world.app.flow
    def tries() -> Flow[None]:
        return linear(world.task("a"), works_at_two, retry=Times(4, provides="number"))

    # When
    run = world.app.run(tries())
    # Then
    assert world.said == ["+a", "round 1", "-a", "+a", "round 2"]
    told = [line for line in story(log_of(world.app, run)) if "tries" in line or "Run" in line]
    assert told == [
        "RunSubmitted", "RunStarted", "RoundStarted tries", "RetryDecided tries", "ScopeReverting tries",
        "ScopeReset tries", "RoundStarted tries", "RunSucceeded",
    ]  # fmt: skip


def test_tf_behaviour_31_a_revert_that_fails_during_a_retry_ends_the_run(world: World) -> None:
    @world.app.flow
    def tries() -> Flow[None]:
        return linear(world.task("a"), world.task("b"), retry=Times(4))

    world.failing.add("b")
    world.failing_reverts.add("b")
    run = world.app.run(tries(), check=False)
    assert run.state == "FAILED"
    assert [round_.round for round_ in events(log_of(world.app, run), facts.RoundStarted)] == [1]


def test_tf_behaviour_32_an_exhausted_inner_retry_undoes_the_outer_parts_too(world: World) -> None:
    """The ancestor leaves them standing and calls the flow REVERTED; a run that ends REVERTED has nothing left (D3)."""

    @world.app.flow
    def outer() -> Flow[None]:
        return linear(world.task("before"), linear(world.task("a"), name="inner", retry=Times(2)))

    world.failing.add("a")
    run = world.app.run(outer(), check=False)
    assert run.state == "REVERTED"
    assert world.said == ["+before", "+a", "-a", "+a", "-a", "-before"]


def test_tf_behaviour_34_an_exhausted_inner_retry_asks_the_outer_one_which_retries_everything(world: World) -> None:
    @world.app.flow
    def outer() -> Flow[None]:
        inner = linear(world.task("a"), name="inner", retry=Times(2))
        return linear(world.task("before"), inner, retry=Times(2))

    world.failing.add("a")
    world.app.run(outer(), check=False)
    assert world.said.count("+before") == 2
    assert world.said.count("+a") == 4


def test_tf_behaviour_35_always_revert_all_asks_nobody(world: World) -> None:
    @world.app.flow
    def outer() -> Flow[None]:
        inner = linear(world.task("a"), name="inner", retry=AlwaysRevertAll())
        return linear(world.task("before"), inner, retry=Times(3))

    world.failing.add("a")
    run = world.app.run(outer(), check=False)
    assert run.state == "REVERTED"
    assert world.said == ["+before", "+a", "-a", "-before"]


def test_tf_behaviour_37_try_each_gives_its_values_in_order_repeated_ones_again(world: World) -> None:
    seen: list[int] = []

    @world.app.task
    def picky(value: int) -> None:
        seen.append(value)
        raise ValueError(value)

    @world.app.flow
    def tries() -> Flow[None]:
        return linear(picky, retry=TryEach([3, 2, 3, 5], provides="value"))

    run = world.app.run(tries(), check=False)
    assert (run.state, seen) == ("REVERTED", [3, 2, 3, 5])


def test_tf_behaviour_38_a_collection_without_values_is_a_failure_of_the_retry(world: World) -> None:
    @world.app.flow
    def tries(values: list[int]) -> Flow[None]:
        return linear(world.task("a"), retry=TryEach(values))

    run = world.app.run(tries([]), check=False)
    assert (run.state, world.said) == ("REVERTED", [])
    assert run.failures[0].kind == "retry"


class _CannotBegin(Retry[int]):
    def value(self, history: Sequence[Try[int]]) -> int:
        raise LookupError("no value")

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        raise AssertionError("it never began")


def test_tf_behaviour_40_a_crash_anywhere_in_a_retry_ends_with_one_revert_and_a_second_attempt(
    flow_app: InMemory,
) -> None:
    """There: after the failure, after the retry was asked, after its intention, the task's intention, the schedule."""
    # Given a flow that succeeds in its second round, and what its bodies did, by their keys
    app = flow_app.new("retrying")
    made: dict[str, str] = {}
    undone: set[str] = set()

    @app.task
    def make(number: int, ctx: TaskContext) -> str:
        made[ctx.idempotency_key] = f"made {number}"
        return made[ctx.idempotency_key]

    @make.revert
    def unmake(ctx: TaskContext, number: int) -> None:
        undone.add(f"made {number}")

    @app.task
    def try_it(number: int) -> None:
        if number < 2:
            raise ValueError(number)

    @app.flow
    def tries() -> Flow[str]:
        made_ = make.bind()
        return linear(made_, try_it, retry=Times(3, provides="number"), returns=made_)

    def begin_anew() -> None:
        assert list(made.values()) in ([], ["made 1", "made 2"])
        assert undone in (set(), {"made 1"})
        made.clear()
        undone.clear()

    # When it crashes before and after each of its appends, and is resumed
    survived = assert_survives_crashes(app, tries(), before_each=begin_anew)

    # Then each time the first was undone and the second stands, as without a crash
    assert survived >= 10
    begin_anew()


def test_tf_behaviour_41_a_retry_that_cannot_begin_fails_its_scope_with_no_history(world: World) -> None:
    @world.app.flow
    def tries() -> Flow[None]:
        return linear(world.task("before"), linear(world.task("a"), name="inner", retry=_CannotBegin()))

    run = world.app.run(tries(), check=False)
    assert (run.state, world.said) == ("REVERTED", ["+before", "-before"])
    assert run.failures[0].message == "no value"


def test_tf_behaviour_43_what_did_not_run_because_of_an_earlier_failure_is_not_undone_on_retry(world: World) -> None:
    @world.app.flow
    def tries() -> Flow[None]:
        return linear(world.task("a"), world.task("b"), world.task("c"), retry=Times(2))

    world.failing.add("b")
    world.app.run(tries(), check=False)
    assert world.said == ["+a", "+b", "-b", "-a"] * 2


def test_tf_behaviour_44_a_retry_is_no_part_of_a_flow(world: World) -> None:
    part: Any = Times(3)
    with pytest.raises(Exception, match="Times"):
        linear(world.task("a"), part)


@pytest.mark.parametrize("executions", [1, 3])
def test_tf_r8_times_counts_executions_in_all(world: World, executions: int) -> None:
    @world.app.flow
    def tries() -> Flow[None]:
        return linear(world.task("a"), retry=Times(executions))

    world.failing.add("a")
    world.app.run(tries(), check=False)
    assert world.said.count("+a") == executions
