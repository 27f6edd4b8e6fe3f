"""Rows of the ancestor's feature table that hold here as they do there, each by its name; others are beside what they
are about. `test_page.py` sees that none is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from flowledger import (
    App,
    Decision,
    MissingSymbol,
    Progress,
    Retry,
    TaskContext,
    Times,
    Try,
    graph,
    linear,
    link,
    symbol,
    unordered,
)
from flowledger.events import facts
from tests.acceptance.logs import events, log_of

from .conftest import World


def ran(world: World, *parts: Any, check: bool = False, **options: Any) -> Any:
    """A run of these parts, one after the other."""
    flow = world.app.flow(name="flow")(lambda: linear(*parts, **options))
    return world.app.run(flow(), check=check)


# -- patterns -----------------------------------------------------------------------------------


def test_tf_p3_one_after_the_other_undone_in_reverse_and_a_provider_comes_earlier(world: World) -> None:
    world.failing.add("c")
    assert ran(world, world.task("a"), unordered(world.task("b")), world.task("c")).state == "REVERTED"
    assert world.said == ["+a", "+b", "+c", "-c", "-b", "-a"]

    @world.app.task(provides="late")
    def provide() -> int:
        return 1

    @world.app.task
    def use(late: int) -> None: ...

    with pytest.raises(MissingSymbol, match="late"):
        world.app.plan(world.app.flow(name="early")(lambda: linear(use, provide))())


def test_tf_p4_siblings_without_an_order_see_nothing_of_each_other(world: World) -> None:
    @world.app.task(provides="x")
    def provide(n: int) -> int:
        return n

    @world.app.task
    def use(x: int) -> int:
        return x

    with pytest.raises(MissingSymbol, match="x"):
        world.app.plan(world.app.flow(name="blind")(lambda: unordered(provide.bind(1), use))())
    both = unordered(provide.bind(1).named("one"), provide.bind(2).named("two"))
    assert ran(world, both, returns=both).result == [1, 2]


def test_tf_p6_a_link_orders_two_parts_of_a_graph(world: World) -> None:
    a, b = world.task("a"), world.task("b")
    ran(world, graph(b, a, link(a, b)))
    assert world.said == ["+a", "+b"]


def test_tf_p9_flows_nest_without_limit(world: World) -> None:
    part: Any = world.task("deep")
    for depth in range(60):
        part = (linear, unordered, graph)[depth % 3](part, name=f"level-{depth}")
    assert ran(world, part).state == "SUCCEEDED"
    assert world.said == ["+deep"]


# -- deciders -----------------------------------------------------------------------------------


def test_tf_d1_and_d8_one_no_skips_and_what_is_skipped_counts_as_done(world: World) -> None:
    # Given a part that one of two predicates says no to, a consumer behind it, and a round that is run again
    asked: list[str] = []

    def no(_value: str) -> bool:
        asked.append("no")
        return False

    def yes(_value: str) -> bool:
        asked.append("yes")
        return True

    a, b, c, d = (world.task(name) for name in "abcd")
    inner = graph(a, b, c, d, link(a, c, when=yes, depth="atom"), link(b, c, when=no, depth="atom"), link(c, d))
    world.failing.add("d")
    # When
    run = ran(world, inner, retry=Times(2))
    # Then the skipped one was no obstacle, to execute and to revert; and in the second round both were asked again
    assert run.state == "REVERTED"
    assert "+c" not in world.said
    assert world.said.count("+d") == 2
    assert sorted(asked) == ["no", "no", "yes", "yes"]


# -- tasks and arguments ------------------------------------------------------------------------


def test_tf_a1_a_task_has_the_name_of_its_function_and_ready_ones_go_by_priority(world: World) -> None:
    order: list[str] = []

    @world.app.task
    def usual() -> None:
        order.append("usual")

    @world.app.task(priority=3)
    def first() -> None:
        order.append("first")

    flow = world.app.flow(name="flow")(lambda: unordered(usual, first))
    run = world.app.run(flow(), executor="inline")
    assert order == ["first", "usual"]
    assert set(run.results) == {"flow/usual", "flow/first"}


def test_tf_a2_and_a3_arguments_are_required_or_have_a_default_and_can_be_renamed(world: World) -> None:
    @world.app.task(provides="made")
    def make() -> int:
        return 3

    @world.app.task
    def use(n: int, times: int = 2) -> int:
        return n * times

    part = use.bind(n=symbol("made"))
    assert ran(world, make, part, returns=part).result == 6
    with pytest.raises(MissingSymbol, match="n"):
        world.app.plan(world.app.flow(name="without")(lambda: linear(use))())


def test_tf_a11_a_function_is_a_task_and_so_is_its_revert(world: World) -> None:
    done: list[str] = []

    def open_port(port: int) -> str:
        done.append(f"open {port}")
        return f"rule-{port}"

    def close_port(port: int, result: str | None) -> None:
        done.append(f"close {port} {result}")

    task = world.app.task(open_port)
    task.revert(close_port)
    world.failing.add("bad")
    ran(world, task.bind(80), world.task("bad"))
    assert done == ["open 80", "close 80 rule-80"]


def test_tf_a13_progress_is_clamped_heard_while_it_runs_and_kept(world: World) -> None:
    heard: list[Progress] = []

    @world.app.task
    def works(ctx: TaskContext) -> None:
        ctx.progress(0.5, "half")
        ctx.progress(7.0, "more than all")

    world.app.listen_progress(heard.append)
    run = ran(world, works)
    assert world.app.listeners.drain(20)
    assert [(said.fraction, said.message) for said in heard] == [(0.5, "half"), (1.0, "more than all")]
    (kept,) = [e.event.progress for e in log_of(world.app, run) if isinstance(e.event, facts.TaskSucceeded)]
    assert kept is not None
    assert (kept.fraction, kept.message) == (1.0, "more than all")


# -- retries ------------------------------------------------------------------------------------


SEEN: list[list[tuple[int, list[str]]]] = []


class Remembers(Retry[int]):
    """Says what it is told, and tries three times."""

    def value(self, history: Sequence[Try[int]]) -> int:
        return 10 + len(history)

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        SEEN.append([(past.value, [failure.message for failure in past.failures]) for past in history])
        return "RETRY" if len(history) < 3 else "REVERT"


def test_tf_r1_and_r11_a_retry_answers_by_the_history_of_its_values_and_failures(world: World) -> None:
    SEEN.clear()
    world.failing.add("a")
    run = ran(world, world.task("a"), retry=Remembers())
    assert run.state == "REVERTED"
    assert SEEN[-1] == [(10, ["a"]), (11, ["a"]), (12, ["a"])]
    decided = [event.decision for event in events(log_of(world.app, run), facts.RetryDecided)]
    assert decided == ["RETRY", "RETRY", "REVERT"]


def test_tf_r5_revert_all_undoes_everything_whatever_a_retry_around_it_would_say(world: World) -> None:
    world.failing.add("b")
    inner = linear(world.task("b"), name="inner", retry=Times(1, revert_all=True))
    assert ran(world, world.task("a"), inner, retry=Times(9)).state == "REVERTED"
    assert world.said == ["+a", "+b", "-b", "-a"]


def test_tf_r6_where_no_retry_is_everything_is_undone(world: World) -> None:
    world.failing.add("b")
    assert ran(world, world.task("a"), world.task("b")).state == "REVERTED"
    assert world.said == ["+a", "+b", "-b", "-a"]


# -- engines ------------------------------------------------------------------------------------


def test_tf_1_5_1_and_1_5_2_running_siblings_finish_and_all_is_undone_against_its_order(world: World) -> None:
    after = linear(world.task("a"), world.task("a2"), name="one")
    beside = linear(world.task("b"), name="two")
    world.failing.add("a2")
    assert ran(world, unordered(after, beside)).state == "REVERTED"
    assert {said for said in world.said if said[0] == "-"} == {"-a", "-a2", "-b"}
    assert world.said.index("-a2") < world.said.index("-a")


def test_tf_e6_a_suspended_run_ends_what_runs_starts_nothing_and_goes_on_later(world: World) -> None:
    @world.app.task
    def asks(ctx: TaskContext) -> None:
        if world.said.count("asks") == 0:
            world.suspend(ctx.run_id)
        world.said.append("asks")

    run = ran(world, asks, world.task("b"))
    assert (run.state, world.said) == ("SUSPENDED", ["asks"])
    run.resume()
    assert (run.state, world.said) == ("SUCCEEDED", ["asks", "+b"])


def test_tf_1_12_2_what_was_running_is_run_again_with_the_same_key(crash_at: Any) -> None:
    keys: list[str] = []
    app = App("ancestor", database_url="memory://row-1-12-2")

    @app.task
    def make(ctx: TaskContext) -> None:
        keys.append(ctx.idempotency_key)

    flow = app.flow(name="flow")(lambda: linear(make))
    with crash_at(app, "TaskStarted", "make") as crash:
        app.run(flow())
    run = app.get(crash.run_id).resume()
    assert run.state == "SUCCEEDED"
    started = [event.key for event in events(log_of(app, run), facts.TaskStarted)]
    assert len(started) == 2
    assert set(started) == {keys[-1]}
    app.close()
