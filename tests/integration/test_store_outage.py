"""A store that stays away ends runs, but never for good: the same call again, in the same process, goes on (B1, B2)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from flowledger import App, Flow, TaskContext, linear
from flowledger.adapters import loading
from flowledger.adapters.settings import Settings
from flowledger.core.replay import check, check_complete
from flowledger.events.errors import Fenced, RunOwned, StoreUnavailable


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowledger.adapters.stores.sqlite_file.BUSY_TIMEOUT_S", 0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@contextmanager
def write_lock(file: Path) -> Iterator[None]:
    """As long as somebody else has it, nothing can be written."""
    other = sqlite3.connect(file, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


class Shop:
    """An app whose second task, while it is ``armed``, waits until the test lets it go on."""

    def __init__(self, file: Path, **settings: float) -> None:
        self.app = app = App("shop", settings=Settings(database_url=f"sqlite:///{file}", **settings))  # type: ignore[arg-type]
        self.armed = True
        self.entered, self.go_on = Event(), Event()
        self.keys: list[str] = []

        @app.task
        def first() -> int:
            return 1

        @app.task
        def second(ctx: TaskContext) -> int:
            self.keys.append(ctx.idempotency_key)
            self.entered.set()
            if self.armed:
                assert self.go_on.wait(30)
            return 2

        @app.flow
        def order() -> Flow[int]:
            return linear(first, second, returns=second)

        self.order = order

    def run(self) -> int:
        return self.app.run(self.order(), key="k").result

    def runs_until(self, error: type[Exception], file: Path) -> None:
        """Run; nothing can be written any more while the second body runs."""
        ended: list[BaseException] = []

        def run() -> None:
            try:
                self.run()
            except BaseException as found:  # noqa: BLE001 - looked at below
                ended.append(found)

        thread = Thread(target=run)
        thread.start()
        assert self.entered.wait(30)
        with write_lock(file):
            self.go_on.set()
            thread.join(30)
        assert [type(found) for found in ended] == [error]
        self.armed = False


def test_b1_after_an_outage_the_same_call_goes_on(file: Path) -> None:
    # Given a run that has ended here because its events could not be written
    shop = Shop(file, store_outage_s=0.1)
    shop.runs_until(StoreUnavailable, file)
    # When the same process, which still lives and still owns the run, is asked again / Then it goes on
    assert shop.run() == 2
    _valid(shop)
    # Then: the second body ran again, under the same key: nobody knew its outcome (C5)
    assert len(shop.keys) == 2
    assert len(set(shop.keys)) == 1


def test_b2_after_it_has_fenced_itself_the_same_call_goes_on(file: Path) -> None:
    # Given a process that could not beat
    shop = Shop(file, store_outage_s=60, lease_heartbeat_s=0.05, lease_fence_s=1.5, lease_takeover_s=30)
    shop.runs_until(Fenced, file)
    fenced = shop.app.runtime.owner
    # When it is asked again / Then it goes on, as another owner: to others the first one is as good as dead
    assert shop.run() == 2
    assert shop.app.runtime.owner != fenced
    _valid(shop)


def test_an_outage_that_ends_in_time_is_not_noticed(file: Path) -> None:
    # Given
    shop = Shop(file)
    waits = Thread(target=shop.run)
    waits.start()
    assert shop.entered.wait(30)
    # When nothing can be written for a while
    with write_lock(file):
        shop.go_on.set()
        appender = shop.app.runtime.appender
        _until(lambda: getattr(appender, "_away_since", None) is not None)
    # Then
    waits.join(30)
    log = _valid(shop)
    assert "TaskInterrupted" not in log
    assert len(shop.keys) == 1


def test_b1_a_run_that_is_just_being_taken_up_is_not_taken_twice(file: Path) -> None:
    # Given a run that this process owns, and does not drive any more
    shop = Shop(file, store_outage_s=0.1)
    shop.runs_until(StoreUnavailable, file)

    # When two callers go on with it at once
    async def both() -> list[object]:
        return await asyncio.gather(
            *(shop.app.arun(shop.order(), key="k") for _ in range(2)), return_exceptions=True
        )  # fmt: skip

    found = asyncio.run(both())
    # Then one drives it; the other joins it, or is refused
    ended = [run for run in found if not isinstance(run, RunOwned)]
    assert ended
    assert all(getattr(run, "state", run) == "SUCCEEDED" for run in ended)
    assert len(shop.keys) == 2
    _valid(shop)


def _valid(shop: Shop) -> list[str]:
    [run] = shop.app.runs()
    log = loading.read(shop.app.runtime.store, run.id)
    plan = shop.app.plan(shop.order())
    check_complete(plan, check(plan, log))
    shop.app.close()
    return [envelope.type for envelope in log]


def _until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not condition():
        assert monotonic() < deadline, "waited for 30 s"
        sleep(0.002)
