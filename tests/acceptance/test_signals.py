"""Signals: values that come from outside while a run waits for them (rule F4; the time limits of G2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import active_count
from typing import Any

import pytest
from pydantic import BaseModel

from flowledger import App, Flow, Run, Signal, Times, linear, unordered
from flowledger.adapters.ids import new_ulid
from flowledger.core.evolve import fold
from flowledger.events import facts, requests
from flowledger.events.errors import DefinitionError, IllegalRequest, InputError
from flowledger.events.store import Mail
from tests.acceptance.stores import ALL, url_of

from .asked import Gate, background, check_replay, has, log, only, types, until, waits_until_us


class Approval(BaseModel):
    by: str
    ok: bool


approval = Signal("approval", Approval)
number = Signal("number", int)


@pytest.fixture(params=ALL)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    app = App("signals", database_url=url_of(request, tmp_path))
    yield app
    app.close()


@pytest.fixture
def memory() -> Iterator[App]:
    app = App("signals", database_url=f"memory://{new_ulid()}")
    yield app
    app.close()


def send_raw(app: App, run: Run[Any], name: str, payload: bytes, id_: str = "") -> None:
    """A signal as somebody sends it who knows nothing of types."""
    content = requests.encode(requests.Signal(name=name, payload=facts.Raw(payload)))
    app.runtime.store.send([Mail(run.id, id_ or new_ulid(), "signal", content, "me@host", live=True)])


def values(app: App, run: Run[Any]) -> list[Any]:
    """What the waits got, in the order of the log."""
    return [e.event.result for e in log(app, run) if isinstance(e.event, facts.TaskSucceeded) and e.event.signal]


def test_f4_a_wait_gets_what_is_sent_as_the_type_it_has(app: App) -> None:
    # Given
    @app.task
    def roll_out(version: str, decision: Approval) -> str:
        return f"{version} by {decision.by}" if decision.ok else "no"

    @app.flow
    def release(version: str) -> Flow[str]:
        decision = approval.wait(timeout=timedelta(days=7))
        done = roll_out.bind(version, decision)
        return linear(decision, done, returns=done)

    with background(app, release("1.2")) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        # When
        driven.run.send(approval, Approval(by="ada", ok=True), reason="change 77")
    # Then
    assert driven.run.result == "1.2 by ada"
    received = only(app, driven.run, "SignalReceived")
    succeeded = log(app, driven.run)[received.version]
    assert (succeeded.path, succeeded.type) == ("release/approval", "TaskSucceeded")
    assert isinstance(succeeded.event, facts.TaskSucceeded)
    assert succeeded.event.signal == received.version
    check_replay(app, release("1.2"), driven.run)


def test_f4_what_comes_before_anybody_waits_is_kept_oldest_first(app: App) -> None:
    # Given
    @app.flow
    def work() -> Flow[None]:
        return linear(number.wait(), number.wait(), number.wait())

    with background(app, work()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.suspend(reason="r")
    # When three come while nobody drives the run
    for value in (1, 2, 3):
        driven.run.send(number, value)
    assert driven.run.resume().state == "SUCCEEDED"
    # Then
    assert [bytes(v) for v in values(app, driven.run)] == [b"1", b"2", b"3"]
    check_replay(app, work(), driven.run)


def test_f4_of_two_waits_who_waits_longer_gets_it_first(memory: App) -> None:
    # Given
    @memory.flow
    def work() -> Flow[list[int]]:
        both = unordered(number.wait(), number.wait())
        return linear(both, returns=both)

    with background(memory, work()) as driven:
        until(lambda: types(memory, driven.run).count("TaskWaiting") == 2)
        first, second = [e.path for e in log(memory, driven.run) if e.type == "TaskWaiting"]
        driven.run.send(number, 7)
        until(lambda: has(memory, driven.run, "TaskSucceeded"))
        assert "TaskSucceeded" in types(memory, driven.run, path=first)
        driven.run.send(number, 8)
    assert "TaskSucceeded" in types(memory, driven.run, path=second)
    check_replay(memory, work(), driven.run)


def test_f4_sent_twice_under_one_id_it_comes_once(memory: App) -> None:
    # Given
    @memory.flow
    def work() -> Flow[None]:
        return linear(number.wait(), number.wait())

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        # When
        send_raw(memory, driven.run, "number", b"1", "same")
        until(lambda: types(memory, driven.run).count("TaskWaiting") == 2)
        send_raw(memory, driven.run, "number", b"1", "same")
        send_raw(memory, driven.run, "number", b"2", "other")
    # Then
    assert [bytes(v) for v in values(memory, driven.run)] == [b"1", b"2"]


def test_f4_a_reset_scope_does_not_get_a_used_signal_back(app: App) -> None:
    # Given a scope whose first round fails after it has taken a signal
    @app.task(read_only=True)
    def checks(value: int) -> int:
        if value == 1:
            raise ValueError("not that one")
        return value

    @app.flow
    def work() -> Flow[int]:
        value = number.wait()
        checked = checks.bind(value)
        return linear(value, checked, returns=checked, retry=Times(2))

    with background(app, work()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.send(number, 1)
        # When the second round waits
        until(lambda: types(app, driven.run).count("TaskWaiting") == 2)
        driven.run.send(number, 2)
    # Then
    assert driven.run.result == 2
    check_replay(app, work(), driven.run)


def test_f4_what_was_not_taken_when_a_scope_drained_is_for_the_next_round(memory: App) -> None:
    # Given a wait beside something that fails, and a signal that comes in the second round's turn
    @memory.task(read_only=True)
    def breaks() -> None:
        raise ValueError("no")

    @memory.flow
    def work() -> Flow[None]:
        return linear(linear(number.wait(), breaks, retry=Times(2)))

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        driven.run.send(number, 1)
        driven.run.send(number, 2)
    # Then each round took one
    assert driven.state == "REVERTED"
    assert [bytes(v) for v in values(memory, driven.run)] == [b"1", b"2"]
    check_replay(memory, work(), driven.run)


def test_f4_a_payload_of_another_type_is_refused_and_the_wait_goes_on(app: App) -> None:
    # Given
    @app.flow
    def work() -> Flow[int]:
        value = number.wait()
        return linear(value, returns=value)

    with background(app, work()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        # When
        send_raw(app, driven.run, "number", b'"many"')
        until(lambda: has(app, driven.run, "RequestRefused"))
        assert driven.state == "RUNNING"
        driven.run.send(number, 3)
    # Then
    assert driven.run.result == 3
    refused = only(app, driven.run, "RequestRefused").event
    assert isinstance(refused, facts.RequestRefused)
    assert (refused.kind, "valid integer" in refused.why) == ("signal", True)
    check_replay(app, work(), driven.run)


def test_f4_a_payload_that_came_before_its_wait_was_known_is_refused_by_the_wait(memory: App) -> None:
    # Given a flow whose wait is in an expansion, and a payload that comes before it is made
    gate = Gate()

    @memory.task
    def lists() -> list[int]:
        gate.wait()
        return [1]

    @memory.flow
    def one(n: int) -> Flow[int]:
        value = number.wait()
        return linear(value, returns=value)

    @memory.flow
    def work() -> Flow[list[int]]:
        items = lists.bind()
        values_ = one.each(items)
        return linear(items, values_, returns=values_)

    with background(memory, work()) as driven:
        assert gate.reached.wait(20)
        send_raw(memory, driven.run, "number", b'"many"')
        until(lambda: has(memory, driven.run, "SignalReceived"))
        gate.opened.set()
        # When the wait meets it
        until(lambda: has(memory, driven.run, "RequestRefused"))
        driven.run.send(number, 3)
    # Then
    assert driven.run.result == [3]
    check_replay(memory, work(), driven.run)


def test_f4_whoever_asks_is_told_that_it_does_not_fit(memory: App) -> None:
    # Given
    @memory.flow
    def work() -> Flow[None]:
        return linear(number.wait())

    anything: Any = number
    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        # When / Then: here
        with pytest.raises(InputError, match="not what signal number takes"):
            driven.run.send(anything, "many")
        # or by who drives the run
        with pytest.raises(IllegalRequest, match="valid integer"):
            memory.ask(driven.run.id, requests.Signal(name="number", payload=facts.Raw(b'"many"')))
        driven.run.send(number, 3)


def test_f4_a_signal_nobody_waits_for_is_kept(memory: App) -> None:
    # Given
    @memory.flow
    def work() -> Flow[None]:
        return linear(number.wait())

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        # When
        send_raw(memory, driven.run, "numbre", b"1")
        until(lambda: has(memory, driven.run, "SignalReceived"))
        driven.run.send(number, 1)
    # Then
    state = fold(memory.plan(work()), log(memory, driven.run))
    assert list(state.signals) == ["numbre"]
    assert driven.state == "SUCCEEDED"


def test_f4_without_a_signal_in_time_the_wait_fails(memory: App) -> None:
    # Given
    @memory.flow
    def work() -> Flow[None]:
        return linear(number.wait(timeout=0.05))

    # When
    run = memory.run(work(), check=False)
    # Then
    assert run.state == "REVERTED"
    [failure] = run.failures
    assert (failure.kind, failure.message) == ("timeout", "no signal number within 0.05 s")
    assert types(memory, run, path="work/number") == ["TaskWaiting", "TimerFired", "TaskFailed"]
    check_replay(memory, work(), run)


def test_g2_a_time_limit_does_not_count_suspended_time(memory: App) -> None:
    # Given a wait with a limit, suspended
    @memory.flow
    def work() -> Flow[None]:
        return linear(number.wait(timeout=3600))

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        before = waits_until_us(memory, work(), driven.run)
        driven.run.suspend(reason="r")
    assert waits_until_us(memory, work(), driven.run) is None  # nothing wakes it
    # When
    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "RunResumed"))
        after = waits_until_us(memory, work(), driven.run)
        driven.run.send(number, 1)
    # Then the limit is later by just as much
    events = {e.type: e.time_us for e in log(memory, driven.run)}
    assert before is not None
    assert after == before + events["RunResumed"] - events["RunSuspended"]
    check_replay(memory, work(), driven.run)


def test_f3_a_wait_holds_no_thread(memory: App) -> None:
    # Given
    @memory.flow
    def work() -> Flow[None]:
        return linear(unordered(*(number.wait() for _ in range(200))))

    @memory.flow
    def nothing() -> Flow[None]:
        return linear()

    memory.run(nothing())
    threads = active_count()
    # When
    with background(memory, work()) as driven:
        until(lambda: types(memory, driven.run).count("TaskWaiting") == 200)
        assert active_count() <= threads + 2  # the test's own, and the mailroom
        for value in range(200):
            driven.run.send(number, value)
    # Then all of them went to somebody, in the order in which they came
    got = [int(bytes(v)) for v in values(memory, driven.run)]
    assert got == list(range(200))


def test_f4_large_payloads_are_moved_out(app: App) -> None:
    # Given
    text = Signal("text", str)

    @app.flow
    def work() -> Flow[str]:
        value = text.wait()
        return linear(value, returns=value)

    large = "x" * 100_000
    with background(app, work()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.send(text, large)
    # Then
    assert app.get(driven.run.id).result == large
    received = only(app, driven.run, "SignalReceived").event
    assert isinstance(received, facts.SignalReceived)
    assert received.moved is not None
    check_replay(app, work(), driven.run)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_time_limit_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(DefinitionError, match=r"signal number.wait\(…\) at .*is no duration"):
        number.wait(timeout=timeout)


def test_a_signal_needs_a_name_that_is_one() -> None:
    with pytest.raises(DefinitionError):
        Signal("a/b", int)


def test_the_fingerprint_covers_name_and_time_limit(memory: App) -> None:
    def fingerprint(signal: Signal[Any], timeout: float | None) -> str:
        app = App("prints", database_url="memory://")

        @app.flow
        def work() -> Flow[None]:
            return linear(signal.wait(timeout=timeout).named("it"))

        return app.plan(work()).fingerprint

    same = fingerprint(number, 5)
    assert fingerprint(number, 5) == same
    assert fingerprint(number, 6) != same
    assert fingerprint(Signal("other", int), 5) != same
