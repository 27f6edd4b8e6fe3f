"""Listeners: told of every transition in this process, and never in the way of a run."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from threading import Event, current_thread

import pytest

from flowledger import (
    App,
    Duration,
    DurationListener,
    Envelope,
    Flow,
    IllegalRequest,
    InputError,
    LoggingListener,
    NotReady,
    Progress,
    TaskContext,
    Times,
    linear,
)
from flowledger.adapters import listening
from flowledger.events import facts
from flowledger.testing import InMemory, VirtualClock
from tests.acceptance.logs import log_of, story

START_OF_A_RUN = ["RunSubmitted", "RunClaimed", "RunStarted"]


@pytest.fixture
def app(flow_app: InMemory) -> App:
    app = flow_app.new("heard")

    @app.task(provides="n")
    def one() -> int:
        return 1

    @app.task
    def two(n: int, ctx: TaskContext) -> int:
        ctx.progress(0.5, "half-way")
        ctx.progress(7.0)
        return n + 1

    @app.task
    def fails() -> None:
        raise ValueError("no")

    app.flow(name="good")(lambda: linear(one, two, returns=two))
    app.flow(name="bad")(lambda: linear(one, fails))
    return app


def run(app: App, flow: str = "good", **options: object) -> list[Envelope]:
    """Run a flow and give its log."""
    from flowledger.core.compiler import rebuild  # noqa: PLC0415 - by name, as the command line does

    return log_of(app, app.run(rebuild(app, flow, b"{}"), check=False, **options))  # type: ignore[arg-type]


def test_a_listener_hears_every_event_in_order_and_then_no_more(app: App) -> None:
    heard: list[Envelope] = []
    # Given a listener for the time of a block
    with app.listening(heard.append):
        log = run(app)
    run(app)

    # Then it has heard the log of that run, and nothing of the next
    assert heard == log


def test_a_decorator_gives_the_function_back_and_filters_by_event(app: App) -> None:
    # Given listeners for some events, named by class or by name, sync and async
    heard: list[tuple[str, str]] = []

    @app.listen("TaskFailed", facts.TaskReverted)
    def sync(envelope: Envelope) -> None:
        heard.append(("sync", envelope.type))

    @app.listen("TaskFailed")
    async def native(envelope: Envelope) -> None:
        await asyncio.sleep(0)
        heard.append(("async", envelope.type))

    @app.listen
    def all_of_it(envelope: Envelope) -> None:
        heard.append(("all", envelope.type))

    # When a run fails
    log = run(app, "bad")

    # Then each has heard what it asked for
    assert app.listeners.drain(20)
    assert [type_ for who, type_ in heard if who == "sync"] == ["TaskFailed", "TaskReverted", "TaskReverted"]
    assert [type_ for who, type_ in heard if who == "async"] == ["TaskFailed"]
    assert [type_ for who, type_ in heard if who == "all"] == [e.type for e in log]
    assert sync.__name__ == "sync"


def test_what_is_heard_is_durable(app: App, tmp_path: Path) -> None:
    # Given a log in a file
    found: list[bool] = []

    def look(envelope: Envelope) -> None:
        found.append(any(e.version == envelope.version for e in app.runtime.store.read(envelope.run_id)))

    with app.using(database_url=f"sqlite:///{tmp_path}/log.db"), app.listening(look):
        run(app)

    assert len(found) > 5
    assert all(found)


# -- a listener can never disturb a run ---------------------------------------------------------------


def test_one_that_raises_is_logged_and_goes_on(app: App, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def raises(envelope: Envelope) -> None:
        heard.append(envelope.type)
        raise SystemExit(3) if envelope.type == "TaskStarted" else RuntimeError("oh")

    with app.listening(raises):
        log = run(app)

    assert log[-1].type == "RunSucceeded"
    assert heard == [e.type for e in log]
    assert len(caplog.records) == len(log)
    assert f"raises failed on event 1 RunSubmitted of run {log[0].run_id}" in caplog.text


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_that_never_comes_back_delays_nobody(app: App, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a listener that hangs at its first event, and another one
    monkeypatch.setattr(listening, "DRAIN_S", 0.05)
    free, heard = Event(), list[str]()

    def hangs(envelope: Envelope) -> None:
        free.wait(60)

    async def hangs_too(envelope: Envelope) -> None:
        await asyncio.to_thread(free.wait, 60)

    app.listen(hangs if kind == "sync" else hangs_too)
    hears = app.listen(lambda envelope: heard.append(envelope.type))

    # When runs go on meanwhile, and the app is closed
    logs = [run(app) for _ in range(3)]
    assert not app.listeners.drain(0.1)
    assert app.listeners.drain(20, listener=hears)
    app.close()

    # Then they end as ever, and the other one hears them
    assert {log[-1].type for log in logs} == {"RunSucceeded"}
    assert heard == [e.type for log in logs for e in log]
    free.set()


def test_one_that_falls_behind_misses_the_oldest_and_that_is_said(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a listener that is held at its first event, and room for three
    monkeypatch.setattr(listening, "MOST_WAITING", 3)
    held, free, heard = Event(), Event(), list[int]()

    def slow(envelope: Envelope) -> None:
        heard.append(envelope.version)
        held.set()
        free.wait(20)

    with app.listening(slow):
        log = run(app)
        assert held.wait(20)
        free.set()

    # Then it hears the latest, and how many it has not heard is in the log of the process
    assert heard[-3:] == [e.version for e in log][-3:]
    said = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert sum(n for n in said if isinstance(n, int)) == len(log) - len(heard) > 0
    assert "slow is behind" in caplog.text


def test_a_listener_has_its_own_thread_and_may_run_flows(app: App) -> None:
    threads: list[str] = []
    ended = Event()

    @app.listen("RunReverted")
    def make_up(envelope: Envelope) -> None:
        threads.append(current_thread().name)
        run(app, "good")
        ended.set()

    run(app, "bad")

    assert ended.wait(20)
    assert "make_up" in threads[0]
    assert {run.state for run in app.runs()} == {"REVERTED", "SUCCEEDED"}


def test_its_thread_ends_when_there_is_nothing_to_hear_and_begins_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "IDLE_S", 0.01)
    heard: list[str] = []
    app.listen(lambda envelope: heard.append(current_thread().name))
    run(app)
    assert app.listeners.drain(20)
    (queue,) = app.listeners._events
    if (thread := queue._thread) is not None:
        thread.join(20)
        assert not thread.is_alive()

    log = run(app)

    assert app.listeners.drain(20)
    assert len(heard) == 2 * len(log)


def test_who_listens_is_checked(app: App) -> None:
    def listener(envelope: Envelope) -> None: ...

    app.listen(listener)
    with pytest.raises(IllegalRequest, match="listener listens already"):
        app.listen("TaskFailed")(listener)
    with pytest.raises(InputError, match=r"no event 'TaskFaild'[\s\S]*did you mean TaskFailed"):
        app.listen("TaskFaild")
    with pytest.raises(InputError, match="cannot listen"):
        app.listen("TaskFailed")(3)  # type: ignore[type-var]
    app.unlisten(listener)
    with pytest.raises(IllegalRequest, match="does not listen"):
        app.unlisten(listener)


# -- the equals of TaskFlow's ---------------------------------------------------------------------------


def test_progress_is_told_and_not_kept(app: App) -> None:
    # Given who listens to progress
    said: list[Progress] = []
    app.listen_progress(said.append)

    # When a body says how far it has got (clamped to 1)
    log = run(app)

    # Then that is told, and no event was made of it
    assert app.listeners.drain(20)
    assert [(p.path, p.attempt, p.fraction, p.message) for p in said] == [
        ("good/two", 1, 0.5, "half-way"),
        ("good/two", 1, 1.0, ""),
    ]
    assert said[0].run_id == log[0].run_id
    assert story(log)[-1] == "RunSucceeded"


def test_the_logging_listener_writes_a_line_per_event_and_alarms_where_somebody_should_look(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "shop"), app.listening(LoggingListener(logging.getLogger("shop"))):
        log = run(app, "bad")

    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "shop"]
    assert len(lines) == len(log)
    assert ("WARNING", f"run {log[0].run_id}: TaskFailed bad/fails: ValueError: no") in lines
    assert ("DEBUG", f"run {log[0].run_id}: TaskSucceeded bad/one") in lines, "no value: more people read logs"
    assert [text.split(": ")[1] for level, text in lines if level == "WARNING"] == [
        "TaskFailed bad/fails",
        "RunReverted",
    ]
    assert caplog.records[0].__dict__["event"] == "RunSubmitted"


def test_the_logging_listener_shows_values_where_it_may(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), app.listening(LoggingListener(level=logging.INFO, values=True)):
        run(app)

    assert any(text.endswith("TaskSucceeded good/two: 2") for text in caplog.messages)


@pytest.fixture
def patient(app: App) -> App:
    """With a flow that takes its time, in two rounds."""
    polls: list[int] = []

    @app.task
    def wait(ctx: TaskContext) -> None:
        polls.append(1)
        if len(polls) < 3:
            raise NotReady(retry_after=100)

    @wait.revert
    def unwait() -> None: ...

    @app.task
    def once_more(round: int) -> None:  # noqa: A002
        if round == 1:
            raise ValueError("again")

    @app.flow
    def slow() -> Flow[None]:
        return linear(wait, once_more, retry=Times(2, provides="round"))

    return app


def test_the_duration_listener_says_how_long_everything_took(virtual_clock: VirtualClock, patient: App) -> None:
    durations: list[Duration] = []

    with patient.listening(DurationListener(durations.append)):
        run(patient, "slow")

    assert [(d.path, d.phase, d.attempt, round(d.seconds), d.ended) for d in durations] == [
        ("slow/wait", "execute", 1, 200, "TaskSucceeded"),
        ("slow/once_more", "execute", 1, 0, "TaskFailed"),
        ("slow/wait", "revert", 1, 0, "TaskReverted"),
        ("slow/wait", "execute", 1, 0, "TaskSucceeded"),
        ("slow/once_more", "execute", 1, 0, "TaskSucceeded"),
        ("", "execute", 0, 200, "RunSucceeded"),
    ]
