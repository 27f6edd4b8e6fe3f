"""`sleep` on the real engine (SEMANTICS F1, F3)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from flowledger import App, Flow, Times, linear, sleep, unordered
from flowledger.adapters.stores import open_store
from flowledger.core import replay
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import DefinitionError, Fenced
from flowledger.events.store import START

ROOT = Path(__file__).parents[2]
calls: list[str] = []


@pytest.fixture
def app() -> Iterator[App]:
    app = App("sleeps", database_url="memory://")
    calls.clear()
    yield app
    app.close()


def test_f3_a_sleep_is_two_events_and_a_timer(app: App) -> None:
    # Given a sleep between two tasks
    @app.task(read_only=True)
    def note() -> None:
        calls.append("note")

    @app.flow
    def slow() -> Flow[None]:
        return linear(note, sleep(0.05), note)

    seen: list[Envelope] = []
    # When it runs
    run = app.execute(slow(), executor="inline", observe=seen.extend)
    # Then the due time is in the log before it passes, and what follows starts after it
    slept = [e for e in seen if e.path == "slow/sleep"]
    assert run.state == "SUCCEEDED"
    assert [e.type for e in slept] == ["TaskWaiting", "TimerFired", "TaskSucceeded"]
    waiting = slept[0].event
    assert isinstance(waiting, facts.TaskWaiting)
    assert waiting.until is not None
    assert slept[1].time_us >= waiting.until >= slept[0].time_us + 49_000
    replay.check_complete(app.plan(slow()), replay.check(app.plan(slow()), seen))


def test_many_sleeps_hold_no_thread(app: App) -> None:
    # Given a hundred sleeps side by side, with far fewer threads than that
    @app.flow
    def wide() -> Flow[list[None]]:
        return unordered(*[sleep(0.1) for _ in range(100)])

    seen: list[Envelope] = []
    assert app.execute(wide(), observe=seen.extend).state == "SUCCEEDED"
    # Then all of them waited at the same time
    types = [e.type for e in seen if e.path]
    assert types[:100] == ["TaskWaiting"] * 100


def test_a_sleep_until_a_time_that_has_passed_is_over_at_once(app: App) -> None:
    @app.flow
    def past() -> Flow[None]:
        return linear(sleep(datetime(2000, 1, 1, tzinfo=UTC)), sleep(timedelta(0)))

    assert app.run(past()).state == "SUCCEEDED"


def test_d1_a_sleep_in_a_failing_scope_ends_at_once_and_reverts_keep_their_order_across_it(app: App) -> None:
    # Given a day's sleep beside a task that fails the first time, and one between two tasks
    @app.task
    def first() -> None:
        calls.append("first")

    @first.revert
    def undo_first() -> None:
        calls.append("-first")

    @app.task
    def flaky(n: int) -> None:
        calls.append(f"flaky {n}")
        if n == 1:
            raise ValueError("not yet")

    @flaky.revert
    def undo_flaky() -> None:
        calls.append("-flaky")

    @app.flow
    def scope() -> Flow[None]:
        steps = linear(first, sleep(0.01), flaky, name="steps")
        return linear(unordered(steps, sleep(86_400).named("day"), name="both"), retry=Times(2, provides="n"))

    seen: list[Envelope] = []
    second_round = Event()

    def observe(envelopes: Sequence[Envelope]) -> None:
        seen.extend(envelopes)
        if "flaky 2" in calls:
            second_round.set()

    # When it runs until the second round has got past the task
    def run() -> None:
        with suppress(Fenced):  # the day is not waited for here either: the app is closed under it
            app.execute(scope(), observe=observe)

    Thread(target=run, daemon=True).start()
    assert second_round.wait(20)
    # Then the day was not waited for, the round was undone in order, and the second round sleeps again
    assert calls == ["first", "flaky 1", "-flaky", "-first", "first", "flaky 2"]
    assert [e.path for e in seen if e.type == "TaskWaiting"].count("scope/both/day") == 2
    replay.check(app.plan(scope()), seen)


PROGRAM = """
import sys
from flowledger import App, Flow, linear, sleep
app = App("sleeper", database_url=sys.argv[1])

@app.task(read_only=True)
def note(text: str) -> str:
    print(text, flush=True)
    return text

@app.flow
def nap() -> Flow[str]:
    last = note.bind("after")
    return linear(note.bind("before").named("before"), sleep(1.5), last, returns=last)

print(app.run(nap(), key="nap").result, flush=True)
"""


def test_f3_a_sleep_survives_kill_9_with_its_due_time(tmp_path: Path) -> None:
    # Given a process that sleeps in a flow and is killed meanwhile
    url = f"sqlite:///{tmp_path}/nap.db"
    command = [sys.executable, "-c", PROGRAM, url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert first.stdout is not None
    assert first.stdout.readline() == "before\n"
    store, cursor, types = open_store(url), START, list[str]()
    while "TaskWaiting" not in types:
        assert store.wait(cursor, timeout_s=20)
        for followed in store.read_all(cursor):
            cursor = followed.cursor
            types.append(followed.event.type)
    store.close()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    # When the same call is made again
    began = datetime.now(UTC)
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    # Then it waits for what was left, and does not begin again
    assert again.stdout == "after\nafter\n"
    assert datetime.now(UTC) - began < timedelta(seconds=30)


@pytest.mark.parametrize("duration", [-1, float("inf"), float("nan"), datetime(2030, 1, 1)])  # noqa: DTZ001
def test_a_sleep_that_is_none_is_refused(duration: float | datetime) -> None:
    with pytest.raises(DefinitionError, match=r"test_sleep\.py"):
        sleep(duration)
