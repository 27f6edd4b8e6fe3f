"""The appender: many appends in one transaction, in order, each with its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from flowledger.adapters import appender as module
from flowledger.adapters import failpoint
from flowledger.adapters.appender import DirectAppender, GroupAppender, open_appender
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.adapters.stores.sqlite import SqliteStore
from flowledger.events.errors import StoreError, StoreUnavailable, VersionConflict
from flowledger.events.store import START, Append, Appended, AppendResult
from tests.conformance.streams import Run, new_run
from tests.integration.appending import appended, gathered, runs_in, sqlite

__all__ = ["sqlite"]


class Gate(MemoryStore):
    """A store that is not immediate: an append waits until the gate is open, and may go wrong."""

    immediate = False

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.failure: Exception | None = None

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        self.batches.append([request.run_id for request in batch])
        self.entered.release()
        assert self.opened.wait(30)
        if self.failure is not None:
            raise self.failure
        return super().append(batch)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_an_immediate_store_answers_before_append_returns() -> None:
    # Given
    store = MemoryStore()
    run = new_run(store)
    results: list[AppendResult] = []
    with asyncio.Runner() as runner:
        appender = open_appender(store, runner.get_loop())
        # When
        appender.append(run.next(), results.append)
    # Then
    assert isinstance(appender, DirectAppender)
    assert results == [Appended(2)]
    assert (appender.commits, appender.requests, appender.events) == (1, 1, 1)
    appender.close()
    appender.append(run.next(), results.append)
    assert isinstance(results[1], StoreUnavailable)


def test_any_other_store_answers_later_and_on_the_loop(sqlite: SqliteStore) -> None:
    # Given
    run = new_run(sqlite)

    async def scenario() -> None:
        appender = open_appender(sqlite, asyncio.get_running_loop())
        for _ in range(20):  # the first by the thread, the later ones perhaps in place
            answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            request = run.next()
            appender.append(request, lambda _, answer=answer: answer.set_result(threading.get_ident()))  # type: ignore[misc]
            assert not answer.done()
            assert await asyncio.wait_for(answer, 30) == threading.get_ident()
            run.appended(request)
        appender.close()

    asyncio.run(scenario())
    assert len(sqlite.read(run.run_id)) == 21


def test_a_hundred_appends_at_once_share_a_few_commits(sqlite: SqliteStore) -> None:
    # Given
    runs = runs_in(sqlite, 100)
    before = sqlite.commits

    async def scenario() -> list[AppendResult]:
        appender = open_appender(sqlite, asyncio.get_running_loop())
        results = await gathered([appended(appender, run.next(2)) for run in runs])
        appender.close()
        assert (appender.requests, appender.events) == (100, 200)
        assert appender.commits == sqlite.commits - before
        return results

    # When
    results = asyncio.run(scenario())
    # Then
    assert results == 100 * [Appended(3)]
    assert sqlite.commits - before <= 5
    assert len(sqlite.read_all(START)) == 300


@pytest.mark.parametrize(
    ("in_place_s", "lone", "in_place"), [(0.0, False, False), (60.0, False, True), (0.0, True, True)],
    ids=["by the thread", "in place", "in place, commits are slow but nobody else needs the loop"],
)  # fmt: skip
def test_a_lone_run_has_one_commit_per_append_either_way(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch, in_place_s: float, lone: bool, in_place: bool
) -> None:
    monkeypatch.setattr(module, "LONE_S", 60)
    # Given
    run = new_run(sqlite)
    before = sqlite.commits
    committers: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        appender = GroupAppender(sqlite, loop, in_place_s=in_place_s, lone=lambda: lone)
        for _ in range(30):
            request = run.next()
            assert await gathered([appended(appender, request)]) == [Appended(run.version + 1)]
            run.appended(request)
        appender.close()
        assert appender.commits == 30

    with failpoint.armed("append.after_commit", 30, lambda: committers.append(threading.get_ident())):
        asyncio.run(scenario())
    assert sqlite.commits - before == 30
    assert (committers == [threading.get_ident()]) == in_place
    assert len(sqlite.read(run.run_id)) == 31


def test_a_run_that_appends_again_and_again_in_place_leaves_the_loop_to_others(sqlite: SqliteStore) -> None:
    # Given a run whose next append comes with the answer to the last one
    run = new_run(sqlite)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        appender = GroupAppender(sqlite, loop, in_place_s=60)
        came, ended = asyncio.Event(), asyncio.Event()

        def again(request: Append | None = None) -> None:
            if request is not None:
                run.appended(request)
            if came.is_set():
                ended.set()
                return
            following = run.next()
            appender.append(following, lambda _: again(following))

        # When something else is due meanwhile / Then it gets its turn
        loop.call_later(0.05, came.set)
        again()
        await asyncio.wait_for(ended.wait(), 30)
        appender.close()

    asyncio.run(scenario())
    assert len(sqlite.read(run.run_id)) == run.version


def test_appends_gather_while_a_commit_is_under_way(gate: Gate) -> None:
    # Given
    gate.opened.set()
    runs = runs_in(gate, 11)
    gate.opened.clear()
    gate.batches.clear()

    async def scenario() -> None:
        appender = open_appender(gate, asyncio.get_running_loop())
        answers = [appended(appender, runs[0].next())]
        await asyncio.to_thread(gate.entered.acquire, timeout=30)
        # When
        answers += [appended(appender, run.next()) for run in runs[1:]]
        gate.opened.set()
        await gathered(answers)
        appender.close()

    while gate.entered.acquire(blocking=False):
        pass
    asyncio.run(scenario())
    # Then: in the order in which they came
    assert gate.batches == [[runs[0].run_id], [run.run_id for run in runs[1:]]]


def test_a1_a_run_stands_once_in_a_batch_whoever_breaks_the_rule(sqlite: SqliteStore) -> None:
    # Given
    run, others = new_run(sqlite), runs_in(sqlite, 3)
    first = run.next()
    run.appended(first)

    async def scenario() -> list[AppendResult]:
        appender = open_appender(sqlite, asyncio.get_running_loop())
        requests = [first, others[0].next(), run.next(), *(other.next() for other in others[1:])]
        results = await gathered([appended(appender, request) for request in requests])
        appender.close()
        return results

    # When / Then
    assert asyncio.run(scenario()) == [Appended(2), Appended(2), Appended(3), Appended(2), Appended(2)]


def test_a3_a_conflict_is_answered_to_its_run_alone(sqlite: SqliteStore) -> None:
    # Given
    fine, behind = runs_in(sqlite, 2)

    async def scenario() -> list[AppendResult]:
        appender = open_appender(sqlite, asyncio.get_running_loop())
        requests = [fine.next(), Run(behind.run_id, version=7).next()]
        results = await gathered([appended(appender, request) for request in requests])
        appender.close()
        return results

    # When
    results = asyncio.run(scenario())
    # Then
    assert results[0] == Appended(2)
    assert isinstance(results[1], VersionConflict)


@pytest.mark.parametrize("failure", [StoreUnavailable("no disk", hint="buy one"), ZeroDivisionError("a bug")])
def test_a_store_that_fails_is_answered_to_each_and_the_appender_goes_on(gate: Gate, failure: Exception) -> None:
    # Given
    gate.opened.set()
    runs = runs_in(gate, 3)

    async def scenario() -> None:
        appender = open_appender(gate, asyncio.get_running_loop(), outage_s=0.001)
        gate.failure = failure
        # When
        results = await gathered([appended(appender, run.next()) for run in runs])
        # Then
        assert all(isinstance(result, StoreError) for result in results)
        assert all(str(failure.args[0]) in str(result) for result in results)
        assert len({id(result) for result in results}) == 3
        gate.failure = None
        assert await gathered([appended(appender, run.next()) for run in runs]) == 3 * [Appended(2)]
        appender.close()

    asyncio.run(scenario())


def test_a_turn_takes_no_more_than_its_cap(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr(module, "TURN_EVENTS", 10)
    monkeypatch.setattr(module, "TURN_BYTES", 1_000)
    gate.opened.set()
    small, large = runs_in(gate, 12), runs_in(gate, 3)
    gate.batches.clear()

    async def scenario() -> None:
        appender = open_appender(gate, asyncio.get_running_loop())
        requests = [run.next(2) for run in small] + [run.next(payload=b"x" * 600) for run in large]
        # When
        results = await gathered([appended(appender, request) for request in requests])
        assert all(isinstance(result, Appended) for result in results)
        appender.close()

    asyncio.run(scenario())
    # Then: at most five runs of two events; one of the large ones at a time, though it alone is nearly at the cap
    assert all(len(batch) <= 5 for batch in gate.batches)
    assert all(sum(run.run_id in batch for run in large) <= 1 for batch in gate.batches)
    assert sum(map(len, gate.batches)) == 15


def test_the_bytes_that_wait_are_bounded_and_the_loop_is_not_blocked_for_ever(gate: Gate) -> None:
    # Given a store that hangs, and an appender that lets 1,000 bytes wait
    gate.opened.set()
    runs = runs_in(gate, 4)
    gate.opened.clear()

    async def scenario() -> None:
        appender = GroupAppender(gate, asyncio.get_running_loop(), queue_bytes=1_000, patience_s=0.05)
        # When one comes that is larger than all there is room for / Then it is let in: nothing else waits
        answers = [appended(appender, runs[0].next(payload=b"x" * 5_000))]
        # When another comes / Then it is refused after a moment
        [refused] = await gathered([appended(appender, runs[1].next(payload=b"x" * 600))])
        assert isinstance(refused, StoreUnavailable)
        assert "1,000 bytes" in str(refused)
        # When the store goes on / Then there is room
        gate.opened.set()
        assert await gathered(answers) == [Appended(2)]
        assert await gathered([appended(appender, run.next(payload=b"x" * 600)) for run in runs[2:]]) == [
            Appended(2), Appended(2),
        ]  # fmt: skip
        appender.close()

    asyncio.run(scenario())


def test_close_writes_what_has_been_appended(gate: Gate) -> None:
    # Given
    gate.opened.set()
    runs = runs_in(gate, 5)

    async def scenario() -> list[AppendResult]:
        appender = GroupAppender(gate, asyncio.get_running_loop(), in_place_s=60)
        await gathered([appended(appender, runs[0].next())])
        answers = [appended(appender, run.next()) for run in runs[1:]]
        # When
        appender.close()
        # Then
        assert len(gate.read_all(START)) == 10
        assert isinstance((await gathered([appended(appender, runs[0].next())]))[0], StoreUnavailable)
        return await gathered(answers)

    assert asyncio.run(scenario()) == 4 * [Appended(2)]


def test_the_appender_outlives_its_loop(gate: Gate) -> None:
    # Given an append under way when the loop ends
    gate.opened.set()
    run = new_run(gate)
    gate.opened.clear()
    loop = asyncio.new_event_loop()
    appender = GroupAppender(gate, loop)
    appender.append(run.next(), lambda _: None)
    loop.close()
    # When
    gate.opened.set()
    appender.close()
    # Then: nobody is told, but it is written
    assert len(gate.read(run.run_id)) == 2
