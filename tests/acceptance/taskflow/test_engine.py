"""How a run goes: what the ancestor's engine tests pin (TASKFLOW §3 1–28, §1.5), matched or better on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger import Flow, RunFailed, RunReverted, graph, linear, link, unordered
from flowledger.events import facts
from flowledger.events.errors import MissingSymbol
from tests.acceptance.logs import events, log_of, story

from .conftest import World


def test_tf_behaviour_1_a_lone_task_is_a_flow_and_its_log_is_exactly_this(world: World) -> None:
    # Given a bare task, When it runs
    @world.app.task
    def lone() -> int:
        return 5

    run = world.app.run(lone.bind())
    # Then
    assert story(log_of(world.app, run)) == [
        "RunSubmitted", "RunStarted", "TaskStarted lone", "TaskSucceeded lone", "RunSucceeded",
    ]  # fmt: skip
    assert run.result == 5


def test_tf_behaviour_2_a_failing_lone_task_is_reverted_each_time_it_is_run(world: World) -> None:
    # Given
    @world.app.flow
    def fails() -> Flow[None]:
        return linear(world.task("a"))

    world.failing.add("a")
    run = world.app.run(fails(), check=False)
    # When it is run again, as the ancestor's second run() would
    run.rerun(reason="once more")
    # Then: a task that failed is undone too, both times
    assert run.state == "REVERTED"
    assert world.said == ["+a", "-a"] * 2


def test_tf_behaviour_4_a_failed_revert_ends_the_run_failed_and_is_what_is_raised_last(world: World) -> None:
    # Given
    @world.app.flow
    def nasty() -> Flow[None]:
        return linear(world.task("a"))

    world.failing.add("a")
    world.failing_reverts.add("a")
    # When / Then: both are told, the revert's last; a second look never calls it REVERTED
    with pytest.raises(RunFailed) as caught:
        world.app.run(nasty())
    assert [failure.message for failure in caught.value.failures] == ["a", "cannot undo a"]


def test_tf_behaviour_5_what_is_bound_comes_before_all_and_then_the_default(world: World) -> None:
    # Given an optional argument
    @world.app.task
    def times(by: int = 7) -> int:
        return 2 * by

    @world.app.flow
    def both(by: int) -> Flow[list[int]]:
        return unordered(times.bind(5).named("bound"), times)

    @world.app.flow
    def neither() -> Flow[int]:
        return linear(times, returns=times)

    # When / Then
    assert world.app.run(both(3)).result == [10, 6]
    assert world.app.run(neither()).result == 14


def test_tf_behaviour_7_an_input_is_seen_unless_a_nearer_part_provides_the_name(world: World) -> None:
    """The ancestor's store shadows what tasks provide (A15); here the nearest provider wins (E2)."""
    seen: list[int] = []

    @world.app.task(provides="value")
    def make() -> int:
        return 1

    @world.app.task
    def look(value: int) -> None:
        seen.append(value)

    @world.app.flow
    def looks(value: int) -> Flow[None]:
        return linear(look.named("before"), make, look.named("after"))

    # When
    run = world.app.run(looks(9))
    # Then
    assert (run.state, seen) == ("SUCCEEDED", [9, 1])


@pytest.mark.parametrize("pattern", [linear, unordered, graph])
def test_tf_behaviour_10_empty_flows_succeed_also_nested(world: World, pattern: Any) -> None:
    @world.app.flow
    def empty() -> Flow[Any]:
        whole: Flow[Any] = pattern(pattern().named("inner"))
        return whole

    assert world.app.run(empty()).state == "SUCCEEDED"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_tf_behaviour_11_an_interruption_out_of_a_body_is_its_failure_and_nothing_is_left_running(
    world: World, interruption: type[BaseException]
) -> None:
    """There, what is thrown into the engine leaves atoms RUNNING and the flow FAILURE."""

    @world.app.task
    def interrupted() -> None:
        raise interruption

    @world.app.flow
    def flow() -> Flow[None]:
        return linear(world.task("a"), interrupted, world.task("b"))

    run = world.app.run(flow(), check=False)
    assert (run.state, world.said) == ("REVERTED", ["+a", "-a"])
    assert [failure.type for failure in run.failures] == [interruption.__name__]


def test_tf_behaviour_14_what_a_revert_returns_is_not_kept(world: World) -> None:
    """There it can be asked for. Here a revert writes where it belongs what is to be kept; what it returns may be
    anything."""

    @world.app.task
    def make() -> int:
        return 1

    @make.revert
    def unmake() -> object:
        world.said.append("-make")
        return object()

    @world.app.flow
    def flow() -> Flow[None]:
        return linear(make, world.task("bad"))

    world.failing.add("bad")
    run = world.app.run(flow(), check=False)
    assert (run.state, world.said[-1]) == ("REVERTED", "-make")
    undone = [e.path for e in log_of(world.app, run) if isinstance(e.event, facts.TaskReverted)]
    assert undone == ["flow/bad", "flow/make"]


def test_tf_behaviour_13_after_a_revert_what_was_done_is_still_told_but_nothing_stands(world: World) -> None:
    """The ancestor forgets results on revert; the log keeps them, and the run has none to give."""

    @world.app.flow
    def three() -> Flow[None]:
        return linear(world.task("a"), world.task("b"), world.task("c"))

    world.failing.add("c")
    run = world.app.run(three(), check=False)
    assert run.state == "REVERTED"
    assert world.said == ["+a", "+b", "+c", "-c", "-b", "-a"]
    kept = [bytes(event.result) for event in events(log_of(world.app, run), facts.TaskSucceeded)]
    assert kept == [b'"a"', b'"b"']
    with pytest.raises(RunReverted):
        _ = run.result


