"""Tasks for flows that grow while they run, and `ran`, which checks what must hold of every such run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowledger import App, Flow, Run, TaskContext, linear
from flowledger.adapters import loading
from flowledger.core import replay
from flowledger.core.evolve import fold
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.agreeing import views_agree
from tests.crash.compare import comparable

app = App("growing", database_url="memory://")
calls: list[str] = []
lists: list[list[Any]] = []  # what `varying` answers, round after round


def name_of(ctx: TaskContext) -> str:
    """The path without the root's name."""
    return ctx.path.partition("/")[2]


@app.task(read_only=True)
def numbers(upto: int) -> list[int]:
    return list(range(1, upto + 1))


@app.task(provides="found")
def varying(ctx: TaskContext) -> list[Any]:
    """Another list each time it is asked."""
    calls.append("varying")
    return lists.pop(0)


@varying.revert
def unvary() -> None:
    calls.append("-varying")


@app.task(provides="made")
def make(n: int, ctx: TaskContext) -> int:
    """Fails where n is negative."""
    calls.append(name_of(ctx))
    if n < 0:
        raise ValueError(f"{n} is negative")
    return n


@make.revert
def unmake(n: int, ctx: TaskContext) -> None:
    calls.append(f"-{name_of(ctx)}")


@app.task(read_only=True)
def square(n: int, plus: int = 0) -> int:
    return n * n + plus


@app.task(read_only=True)
def total(values: list[int]) -> int:
    return sum(values)


@app.task(read_only=True)
def less(n: int) -> int:
    return n - 1


@app.task(read_only=True)
def same(values: list[int]) -> list[int]:
    return values


def ran(flow: Flow[Any], executor: Any = "inline", *, again: bool = True) -> tuple[Run[Any], list[Envelope]]:
    """Run it. Its log must be valid and complete, fold to the state the engine had, and be written again like that."""
    answers = [list(answer) for answer in lists]
    run = app.execute(flow, executor=executor)
    log, loaded, plan = log_of(run), app.load_run(run.id), app.plan(flow, executor=executor)
    replay.check_complete(plan, replay.check(plan, log, moved=loaded.moved))
    assert fold(plan, log, loaded.moved).dump() == loaded.state.dump() == run._load().state.dump()
    views_agree(app.runtime.store, log)
    if again and executor == "inline":
        called = list(calls)
        lists.extend(answers)
        other = app.execute(flow, executor=executor)
        assert comparable(log_of(other)) == comparable(log)
        calls[:] = called
    return run, log


def log_of(run: Run[Any]) -> list[Envelope]:
    return loading.read(app.runtime.store, run.id)


def expanded(log: list[Envelope]) -> list[tuple[str, str, int]]:
    """Where, of which values, into how many parts."""
    return [
        (e.path, bytes(e.event.values).decode(), e.event.children)
        for e in log
        if isinstance(e.event, facts.FlowExpanded) and e.event.error is None
    ]


def paths(log: list[Envelope], of: type[facts.Event] = facts.TaskStarted) -> list[str]:
    """Where this happened, without the root's name."""
    return [e.path.partition("/")[2] for e in log if isinstance(e.event, of)]


def below_the_root(log: list[Envelope]) -> list[str]:
    """What two flows of other names and the same parts have in common."""
    root = next(e.path for e in log if e.path)
    facts_ = [fact for fact in comparable(log) if not fact.type.startswith("Run")]
    return [repr(fact).replace(f"{root.partition('/')[0]}/", "") for fact in facts_]


@app.flow
def picky(n: int) -> Flow[int]:
    """A flow that cannot be built for every number."""
    if n < 0:
        raise LookupError(f"no flow for {n}")
    made = make.bind(n)
    return linear(made, returns=made)


@pytest.fixture(autouse=True)
def nothing_called() -> Iterator[None]:
    """Each test begins with bodies that have not been called, and without lists."""
    yield
    calls.clear()
    lists.clear()
