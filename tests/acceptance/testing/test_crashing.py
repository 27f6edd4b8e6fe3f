"""`crash_at`: the process is gone at that very append; and the proofs that are built on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, NotReady, RunOwned, TaskContext, Times, constant, linear, unordered
from flowledger.events import facts
from flowledger.events.errors import FactoryNotPure
from flowledger.testing import Crashed, InMemory, assert_deterministic, assert_survives_crashes, crash_at
from tests.acceptance.logs import log_of, story


class Shop:
    """An app whose bodies write down what they do."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.calls: list[str] = []

        @app.task
        def pack(n: int) -> int:
            self.calls.append(f"pack {n}")
            return n

        @pack.revert
        def unpack(n: int) -> None:
            self.calls.append(f"unpack {n}")

        @app.task
        def send(n: int) -> str:
            self.calls.append(f"send {n}")
            return f"sent {n}"

        @app.flow
        def sell(n: int) -> Flow[str]:
            return linear(pack, send, returns=send)

        self.sell = sell


@pytest.fixture
def shop(flow_app: InMemory) -> Shop:
    return Shop(flow_app.new("shop"))


def test_a_crash_after_an_event_finds_it_in_the_log_and_nothing_that_follows(shop: Shop) -> None:
    # When the process is gone as soon as the start of a task is durable
    with crash_at(shop.app, "TaskStarted", "send") as crash:
        shop.app.run(shop.sell(1), key="k")

    # Then that is the last event, and the body has not run
    assert crash.happened
    assert crash.run_id is not None
    run = shop.app.get(crash.run_id)
    assert (run.state, story(log_of(shop.app, run))[-1]) == ("RUNNING", "TaskStarted send")
    assert shop.calls == ["pack 1"]

    # And another process finds the task interrupted and runs it (C3)
    again = shop.app.run(shop.sell(1), key="k")
    assert (again.id, again.result) == (run.id, "sent 1")
    assert shop.calls == ["pack 1", "send 1"]
    assert [e.type for e in log_of(shop.app, again)].count("TaskInterrupted") == 1


def test_a_crash_before_an_event_loses_what_nobody_had_written_down(shop: Shop) -> None:
    # When the process is gone after a body has run, and before that is durable
    with crash_at(shop.app, facts.TaskSucceeded, "sell/pack", before=True) as crash:
        shop.app.run(shop.sell(1), key="k")

    # Then the log knows that it began, and it runs again
    assert crash.run_id is not None
    assert story(log_of(shop.app, shop.app.get(crash.run_id)))[-1] == "TaskStarted pack"
    shop.app.run(shop.sell(1), key="k")
    assert shop.calls == ["pack 1", "pack 1", "send 1"]


def test_a_crash_before_the_first_append_leaves_nothing(shop: Shop) -> None:
    with crash_at(shop.app, "RunSubmitted", before=True):
        shop.app.run(shop.sell(1), key="k")

    assert list(shop.app.runs()) == []


def test_the_block_is_left_and_a_look_inside_sees_the_crash(shop: Shop) -> None:
    # Given code in the block that catches what the run raises, and tries again
    with crash_at(shop.app, "RunSucceeded"):
        with pytest.raises(Crashed, match="after RunSucceeded"):
            shop.app.run(shop.sell(1), key="k")
        # Then a dead process does nothing more
        with pytest.raises(Crashed):
            shop.app.run(shop.sell(2), key="other")

    assert [run.key for run in shop.app.runs()] == ["k"]


def test_the_nth_of_its_kind(shop: Shop) -> None:
    with crash_at(shop.app, "TaskStarted", nth=2):
        shop.app.run(shop.sell(1), key="k")

    assert shop.calls == ["pack 1"]


def test_other_runs_of_the_process_are_gone_with_it(shop: Shop) -> None:
    with crash_at(shop.app, "TaskSucceeded", "pack"):
        shop.app.run_many([shop.sell(1), shop.sell(2)], keys=["a", "b"])

    assert {run.state for run in shop.app.runs()} == {"RUNNING"}
    runs = shop.app.run_many([shop.sell(1), shop.sell(2)], keys=["a", "b"])
    assert [run.result for run in runs] == ["sent 1", "sent 2"]


def test_a_crash_on_a_file(tmp_path: Path) -> None:
    # Given a log that is committed to on another thread
    shop = Shop(App("shop", database_url=f"sqlite:///{tmp_path}/log.db"))

    with crash_at(shop.app, "TaskSucceeded", "pack"):
        shop.app.run(shop.sell(1), key="k")

    assert shop.app.run(shop.sell(1), key="k").result == "sent 1"
    assert shop.calls == ["pack 1", "send 1"]
    shop.app.close()


