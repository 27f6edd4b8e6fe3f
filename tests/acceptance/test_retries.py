"""The retries of a flow, on the real engine (SEMANTICS D1–D7, TASKFLOW 1.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from pydantic import BaseModel

from flowledger import (
    AlwaysRevert,
    AlwaysRevertAll,
    App,
    Deadline,
    Failure,
    Flow,
    Retry,
    RunReverted,
    Times,
    Try,
    TryEach,
    constant,
    linear,
    symbol,
)
from flowledger.core import replay
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.facts import Decision


class Zone(BaseModel):
    name: str


@pytest.fixture
def app() -> Iterator[App]:
    app = App("retries", database_url="memory://")
    yield app
    app.close()


class Calls(list[str]):
    """What the bodies did; ``bad`` are the arguments with which they fail."""

    def __init__(self, *bad: object) -> None:
        super().__init__()
        self.bad = bad

    def meet(self, what: object) -> None:
        self.append(str(what))
        if what in self.bad:
            raise ValueError(f"{what} is bad")


def test_tf_r9_try_each_goes_through_its_values_until_one_succeeds(app: App) -> None:
    # Given a flow that fails in the first two zones
    calls = Calls("a", "b")

    @app.task(read_only=True)
    def probe(zone: str) -> str:
        calls.meet(zone)
        return zone

    @app.flow
    def find() -> Flow[str]:
        found = probe.bind()
        return linear(found, returns=found, retry=TryEach(["a", "b", "c"], provides="zone"))

    # When it runs, then the third is its result
    assert app.run(find()).result == "c"
    assert calls == ["a", "b", "c"]


def test_tf_r9_try_each_tries_a_value_again_that_stands_twice_and_gives_up_at_the_end(app: App) -> None:
    calls = Calls("a")

    @app.task(read_only=True)
    def probe(zone: str) -> None:
        calls.meet(zone)

    @app.flow
    def find() -> Flow[None]:
        return linear(probe, retry=TryEach(["a", "a"], provides="zone"))

    with pytest.raises(RunReverted) as caught:
        app.run(find())
    assert calls == ["a", "a"]
    assert [failure.message for failure in caught.value.failures] == ["a is bad"]


def test_tf_r9_try_each_of_nothing_is_a_failure_of_the_retry(app: App) -> None:
    @app.task(read_only=True)
    def probe(zone: str) -> None: ...

    @app.flow
    def find() -> Flow[None]:
        return linear(probe, retry=TryEach(list[str](), provides="zone"))

    with pytest.raises(RunReverted) as caught:
        app.run(find())
    assert [(f.kind, f.path) for f in caught.value.failures] == [("retry", "find")]


def test_tf_r10_try_each_takes_its_values_from_a_task(app: App) -> None:
    # Given zones that a task lists, as models
    calls = Calls("a")

    @app.task(provides="zones", read_only=True)
    def list_zones() -> list[Zone]:
        return [Zone(name="a"), Zone(name="b")]

    @app.task(read_only=True)
    def probe(zone: Zone) -> str:
        calls.meet(zone.name)
        return zone.name

    @app.flow
    def find(by_name: bool) -> Flow[str]:
        listed, found = list_zones.bind(), probe.bind()
        each: TryEach[Zone] = TryEach(symbol("zones") if by_name else listed, provides="zone")
        return linear(listed, linear(found, returns=found, retry=each, name="each"), returns=found)

    # When it runs, then each is tried, as the type the body asks for
    for by_name in (True, False):
        calls.clear()
        assert app.run(find(by_name)).result == "b"
        assert calls == ["a", "b"]


def test_a_deadline_retries_until_its_time_is_over_by_the_log(app: App) -> None:
    # Given a flow that never succeeds and may try for 500 ms, waiting 200 ms between rounds
    calls = Calls(1, 2, 3, 4, 5, 6, 7, 8, 9)

    @app.task(read_only=True)
    def attempt(n: int) -> None:
        calls.meet(n)

    @app.flow
    def hope() -> Flow[None]:
        return linear(attempt, retry=Deadline(0.5, backoff=constant(0.2), provides="n"))

    seen: list[Envelope] = []
    run = app.execute(hope(), observe=seen.extend)
    # Then it has tried more than once, and gave up at the first answer after its time
    rounds = [e.time_us for e in seen if isinstance(e.event, facts.RoundStarted)]
    answers = [(e.time_us, e.event.decision) for e in seen if isinstance(e.event, facts.RetryDecided)]
    assert run.state == "REVERTED"
    assert len(rounds) >= 2
    assert [decision for _, decision in answers] == ["RETRY"] * (len(rounds) - 1) + ["REVERT"]
    assert answers[-2][0] - rounds[0] < 500_000 + 5_000
    replay.check(app.plan(hope()), seen)


@pytest.mark.parametrize(("inner", "asked"), [(AlwaysRevert(), True), (AlwaysRevertAll(), False)])
def test_tf_r7_always_revert_asks_the_scope_around_it_and_always_revert_all_nobody(
    app: App, inner: Retry[None], asked: bool
) -> None:
    # Given a retry inside another that would try twice
    calls = Calls("x")

    @app.task(read_only=True)
    def fails() -> None:
        calls.meet("x")

    @app.flow
    def nested() -> Flow[None]:
        return linear(linear(fails, retry=inner, name="inner"), retry=Times(2))

    assert app.run(nested(), check=False).state == "REVERTED"
    assert calls == (["x", "x"] if asked else ["x"])


class UntilOdd(Retry[int]):
    """Counts up by ``step`` until told otherwise, and stops at a failure that says so."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.provides = "n"

    def value(self, history: Sequence[Try[int]]) -> int:
        return history[-1].value + self.step if history else 0

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        return "REVERT" if "stop" in history[-1].failures[0].message else "RETRY"


def test_a_retry_of_ones_own_sees_its_values_and_failures(app: App) -> None:
    calls = list[int]()

    @app.task(read_only=True)
    def probe(n: int) -> int:
        calls.append(n)
        if n < 4:
            raise ValueError("more")
        return n

    @app.flow
    def count() -> Flow[int]:
        found = probe.bind()
        return linear(found, returns=found, retry=UntilOdd(2))

    assert app.run(count()).result == 4
    assert calls == [0, 2, 4]


class Broken(Retry[int]):
    def value(self, history: Sequence[Try[int]]) -> int:
        return 1

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        raise LookupError("no opinion")


def test_d7_an_error_in_a_retry_is_a_failure_of_its_scope(app: App) -> None:
    undone = list[str]()

    @app.task
    def fails() -> None:
        raise ValueError("first")

    @fails.revert
    def undo(failures: list[Failure]) -> None:
        undone.extend(failure.message for failure in failures)

    @app.flow
    def flow() -> Flow[None]:
        return linear(fails, retry=Broken())

    with pytest.raises(RunReverted) as caught:
        app.run(flow())
    assert [failure.message for failure in caught.value.failures] == ["no opinion", "first"]
    assert undone == ["no opinion", "first"]


def test_tf_r3_a_retry_with_symbols_is_part_of_the_plan(app: App) -> None:
    # Given two flows that differ in nothing but what their retry goes through
    @app.task(read_only=True)
    def probe(zone: str) -> None: ...

    @app.flow
    def find(zones: list[str]) -> Flow[None]:
        return linear(probe, retry=TryEach(zones, provides="zone"))

    assert app.plan(find(["a"])).fingerprint != app.plan(find(["b"])).fingerprint
    assert app.plan(find(["a"])).fingerprint == app.plan(find(["a"])).fingerprint
