"""Expansions that cannot be made, branches in them, and code that has changed (rules E6, E7, E8)."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger import (
    App,
    Flow,
    Nondeterminism,
    PlanDiffers,
    RunReverted,
    Times,
    graph,
    linear,
    link,
    switch,
    symbol,
)
from flowledger.adapters import loading
from flowledger.core import replay
from flowledger.core.evolve import fold
from flowledger.events import facts
from tests.acceptance.growing import (
    app,
    calls,
    expanded,
    less,
    lists,
    make,
    nothing_called,
    numbers,
    picky,
    ran,
    square,
    varying,
)  # fmt: skip

__all__ = ["nothing_called"]

# -- errors in user code --------------------------------------------------------------------------


@app.flow
def picky_rounds() -> Flow[list[int]]:
    many = picky.each(varying)
    return linear(varying, many, returns=many, retry=Times(2))


def test_d7_a_factory_that_raises_is_a_failure_that_the_retry_is_asked_about() -> None:
    lists.extend([[1, -2], [1, 2]])
    run, log = ran(picky_rounds())
    assert run.result == [1, 2]
    errors = [(e.path, e.event.error) for e in log if isinstance(e.event, facts.FlowExpanded) and e.event.error]
    assert [(path, error.kind, error.message) for path, error in errors] == [
        ("picky_rounds/each", "expansion", "no flow for -2")
    ]
    decided = next(e.event for e in log if isinstance(e.event, facts.RetryDecided))
    assert [failure.path for failure in decided.failures] == ["picky_rounds/each"]


def test_d7_the_exception_is_the_cause_of_the_errors_raised() -> None:
    lists.append([-2])
    with pytest.raises(RunReverted, match="no flow for -2") as caught:
        app.run(picky_once(), executor="inline")
    assert isinstance(caught.value.__cause__, LookupError)


@app.flow
def picky_once() -> Flow[list[int]]:
    return linear(varying, many := picky.each(varying), returns=many)


@app.flow
def misfit() -> Flow[list[int]]:
    return linear(varying, many := make.each(varying), returns=many)


def test_d7_items_of_a_wrong_type_are_a_failure_of_the_expansion() -> None:
    lists.append([1, "two", 3])
    run, _ = ran(misfit())
    assert run.state == "REVERTED"
    assert (run.failures[0].path, run.failures[0].kind) == ("misfit/each", "expansion")
    assert "`n.1` expected" in run.failures[0].message


@app.flow
def promises(n: int) -> Flow[str]:
    made: Any = make.bind(n)
    return linear(made, returns=made)


@app.flow
def asks_too_much(n: int) -> Flow[None]:
    return linear(asks.bind(n))


@app.task
def asks(n: int, nobody: str) -> None: ...


@app.flow
def endless(n: int) -> Flow[None]:
    return linear(endless.bind(symbol("n")))


@app.flow
def wrongly(which: int) -> Flow[None]:
    step = less.bind(which)
    return linear(step, [promises, asks_too_much, endless][which].bind(step))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("which", "path", "said"),
    [
        (0, "promises", "annotated to return a flow of str"),
        (1, "asks_too_much", "`nobody` of asks"),
        (2, "/".join(["endless"] * 1_001), "the 1,001th expansion in one another"),
    ],
)
def test_d7_a_flow_that_is_wrong_where_it_stands_is_a_failure(which: int, path: str, said: str) -> None:
    run, _ = ran(wrongly(which), again=False)
    assert (run.state, run.failures[0].path, run.failures[0].kind) == ("REVERTED", f"wrongly/{path}", "expansion")
    assert said in run.failures[0].message


# -- branches -------------------------------------------------------------------------------------


def enough(n: int) -> bool:
    return n > 2


@app.flow
def maybe(n: int) -> Flow[None]:
    gate, every = less.bind(n), numbers.bind(2)
    many = make.each(every).named("many")
    after = make.bind(9).named("after")
    return graph(gate, every, many, after, link(gate, many, when=enough, depth="atom"), link(many, after))


@pytest.mark.parametrize(("n", "made"), [(5, ["many/make", "many/make-2", "after"]), (1, ["after"])])
def test_e6_an_expansion_may_be_skipped(n: int, made: list[str]) -> None:
    run, log = ran(maybe(n))
    assert (run.state, calls, len(expanded(log))) == ("SUCCEEDED", made, len(made) // 2)


@app.flow
def stops_early(n: int) -> Flow[None]:
    gate, work = less.bind(n), make.bind(n)
    return graph(gate, work, link(gate, work, when=enough, depth="all"))


@app.flow
def stopping() -> Flow[None]:
    every = numbers.bind(5)
    return linear(every, stops_early.each(every).named("many"), make.bind(9).named("after"))


def test_e6_a_no_inside_takes_along_nothing_outside() -> None:
    run, _ = ran(stopping())
    assert (run.state, calls) == ("SUCCEEDED", ["many/stops_early-4/make", "many/stops_early-5/make", "after"])


@app.flow
def chosen(which: bool) -> Flow[list[int]]:
    every = numbers.bind(2)
    on = decide.bind(which)
    case = switch(on, {True: square.each(every).named("squares"), False: picky.each(every).named("made")}, name="case")
    return linear(every, on, case, returns=case)


@app.task(read_only=True)
def decide(which: bool) -> bool:
    return which


@pytest.mark.parametrize(("which", "result"), [(True, [1, 4]), (False, [1, 2])])
def test_e6_the_cases_of_a_switch_may_be_expansions(which: bool, result: list[int]) -> None:
    run, log = ran(chosen(which))
    assert (run.result, len(expanded(log))) == (result, 1)


# -- code that has changed ------------------------------------------------------------------------


def changing(factor: int, *, purely: bool = True) -> App:
    """An app whose inner factory makes other flows by ``factor``."""
    changed = App("changing", database_url="memory://")

    @changed.task(read_only=True)
    def upto(n: int) -> list[int]:
        return list(range(n))

    @changed.task(read_only=True)
    def times(n: int, by: int) -> int:
        return n * by

    @changed.flow
    def one(n: int) -> Flow[int]:
        if not purely:
            raise LookupError("no more")
        return linear(made := times.bind(n, factor), returns=made)

    @changed.flow
    def root(n: int) -> Flow[list[int]]:
        every = upto.bind(n)
        return linear(every, many := one.each(every), returns=many)

    changed.__dict__["root"] = root
    return changed


@pytest.mark.parametrize(
    ("today", "said"), [(changing(3), "another flow"), (changing(2, purely=False), "no flow: no more")]
)
def test_e8_of_the_same_values_todays_code_must_make_the_same_flow(today: App, said: str) -> None:
    # Given a run, and code that makes another flow of the list it has expanded
    before = changing(2)
    run = before.run(before.__dict__["root"](2), executor="inline")
    log, plan = loading.read(before.runtime.store, run.id), today.plan(today.__dict__["root"](2), executor="inline")
    # When it is folded, then that is refused
    with pytest.raises(PlanDiffers, match=said):
        fold(plan, log)
    # When it is replayed, then the event is named
    with pytest.raises(Nondeterminism, match=said) as caught:
        replay.check(plan, log)
    assert log[caught.value.version - 1].type == "FlowExpanded"
