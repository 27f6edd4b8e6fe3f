"""Rules E where they show in a run; `tests/unit/test_compile_*` has what the compiler refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowledger import App, Flow, TaskContext, Times, graph, linear, link, unordered
from flowledger.events.failure import Failure
from tests.acceptance.logs import log_of, story


@pytest.fixture
def app() -> Iterator[App]:
    app = App("semantics", database_url="memory://")
    yield app
    app.close()


def test_e1_what_follows_a_flow_waits_for_all_of_it(app: App) -> None:
    # Given a flow of two lines, linked to one task as a whole
    @app.task(read_only=True)
    def step(n: int) -> int:
        return n

    @app.flow
    def joined() -> Flow[Any]:
        lines = [linear(*[step.bind(n).named(f"s{n}") for n in (i, i + 1)], name=f"line-{i}") for i in (1, 3)]
        both, last = unordered(*lines, name="both"), step.bind(9).named("last")
        return graph(last, both, link(both, last))

    # When it runs
    told = story(log_of(app, app.run(joined())))

    # Then the task came after every one of them
    assert all(told.index("TaskStarted last") > told.index(f"TaskSucceeded s{n}") for n in (1, 2, 3, 4))


def test_e2_a_value_by_name_comes_from_the_nearest_provider(app: App) -> None:
    seen: list[str] = []

    @app.task(provides="name")
    def named(value: str) -> str:
        return value

    @app.task
    def looks(name: str) -> None:
        seen.append(name)

    @app.flow
    def nearest(name: str) -> Flow[Any]:
        inner = linear(
            looks.bind().named("deep"), named.bind("inner").named("n2"), looks.bind().named("after"), name="in"
        )
        outer = linear(looks.bind().named("first"), named.bind("outer").named("n1"), inner)
        return linear(outer, looks.bind(name="by hand").named("bound"))

    # When the run's input, two tasks and a value by hand share a name
    app.run(nearest("input"), executor="inline")

    # Then each got the nearest one before it
    assert seen == ["input", "outer", "inner", "by hand"]


def test_e3_unordered_and_each_have_the_list_of_their_results_in_declaration_order(app: App) -> None:
    @app.task
    def double(n: int) -> int:
        return 2 * n

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.flow
    def gathered() -> Flow[Any]:
        side_by_side = unordered(*[double.bind(n).named(f"d{n}") for n in (3, 1, 2)], name="side")
        each = double.each([5, 4]).named("each").as_("numbers")
        return linear(side_by_side, each, total, unordered(side_by_side_again(), each_again(), name="end"))

    def side_by_side_again() -> Flow[list[int]]:
        return unordered(*[double.bind(n).named(f"d{n}") for n in (30, 10)], name="one")

    def each_again() -> Flow[list[int]]:
        return double.each([7]).named("two")

    @app.flow
    def nested() -> Flow[list[list[int]]]:
        return unordered(side_by_side_again(), each_again())

    # When they are asked for by name, and as the result of a run
    run = app.run(gathered())

    # Then the lists are in the order of declaration
    assert run.results["gathered/total"] == 18
    assert app.run(nested()).result == [[60, 20], [14]]


def test_e4_a_revert_sees_its_own_result_under_its_own_name(app: App) -> None:
    seen: list[Any] = []

    @app.task(provides="server_id")
    def create(n: int) -> str:
        if n == 2:
            raise ValueError("second")
        return f"s{n}"

    @create.revert
    def delete(
        n: int, server_id: str | None, result: str | None, failure: Failure | None, failures: list[Failure]
    ) -> None:
        seen.append((n, server_id, result, failure and failure.message, [f.message for f in failures]))

    @app.flow
    def pair() -> Flow[Any]:
        return linear(create.bind(1).named("one"), create.bind(2).named("two"))

    app.run(pair(), executor="inline", check=False)
    assert seen == [(2, None, None, "second", ["second"]), (1, "s1", "s1", None, ["second"])]


def test_e5_equal_names_are_numbered_and_what_cannot_be_undone_is_listed(app: App) -> None:
    @app.task
    def step(ctx: TaskContext) -> str:
        return ctx.path

    @app.task(read_only=True)
    def look() -> None: ...

    @app.flow
    def line() -> Flow[Any]:
        return linear(step, step.bind().named("step-2"), step.bind(), look, retry=Times(1))

    plan = app.plan(line())
    assert list(plan.without_revert) == ["line/step", "line/step-2", "line/step-3"]
    assert list(app.run(line()).results.values())[:3] == ["line/step", "line/step-2", "line/step-3"]
