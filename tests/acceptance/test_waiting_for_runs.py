"""`Run.wait`: who waits for a run drives it where nobody would, and leaves alone what is not its to decide (B3, G2)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from flowledger import App, Flow, Hold, InputError, RunSuspended, Settings, Signal, linear
from flowledger.adapters.ids import new_ulid
from flowledger.events import facts

from .asked import has, log, types, until

number = Signal("number", int)


class Shop(App):
    """An app whose flow waits for a number."""

    def __init__(self, url: str, *, max_runs: int = 1000) -> None:
        super().__init__("waiting_shop", settings=Settings(database_url=url, max_runs=max_runs))

        @self.flow
        def asks() -> Flow[int]:
            value = number.wait()
            return linear(value, returns=value)

        self.asks = asks


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db"


@contextmanager
def conducting(app: App) -> Iterator[None]:
    """Conduct in a thread with a loop of its own, as another process would."""
    over, started = Event(), Event()

    async def serve() -> None:
        async with app.conductor():
            started.set()
            await asyncio.to_thread(over.wait)

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def shop(closing: ExitStack, url: str, **options: Any) -> Shop:
    made = Shop(url, **options)
    closing.callback(made.close)
    return made


def test_a_wait_that_is_over_says_of_which_run_and_how_it_stands() -> None:
    app = Shop(f"memory://{new_ulid()}")
    run = app.submit(app.asks())
    for timeout in (0.05, timedelta(milliseconds=50)):
        with pytest.raises(TimeoutError, match=f"run {run.id} is RUNNING, not ended yet"):
            run.wait(timeout)
    with pytest.raises(InputError) as refused:
        run.wait("soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert refused.value.field == "timeout"
    run.send(number, 3)
    assert run.wait(timedelta(seconds=30)) == 3
    app.close()


def test_g2_who_waits_for_a_run_does_not_undo_that_somebody_has_suspended_it(closing: ExitStack, url: str) -> None:
    # Given a run that a conductor drives, and somebody elsewhere who waits for it
    there, here = shop(closing, url), shop(closing, url)
    conductor: AbstractContextManager[None] = conducting(there)
    with conductor:
        run = here.submit(here.asks())
        until(lambda: has(here, run, "TaskWaiting"))
        said: list[BaseException] = []
        waiting = Thread(target=lambda: said.append(_raised(here, run.id)))
        waiting.start()
        # When an operator suspends it
        there.get(run.id).suspend(reason="the bank is closed")
        waiting.join(30)
        # Then who waits is told, and it stays suspended
        assert [type(error) for error in said] == [RunSuspended]
        with pytest.raises(RunSuspended, match=f"run {run.id} is SUSPENDED"):
            here.get(run.id).wait(timeout=30)
    assert run.state == "SUSPENDED"
    assert "RunResumed" not in types(here, run)


def _raised(app: App, run_id: str) -> BaseException:
    try:
        app.get(run_id).wait(timeout=30)
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return error
    return AssertionError("it has ended")


def test_b3_who_waits_for_a_run_leaves_it_to_the_conductors_that_take_such_runs(closing: ExitStack, url: str) -> None:
    # Given a conductor that has its hands full, and a run that another one has let go of
    first, full, here = shop(closing, url), shop(closing, url, max_runs=1), shop(closing, url)
    with conducting(full):
        busy = here.submit(here.asks())
        until(lambda: full.stream_of(busy.id).owner is not None)
        with conducting(first):
            run = here.submit(here.asks())
            until(lambda: has(here, run, "TaskWaiting"))
        assert here.stream_of(run.id).owner is None
        # When somebody waits for it
        with pytest.raises(TimeoutError, match=f"run {run.id} is RUNNING"):
            run.wait(0.6)
        # Then it is still the conductors'
        assert here.stream_of(run.id).owner is None


def test_b3_a_suspended_job_is_resumed_in_a_conductor_that_takes_it(closing: ExitStack, url: str) -> None:
    # Given a job that somebody has suspended
    there, here = shop(closing, url), shop(closing, url)
    with conducting(there):
        run = here.submit(here.asks())
        until(lambda: has(here, run, "TaskWaiting"))
        here.get(run.id).suspend(reason="the bank is closed")
        run.send(number, 7)
        # When it is resumed elsewhere
        resumed = run.resume(reason="it is open again")
        # Then
        assert (resumed.result, resumed.state) == (7, "SUCCEEDED")
    claims = [e.event.owner for e in log(here, run) if isinstance(e.event, facts.RunClaimed)]
    assert set(claims) == {claims[0]}
    asked = [e.event for e in log(here, run) if isinstance(e.event, facts.RequestAccepted)]
    assert [(request.kind, request.reason) for request in asked] == [
        ("suspend", "the bank is closed"), ("resume", "it is open again")
    ]  # fmt: skip


def test_g3_who_waits_for_a_run_that_is_held_is_told_whose_word_is_wanted() -> None:
    # Given
    app = App("holding", database_url=f"memory://{new_ulid()}")

    @app.task(read_only=True)
    def pay() -> int:
        raise Hold("look at the bill")

    @app.flow
    def buy() -> Flow[None]:
        return linear(pay)

    # When
    with pytest.raises(RunSuspended) as suspended:
        app.run(buy(), key="k")
    # Then
    assert "SUSPENDED, held at buy/pay" in suspended.value.message
    assert f"flowledger resolve {suspended.value.run.id} buy/pay --as" in suspended.value.hint
    app.close()