def test_what_cannot_happen_is_said(shop: Shop) -> None:
    with pytest.raises(ValueError, match="no event 'TaskSuceeded'; did you mean TaskSucceeded"):
        crash_at(shop.app, "TaskSuceeded").__enter__()
    seen = "TaskStarted of nap; TaskStarted was appended for sell/pack, sell/send"
    with pytest.raises(AssertionError, match=seen), crash_at(shop.app, "TaskStarted", "nap"):
        shop.app.run(shop.sell(1))
    with pytest.raises(ValueError, match="memory://NAME"):
        crash_at(App("x", database_url="memory://"), "RunStarted").__enter__()


def test_of_very_many_paths_where_no_crash_came_a_few_are_named(flow_app: InMemory) -> None:
    app = flow_app.new("many")

    @app.task
    def step() -> None: ...

    @app.flow
    def steps() -> Flow[None]:
        return linear(*(step.bind() for _ in range(100)))

    with pytest.raises(AssertionError, match=r"steps/step-20 and 80 more$"), crash_at(app, "TaskSucceeded", nth=101):
        app.run(steps(), executor="inline")


def test_an_error_in_the_block_is_the_tests_own(shop: Shop) -> None:
    with pytest.raises(RunOwned, match="mine"), crash_at(shop.app, "RunStarted"):
        raise RunOwned("mine")


# -- proofs over whole flows ------------------------------------------------------------------------


class World:
    """What bodies work on: keeps what was made under which key, as a good service does.

    What is made does not depend on who else was asked first: bodies on threads come in any order.
    """

    def __init__(self) -> None:
        self.made: dict[str, int] = {}
        self.asked: dict[str, int] = {}

    def reset(self) -> None:
        self.made.clear()
        self.asked.clear()

    def make(self, key: str) -> int:
        return self.made.setdefault(key, len(self.made))

    def ask(self, key: str) -> int:
        self.asked[key] = self.asked.get(key, 0) + 1
        return self.asked[key]


def careful(app: App, world: World) -> Any:
    """A flow with a retry, a poll and a back-off, whose bodies do not mind to be called again."""

    @app.task
    def make(ctx: TaskContext) -> int:
        return world.make(ctx.idempotency_key)

    @make.revert
    def unmake(ctx: TaskContext) -> None: ...

    @app.task(attempts=2, backoff=constant(0.001))
    def flaky(n: int, ctx: TaskContext) -> int:
        if n < 2:
            raise ValueError("not yet")
        return n

    @app.task(read_only=True)
    def poll(ctx: TaskContext) -> None:
        if world.ask(ctx.idempotency_key) < 3:
            raise NotReady(retry_after=0.001)

    @app.flow
    def all_of_it() -> Flow[None]:
        retry = Times(3, provides="n")
        return linear(unordered(make, poll, name="both"), linear(flaky, name="again", retry=retry))

    return all_of_it()


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_careful_flow_survives_every_crash(flow_app: InMemory, executor: Any) -> None:
    app, world = flow_app.new("careful"), World()

    survived = assert_survives_crashes(app, careful(app, world), executor=executor, before_each=world.reset)

    assert survived >= 2 * 8
    assert app.settings.database_url.startswith("memory://testing-")


def test_a_careless_flow_is_found_out(flow_app: InMemory) -> None:
    # Given a body that counts its calls, whatever its key
    app = flow_app.new("careless")
    calls: list[int] = []

    @app.task
    def count() -> int:
        calls.append(1)
        return len(calls)

    @app.flow
    def counting() -> Flow[int]:
        return linear(count, returns=count)

    with pytest.raises(AssertionError, match=r"after a crash before append \d \(RunSucceeded\) the results are"):
        assert_survives_crashes(app, counting(), before_each=calls.clear)


def test_a_flow_that_does_the_same_again_is_deterministic(flow_app: InMemory) -> None:
    app, world = flow_app.new("careful"), World()
    assert_deterministic(app, careful(app, world), before_each=world.reset)


def test_a_flow_that_does_not_is_found_out(flow_app: InMemory) -> None:
    app = flow_app.new("moody")
    calls: list[int] = []

    @app.task(attempts=2)
    def moody() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not today")

    @app.flow
    def day() -> Flow[None]:
        return linear(moody)

    with pytest.raises(AssertionError, match="day/moody did"):
        assert_deterministic(app, day())


def test_a_factory_that_is_not_pure_is_found_out(flow_app: InMemory) -> None:
    app = flow_app.new("moody")
    built: list[int] = []

    @app.task
    def nothing(n: int) -> None: ...

    @app.flow
    def dated() -> Flow[None]:
        built.append(1)
        return linear(nothing.bind(len(built)))

    with pytest.raises(FactoryNotPure):
        assert_deterministic(app, dated())
