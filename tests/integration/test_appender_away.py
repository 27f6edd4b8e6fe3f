"""The appender while its store is away, and where it may be killed (RELIABILITY R2)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import pytest

from flowledger.adapters import appender as module
from flowledger.adapters import failpoint
from flowledger.adapters.appender import GroupAppender, open_appender
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.adapters.stores.sqlite import SqliteStore
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import START, Append, Appended, AppendResult
from tests.conformance.streams import new_run
from tests.integration.appending import appended, gathered, runs_in, sqlite

__all__ = ["sqlite"]


ROOT = Path(__file__).parents[2]


# -- a store that is away -------------------------------------------------------------------------


class Away(MemoryStore):
    """A store that is not immediate and cannot be reached ``times`` times; what it was sent may have arrived."""

    immediate = False

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        self.arrives = False
        self.asked: list[list[str]] = []
        self.refused = threading.Event()

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        self.asked.append([request.run_id for request in batch])
        if not self.times:
            return super().append(batch)
        self.times -= 1
        if self.arrives:
            super().append(batch)
        self.refused.set()
        raise StoreUnavailable("no connection", hint="wait")


@pytest.fixture
def away() -> Away:
    return Away()


@pytest.mark.parametrize("arrives", [False, True], ids=["lost", "arrived"])
@pytest.mark.parametrize("in_place_s", [0.0, 60.0], ids=["by the thread", "in place"])
def test_a3_an_append_waits_for_a_store_that_is_away_and_is_not_doubled(
    away: Away, in_place_s: float, arrives: bool
) -> None:
    # Given
    run = new_run(away)
    away.arrives = arrives

    async def scenario() -> None:
        appender = GroupAppender(away, asyncio.get_running_loop(), in_place_s=in_place_s)
        for _ in range(2):  # the second one in place, if so wished
            away.times = 3
            request = run.next(2)
            # When / Then
            assert await gathered([appended(appender, request)]) == [Appended(run.version + 2)]
            run.appended(request)
        assert (appender.commits, appender.requests, appender.events) == (2, 2, 4)
        appender.close()

    asyncio.run(scenario())
    assert [event.hash for event in away.read(run.run_id)][-1] == run.head
    assert len(away.read(run.run_id)) == 5


def test_the_event_loop_goes_on_while_appends_wait_and_those_that_come_meanwhile_join_them(away: Away) -> None:
    # Given
    runs = runs_in(away, 4)
    away.asked.clear()
    away.times = 1_000_000

    async def scenario() -> None:
        appender = GroupAppender(away, asyncio.get_running_loop(), in_place_s=0)
        answers = [appended(appender, runs[0].next())]
        assert await asyncio.to_thread(away.refused.wait, 30)
        # When
        answers += [appended(appender, run.next()) for run in runs[1:]]
        await asyncio.sleep(0)
        away.times = 0
        # Then
        assert await gathered(answers) == 4 * [Appended(2)]
        appender.close()

    asyncio.run(scenario())
    assert away.asked[-1] == [run.run_id for run in runs]


def test_an_append_gives_up_when_the_store_has_been_away_for_too_long(away: Away) -> None:
    # Given
    run = new_run(away)
    away.times = 1_000_000

    async def scenario() -> None:
        appender = GroupAppender(away, asyncio.get_running_loop(), outage_s=0.2)
        began = monotonic()
        # When
        [result] = await gathered([appended(appender, run.next())])
        # Then
        assert isinstance(result, StoreUnavailable)
        assert (result.message, result.hint) == ("no connection", "wait")
        assert 0.2 <= monotonic() - began < 10
        appender.close()

    asyncio.run(scenario())
    assert 2 <= len(away.asked) - 1 <= 20, "it waits between two attempts"


def test_b2_a_fenced_process_waits_no_longer(away: Away) -> None:
    # Given
    run = new_run(away)
    fenced = threading.Event()
    away.times = 1_000_000

    async def scenario() -> None:
        appender = open_appender(away, asyncio.get_running_loop(), outage_s=600, fenced=fenced.is_set)
        answer = appended(appender, run.next())
        assert await asyncio.to_thread(away.refused.wait, 30)
        # When
        fenced.set()
        # Then
        assert isinstance((await gathered([answer]))[0], StoreUnavailable)
        appender.close()

    asyncio.run(scenario())


def test_close_does_not_wait_for_a_store_that_is_away(away: Away) -> None:
    # Given
    run = new_run(away)
    away.times = 1_000_000

    async def scenario() -> None:
        appender = GroupAppender(away, asyncio.get_running_loop(), outage_s=600)
        answer = appended(appender, run.next())
        assert await asyncio.to_thread(away.refused.wait, 30)
        # When
        appender.close()
        # Then
        assert isinstance((await gathered([answer]))[0], StoreUnavailable)

    asyncio.run(scenario())


def test_a_write_lock_that_another_program_holds_ends_no_run(
    sqlite: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a store that waits shortly for the lock, and somebody who holds it
    monkeypatch.setattr("flowledger.adapters.stores.sqlite_file.BUSY_TIMEOUT_S", 0.01)
    store = SqliteStore(tmp_path / "log.db")
    run = new_run(store)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waits = threading.Event()

    async def scenario() -> None:
        appender = GroupAppender(store, asyncio.get_running_loop())
        monkeypatch.setattr(module, "_LOG", _Told(waits))
        answer = appended(appender, run.next())
        assert await asyncio.to_thread(waits.wait, 30)
        # When
        other.execute("ROLLBACK")
        # Then
        assert await gathered([answer]) == [Appended(2)]
        appender.close()

    asyncio.run(scenario())
    other.close()
    store.close()


class _Told:
    """A log that says when it is told something."""

    def __init__(self, told: threading.Event) -> None:
        self._told = told

    def warning(self, *_: object) -> None:
        self._told.set()


# -- failpoints (RELIABILITY R2) ------------------------------------------------------------------


PROGRAM = """
import asyncio, sys
from pathlib import Path
from flowledger.adapters.appender import GroupAppender
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.stores.sqlite import SqliteStore
from tests.conformance.streams import Run, new_stream