def test_tf_behaviour_16_what_never_ran_is_not_undone(world: World) -> None:
    @world.app.flow
    def first_fails() -> Flow[None]:
        return linear(world.task("a"), world.task("b"))

    world.failing.add("a")
    world.app.run(first_fails(), check=False)
    assert world.said == ["+a", "-a"]


def test_tf_behaviour_17_reverting_goes_back_across_flows_in_exact_reverse_order(world: World) -> None:
    @world.app.flow
    def nested() -> Flow[None]:
        inner = linear(world.task("b"), linear(world.task("c"), world.task("d"), name="deep"), name="inner")
        return linear(world.task("a"), inner)

    world.failing.add("d")
    world.app.run(nested(), check=False)
    assert world.said == ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"]


def test_tf_behaviour_19_before_a_failed_revert_nothing_is_undone(world: World) -> None:
    @world.app.flow
    def stuck() -> Flow[None]:
        return linear(world.task("a"), linear(world.task("b"), world.task("c"), name="inner"))

    world.failing.add("c")
    world.failing_reverts.add("b")
    run = world.app.run(stuck(), check=False)
    assert run.state == "FAILED"
    assert world.said == ["+a", "+b", "+c", "-c", "-b"]


@pytest.mark.parametrize(("depth", "ran"), [("all", 1), ("atom", 4), ("flow", 2), ("neighbors", 3)])
def test_tf_behaviour_20_a_no_takes_along_what_its_depth_says(world: World, depth: Any, ran: int) -> None:
    # Given a line of four in a flow of its own with a no before the second, and a fifth after that flow
    @world.app.flow
    def five() -> Flow[None]:
        a, b, c, d = (world.task(name) for name in "abcd")
        sub = graph(a, b, c, d, link(a, b, when=_no, depth=depth), link(b, c), link(c, d), name="sub")
        return linear(sub, world.task("e"))

    # When
    world.app.run(five())
    # Then: as many run as the ancestor's depths leave
    expected = {"all": ["+a"], "atom": ["+a", "+c", "+d", "+e"], "flow": ["+a", "+e"], "neighbors": ["+a", "+d", "+e"]}
    assert world.said == expected[depth]
    assert len(world.said) == ran


def _no(_: str) -> bool:
    return False


def _yes(_: str) -> bool:
    return True


def test_tf_behaviour_22_a_join_after_one_no_is_skipped(world: World) -> None:
    @world.app.flow
    def diamond() -> Flow[None]:
        a, b, c, d = (world.task(name) for name in "abcd")
        return graph(a, b, c, d, link(a, b, when=_no), link(a, c, when=_yes), link(b, d), link(c, d))

    world.app.run(diamond())
    assert world.said == ["+a", "+c"]


def test_tf_behaviour_23_two_predicates_into_a_flow_are_each_asked_once_and_skip_it_as_one(world: World) -> None:
    asked: list[str] = []

    def ask(made: str) -> bool:
        asked.append(made)
        return False

    @world.app.flow
    def jumps() -> Flow[None]:
        a, b = world.task("a"), world.task("b")
        into = linear(world.task("c"), world.task("d"), name="into")
        return graph(a, b, into, link(a, into, when=ask), link(b, into, when=ask))

    run = world.app.run(jumps())
    assert sorted(asked) == ["a", "b"]
    assert [path for path in story(log_of(world.app, run)) if path.startswith("TaskSkipped")] == ["TaskSkipped into"]


def test_tf_behaviour_25_a_finished_run_runs_nothing_again(world: World) -> None:
    @world.app.flow
    def once() -> Flow[None]:
        return linear(world.task("a"), world.task("b"))

    world.app.run(once(), key="k")
    run = world.app.run(once(), key="k")
    assert world.said == ["+a", "+b"]
    # `reset` and run again is `rerun` from the first part: what stands is undone first, so nothing is made twice
    run.rerun(from_="once/a", reason="from the start")
    assert world.said == ["+a", "+b", "-b", "-a", "+a", "+b"]


def test_tf_behaviour_26_a_requirement_missing_deep_inside_is_found_before_anything_runs(world: World) -> None:
    @world.app.task
    def needs(missing: int) -> None: ...

    @world.app.flow
    def deep() -> Flow[None]:
        return linear(world.task("a"), linear(linear(needs), name="inner"))

    with pytest.raises(MissingSymbol, match="missing"):
        world.app.run(deep())
    assert world.said == []


def test_tf_e7_never_resolve_is_on_failure_stop(world: World) -> None:
    @world.app.flow(on_failure="stop")
    def keeps() -> Flow[None]:
        return linear(world.task("a"), world.task("b"))

    world.failing.add("b")
    run = world.app.run(keeps(), check=False)
    assert (run.state, world.said) == ("FAILED", ["+a", "+b"])


def test_tf_p5_data_orders_a_graph_and_p10_names_repeat_in_different_flows(world: World) -> None:
    @world.app.task(provides="x")
    def make() -> str:
        world.said.append("+make")
        return "x"

    @world.app.task
    def use(x: str) -> None:
        world.said.append(f"+use {x}")

    @world.app.flow
    def by_data() -> Flow[None]:
        return graph(use, make)

    @world.app.flow
    def same_names() -> Flow[None]:
        return linear(linear(world.task("a"), name="one"), linear(world.task("a"), name="two"))

    world.app.run(by_data())
    run = world.app.run(same_names())
    assert world.said == ["+make", "+use x", "+a", "+a"]
    assert set(run.results) == {"same_names/one/a", "same_names/two/a"}
