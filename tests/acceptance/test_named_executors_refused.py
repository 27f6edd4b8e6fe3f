"""What is refused of executors by name, before anything is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowledger import App, Bounded, DefinitionError, Flow, UnknownExecutor, linear
from flowledger.events.errors import NotImportable
from tests.acceptance import named_shop as shop
from tests.acceptance.command_line import Command, flowledger
from tests.acceptance.far_executors import app, said

__all__ = ["app", "flowledger", "said"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["inline", "threads", "processes", "workers", "async", "transaction", "control"])
def test_what_is_always_there_cannot_be_replaced(name: str) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(DefinitionError, match="is taken"):
        App("shop", executors={name: pool})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "3 is no executor"),
        (Bounded(shop.pool, at_once=0), "at_once=0"),
        (Bounded(3, at_once=1), "3 is no executor"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_executor_is_refused(given: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        App("shop", executors={"pool": given})


def test_an_unknown_name_is_refused_before_anything_is_written(app: App, said: str) -> None:
    before = len(list(app.runs(limit=1_000)))
    # When the run, or a task of it, names one that is not there
    lame = App("lame", database_url="memory://", executors={"crew": shop.crew})
    lame.include(app)
    with pytest.raises(UnknownExecutor, match="the run asks for executor='crow', and the app named_shop") as refused:
        app.run(shop.mixed(3, said), executor="crow")
    assert "did you mean `crew`?" in str(refused.value)
    assert "always there: inline, threads, processes, workers" in str(refused.value)
    with pytest.raises(UnknownExecutor, match=r"mixed/pack asks for executor='pool'.*\n.*it has crew;"):
        lame.submit(shop.mixed(3, said))
    with pytest.raises(UnknownExecutor):
        lame.plan(shop.mixed(3, said))
    # Then
    assert len(list(app.runs(limit=1_000))) == before
    assert list(lame.runs()) == []
    lame.close()


def test_the_command_line_says_so_too(flowledger: Command) -> None:
    # When
    said = [
        flowledger(verb, "mixed", "--app", "tests.acceptance.named_shop:lame", "--set", "size=3", "--set", "said=x")
        for verb in ("plan", "run", "submit")
    ]
    # Then
    assert {each.code for each in said} == {2}
    assert all("FL119: mixed/pack asks for executor='pool'" in each.err for each in said)
    assert all("executors={" in each.err for each in said)


def test_a_task_that_is_placed_once_per_item_is_looked_at_before_the_items_are_there(app: App) -> None:
    # Given
    lame = App("lame", database_url="memory://")

    @lame.task
    def items() -> list[int]:
        return [1]

    @lame.task(executor="pool")
    def each(n: int) -> int:
        return n

    @lame.flow
    def many() -> Flow[Any]:
        found = items.bind()
        return linear(found, each.each(found))

    # When / Then
    with pytest.raises(UnknownExecutor, match="asks for executor='pool'"):
        lame.run(many())
    assert list(lame.runs()) == []
    lame.close()


def test_a_transaction_cannot_leave_for_one(app: App) -> None:
    with pytest.raises(DefinitionError, match="cannot leave this process"):

        @app.task(executor="pool", transactional=True)
        def book() -> None: ...


def test_b6_an_app_that_nobody_else_could_import_is_refused_with_what_to_do() -> None:
    # Given
    hidden = App("hidden", database_url="memory://", executors={"crew": shop.crew})

    @hidden.task(executor="crew")
    def work() -> None: ...

    # When / Then
    with pytest.raises(NotImportable, match="hidden"):
        hidden.run(work)
    assert list(hidden.runs()) == []
    hidden.close()


def test_c9_a_part_that_has_grown_for_an_executor_that_is_not_there_fails_and_is_undone(app: App) -> None:
    # Given a flow that is made only when its input is there
    lame = App("lame", database_url="memory://")

    @lame.task
    def size() -> int:
        return 1

    @lame.task(executor="pool")
    def made(n: int) -> int:
        return n

    @lame.flow
    def later(n: int) -> Flow[Any]:
        return linear(made.bind(n))

    @lame.flow
    def grows() -> Flow[Any]:
        found = size.bind()
        return linear(found, later.bind(found))

    # When
    run = lame.run(grows(), check=False)
    # Then
    assert run.state == "REVERTED"
    assert (run.failures[0].type, run.failures[0].kind) == ("UnknownExecutor", "resource")
    lame.close()