async def main():
    store, run = SqliteStore(Path(sys.argv[1])), Run(new_ulid())
    appender = GroupAppender(store, asyncio.get_running_loop(), in_place_s=float(sys.argv[2]))
    for n in range(5):
        request = run.next(2, create=None if n else new_stream())
        answer = asyncio.get_running_loop().create_future()
        appender.append(request, answer.set_result)
        assert (await answer).version == run.version + 2
        run.appended(request)
        print(run.version, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("in_place_s", ["0", "60"], ids=["by the thread", "in place"])
@pytest.mark.parametrize("point", failpoint.APPEND_POINTS)
def test_rel_r2_a_process_dies_at_the_named_point(tmp_path: Path, point: str, in_place_s: str) -> None:
    # Given
    environment = os.environ | {failpoint.VARIABLE: f"{point}:3"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "log.db"), in_place_s]
    # When
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    # Then: all of the third append is there, or nothing of it; and nothing was acknowledged that is not there
    assert ended.returncode == failpoint.EXIT_CODE, ended.stderr
    committed = point in {"append.after_commit", "append.before_ack", "append.after_ack"}
    store = SqliteStore(tmp_path / "log.db")
    assert len(store.read_all(START)) == (6 if committed else 4)
    assert ended.stdout.split()[:2] == ["2", "4"]
    assert len(ended.stdout.split()) <= (3 if point == "append.after_ack" else 2)
    store.close()


def test_rel_r2_an_unknown_failpoint_is_refused(tmp_path: Path) -> None:
    environment = os.environ | {failpoint.VARIABLE: "append.sometime:3"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "log.db"), "0"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "append.before_begin" in ended.stderr


def test_rel_r2_a_failpoint_can_be_set_within_a_test(sqlite: SqliteStore) -> None:
    # Given
    run = new_run(sqlite)
    passed: list[int] = []
    # When
    with failpoint.armed("append.after_begin", 2, lambda: passed.append(len(sqlite.read(run.run_id)))):
        for _ in range(3):
            run.put(sqlite)
    run.put(sqlite)
    # Then: once, at the second passing
    assert passed == [2]
