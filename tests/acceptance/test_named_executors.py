"""Bodies on executors that the app was given by name (rules B6, C3, C5, C6, C7, C9, D1)."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import encode
from pydantic import SecretStr

from flowledger import App, Bounded, DefinitionError, Fenced, Flow, Settings, UnknownExecutor, linear
from flowledger.adapters.executors import named
from flowledger.adapters.executors.afar import run_attempt
from flowledger.adapters.keys import new_key
from flowledger.core.portable import Request, encoded, reply_of
from flowledger.events import facts
from flowledger.events.errors import NotImportable
from tests.acceptance import named_shop as shop
from tests.acceptance.command_line import Command, flowledger
from tests.acceptance.logs import events, log_of
from tests.postgres_server import wait_until

__all__ = ["flowledger"]

pytestmark = pytest.mark.slow

CODEC_KEY = new_key("cluster", "aes")


@pytest.fixture
def said(tmp_path: Path) -> str:
    return str(tmp_path / "said")


@pytest.fixture
def app() -> Iterator[App]:
    shop.closed.clear()
    shop.clients.clear()
    yield shop.app
    shop.app.close()


# -- a pool of processes, and one of threads --------------------------------------------------------


def test_one_run_has_bodies_on_all_kinds_of_executors(app: App, said: str) -> None:
    # Given
    heard: list[tuple[str, float]] = []
    # When
    listener = app.listen_progress(lambda progress: heard.append((progress.path, progress.fraction)))
    run = app.run(shop.mixed(3, said))
    app.close()
    app.unlisten(listener)
    # Then
    parcel = run.results["mixed/pack"]
    assert isinstance(parcel, shop.Parcel)
    assert parcel.size == 4
    pids = {os.getpid(), parcel.made_in, run.results["mixed/unordered/Stamp"]}
    assert len(pids) == 3
    assert str(run.results["mixed/unordered/call"]).startswith("crew")
    assert run.results["mixed/unordered/note"] == "flowledger-engine"
    assert str(run.results["mixed/unordered/file"]).startswith("flowledger-task")
    assert heard == [("mixed/pack", 0.9), ("mixed/unordered/call", 0.5)]  # the last that a body says is always heard
    assert shop.closed == ["crew"]


def test_b6_a_revert_runs_there_too_with_what_its_execute_had_and_made(app: App, said: str) -> None:
    # When
    run = app.run(shop.send_back(3, said), check=False)
    # Then
    assert run.state == "REVERTED"
    verb, size, *message, pid = Path(said).read_text().split()
    assert (verb, size, " ".join(message)) == ("unpack", "4", "nobody home")
    assert int(pid) != os.getpid()


@pytest.mark.parametrize("executor", ["pool", "crew"])
def test_a_run_may_say_so_for_all_its_sync_bodies(app: App, said: str, executor: str) -> None:
    # When
    run = app.run(shop.mixed(3, said), executor=executor)
    # Then
    parcel = run.results["mixed/pack"]
    assert isinstance(parcel, shop.Parcel)
    assert (parcel.made_in == os.getpid()) == (executor == "crew")
    assert str(run.results["mixed/unordered/file"]).startswith("crew" if executor == "crew" else "MainThread")
    assert run.results["mixed/unordered/note"] == "flowledger-engine"


@pytest.mark.parametrize(("executor", "places"), [("crew", 3), ("pool", 2)])
def test_c1_as_many_bodies_are_started_as_was_said_or_as_a_pool_has_places(
    app: App, said: str, executor: str, places: int
) -> None:
    # When
    app.run(shop.crowd(said, places), executor=executor)
    # Then
    log = Path(said).read_text()
    assert log.count("-") == 6
    assert max(log[:n].count("+") - log[:n].count("-") for n in range(len(log))) == places


def test_c6_a_pool_that_breaks_interrupts_the_attempt_and_another_is_made(app: App, said: str) -> None:
    # When
    run = app.run(shop.dies.bind(1, said), executor="pool")
    # Then
    (interrupted,) = events(log_of(app, run), facts.TaskInterrupted)
    assert "the executor pool lost it: concurrent.futures.process.BrokenProcessPool" in interrupted.cause
    first, second = Path(said).read_text().split()
    assert run.result == int(second) != int(first)


def test_b6_who_was_beside_a_killer_is_not_blamed_for_what_it_does_again(app: App, said: str) -> None:
    # Given a body that kills its process each time, and others in the same pool
    # When
    run = app.run(shop.beside_a_killer(said), executor="pool", check=False, on_failure="stop")
    # Then
    (failure,) = run.failures
    assert (failure.path, failure.kind) == ("beside_a_killer/dies", "poison")
    interrupted = [path for path, event in told(app, run, facts.TaskInterrupted)]
    assert all(interrupted.count(path) <= 1 for path in interrupted if path != "beside_a_killer/dies")


def test_c6_what_is_not_to_run_again_fails_as_interrupted(app: App, said: str) -> None:
    # When
    run = app.run(shop.dies_once.bind(said), executor="pool", check=False)
    # Then
    assert run.failures[0].kind == "interrupted"


@pytest.mark.parametrize("executor", ["pool", "crew"])
def test_c7_a_body_whose_time_is_over_is_told_and_has_failed(app: App, said: str, executor: str) -> None:
    # Given an executor that has its processes
    app.run(shop.crowd(f"{said}.other", 2), executor=executor)
    # When
    run = app.run(shop.dawdles.bind(said), executor=executor, check=False)
    # Then
    assert run.failures[0].kind == "timeout"
    assert Path(said).read_text() == "saw it"


def test_c7_where_no_flags_are_seen_a_body_keeps_its_time_itself(said: str) -> None:
    # Given what crosses to another machine
    request = Request(
        run="r", path="dawdles", task="dawdles", key="k", arguments={"said": Raw(encode(said))}, max_bytes=1_000
    )
    # When
    reply = run_attempt("tests.acceptance.named_shop:app", encoded(request), "token", f"{said}/no/such/folder", 0.05)
    # Then
    assert Path(said).read_text() == "saw it"
    assert reply_of(reply).kind == "raised"


def test_b6_where_a_folder_is_promised_and_is_not_there_nothing_begins(said: str) -> None:
    # Given what crosses to a machine on which the folder is not mounted
    request = Request(run="r", path="waits", task="waits", key="k", arguments={"n": Raw(b"1")}, max_bytes=1_000)
    call = ("tests.acceptance.named_shop:app", encoded(request), "token", f"{said}/no/such/folder", None)
    # When
    promised, not_promised = reply_of(run_attempt(*call, True)), reply_of(run_attempt(*call))
    # Then
    assert promised.kind == "lost"
    assert "SHARED_FOLDER is not there" in promised.message
    assert not_promised.kind == "returned"


class Far(Executor):
    """Has one place, and does not say where it is, nor whether it has begun."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._pool.submit(self._run, future, lambda: fn(*args, **kwargs))
        return future

    def _run(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if not future.cancelled():
            future.set_result(call())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def test_d1_what_has_not_begun_elsewhere_is_taken_back_where_a_folder_is_shared(app: App, tmp_path: Path) -> None:
    # Given an executor somewhere with one place, which a body has that does not end yet, and one behind it
    shared, said = tmp_path / "shared", tmp_path / "said"
    shared.mkdir()
    settings = Settings(database_url="memory://", shared_folder=str(shared))
    with Far() as far, closing(replaced(app, "far", Bounded(far, at_once=2), settings)) as other:
        heard: list[tuple[str, str]] = []
        other.listen(lambda envelope: heard.append((envelope.path.rpartition("/")[2], envelope.type)))
        running = ThreadPoolExecutor(1).submit(other.run, shop.two_in_a_line(str(said)), check=False)
        # When its scope fails
        wait_until(lambda: ("behind", "TaskInterrupted") in heard, "it is not taken back")
        # Then it is taken back while the other has the place, and never begins
        assert ("in_front", "TaskInterrupted") not in heard
        said.with_suffix(".go").touch()
        assert running.result().state == "REVERTED"
    assert not said.with_suffix(".behind").exists()
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize("executor", ["pool", "crew"])
def test_d1_a_body_is_told_that_its_scope_fails(app: App, said: str, executor: str) -> None:
    # When
    run = app.run(shop.sides(said, executor), check=False)
    # Then
    assert run.state == "REVERTED"
    assert Path(said).read_text() == "saw it"


def test_rel_s10_secrets_cross_to_a_pool_and_not_into_the_log(app: App) -> None:
    # Given
    login = shop.Login(user="ann", password=SecretStr("hunter2-hunter2"))
    # When
    run = app.run(shop.enter(login), executor="pool")
    # Then
    assert run.result == len("token of hunter2-hunter2")
    log = b"".join(event.payload for event in app.runtime.store.read(run.id))
    assert b"hunter2" not in log


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inline", "threads", "processes", "workers", "async", "transaction", "control"])
def test_what_is_always_there_cannot_be_replaced(name: str) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(DefinitionError, match="is taken"):
        App("shop", executors={name: pool})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "3 is no executor"),
        (Bounded(shop.pool, at_once=0), "at_once=0"),
        (Bounded(3, at_once=1), "3 is no executor"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_executor_is_refused(given: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        App("shop", executors={"pool": given})


def test_an_unknown_name_is_refused_before_anything_is_written(app: App, said: str) -> None:
    before = len(list(app.runs(limit=1_000)))
    # When the run, or a task of it, names one that is not there
    lame = App("lame", database_url="memory://", executors={"crew": shop.crew})
    lame.include(app)
    with pytest.raises(UnknownExecutor, match="the run asks for executor='crow', and the app named_shop") as refused:
        app.run(shop.mixed(3, said), executor="crow")
    assert "did you mean `crew`?" in str(refused.value)
    assert "always there: inline, threads, processes, workers" in str(refused.value)
    with pytest.raises(UnknownExecutor, match=r"mixed/pack asks for executor='pool'.*\n.*it has crew;"):
        lame.submit(shop.mixed(3, said))
    with pytest.raises(UnknownExecutor):
        lame.plan(shop.mixed(3, said))
    # Then
    assert len(list(app.runs(limit=1_000))) == before
    assert list(lame.runs()) == []
    lame.close()


def test_the_command_line_says_so_too(flowledger: Command) -> None:
    # When
    said = [
        flowledger(verb, "mixed", "--app", "tests.acceptance.named_shop:lame", "--set", "size=3", "--set", "said=x")
        for verb in ("plan", "run", "submit")
    ]
    # Then
    assert {each.code for each in said} == {2}
    assert all("FL119: mixed/pack asks for executor='pool'" in each.err for each in said)
    assert all("executors={" in each.err for each in said)


def test_a_task_that_is_placed_once_per_item_is_looked_at_before_the_items_are_there(app: App) -> None:
    # Given
    lame = App("lame", database_url="memory://")

    @lame.task
    def items() -> list[int]:
        return [1]

    @lame.task(executor="pool")
    def each(n: int) -> int:
        return n

    @lame.flow
    def many() -> Flow[Any]:
        found = items.bind()
        return linear(found, each.each(found))

    # When / Then
    with pytest.raises(UnknownExecutor, match="asks for executor='pool'"):
        lame.run(many())
    assert list(lame.runs()) == []
    lame.close()


def test_a_transaction_cannot_leave_for_one(app: App) -> None:
    with pytest.raises(DefinitionError, match="cannot leave this process"):

        @app.task(executor="pool", transactional=True)
        def book() -> None: ...


def test_b6_an_app_that_nobody_else_could_import_is_refused_with_what_to_do() -> None:
    # Given
    hidden = App("hidden", database_url="memory://", executors={"crew": shop.crew})

    @hidden.task(executor="crew")
    def work() -> None: ...

    # When / Then
    with pytest.raises(NotImportable, match="hidden"):
        hidden.run(work)
    assert list(hidden.runs()) == []
    hidden.close()


def test_c9_a_part_that_has_grown_for_an_executor_that_is_not_there_fails_and_is_undone(app: App) -> None:
    # Given a flow that is made only when its input is there
    lame = App("lame", database_url="memory://")

    @lame.task
    def size() -> int:
        return 1

    @lame.task(executor="pool")
    def made(n: int) -> int:
        return n

    @lame.flow
    def later(n: int) -> Flow[Any]:
        return linear(made.bind(n))

    @lame.flow
    def grows() -> Flow[Any]:
        found = size.bind()
        return linear(found, later.bind(found))

    # When
    run = lame.run(grows(), check=False)
    # Then
    assert run.state == "REVERTED"
    assert (run.failures[0].type, run.failures[0].kind) == ("UnknownExecutor", "resource")
    lame.close()


# -- whose executors are closed ---------------------------------------------------------------------


def test_an_executor_that_was_given_stays_its_owners(app: App, said: str) -> None:
    # Given
    with ThreadPoolExecutor(1) as pool:
        other = replaced(app, "crew", pool)
        # When
        assert other.run(shop.dies.bind(0, said), executor="crew").result == os.getpid()
        other.close()
        # Then
        assert pool.submit(os.getpid).result() == os.getpid()


def test_a_closed_app_leaves_no_flags_behind_and_tells_what_still_runs(
    app: App, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a body that runs when its app is closed
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(lambda: app.run(shop.until_told.bind(said), executor="pool"))
        wait_until(lambda: Path(said).exists(), "no body has begun")
        # When
        app.close()
        # Then
        with pytest.raises(Fenced):
            running.result()
        wait_until(lambda: Path(said).read_text() == "told", "the body goes on")
    assert list(tmp_path.glob("flowledger-*")) == []


# -- executors that are no good -----------------------------------------------------------------------


class Losing(Executor):
    """Loses all that is handed to it."""

    def __init__(self, lose: Callable[[Future[Any]], None]) -> None:
        self._lose = lose

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._lose(future)
        return future


def cancelling(future: Future[Any]) -> None:
    future.cancel()


def raising(future: Future[Any]) -> None:
    future.set_exception(ConnectionError("the cluster is gone"))


def refusing(future: Future[Any]) -> None:
    raise RuntimeError("cannot schedule new futures after shutdown")


@pytest.mark.parametrize(
    ("lose", "cause"),
    [
        (cancelling, "the executor pool has cancelled it"),
        (raising, "the executor pool lost it: ConnectionError: the cluster is gone"),
        (refusing, "the executor pool lost it: RuntimeError: cannot schedule new futures after shutdown"),
    ],
)
def test_c6_what_an_executor_loses_is_interrupted_and_a_third_time_it_has_failed(
    app: App, said: str, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Future[Any]], None], cause: str
) -> None:
    # Given
    monkeypatch.setattr(named, "FIRST_PAUSE_S", 0.01)
    other = replaced(app, "pool", Losing(lose))
    # When
    run = other.run(shop.dies.bind(0, said), executor="pool", check=False)
    # Then
    assert [event.cause for event in events(log_of(other, run), facts.TaskInterrupted)] == [cause] * 3
    assert run.failures[0].kind == "poison"
    assert not Path(said).exists()
    other.close()


def test_c6_what_an_executor_lost_is_made_where_it_works_again(
    app: App, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an executor that loses the first and makes the second
    monkeypatch.setattr(named, "FIRST_PAUSE_S", 0.01)
    with ThreadPoolExecutor(1) as pool:
        lost: list[object] = []

        class Once(Executor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                if not lost:
                    lost.append(fn)
                    pool.submit(fn, *args, **kwargs).result()  # it is made, and nobody hears of it
                    raise ConnectionError("gone")
                return pool.submit(fn, *args, **kwargs)

        other = replaced(app, "pool", Once())
        # When
        run = other.run(shop.dies.bind(0, said), executor="pool")
        # Then
        assert len(list(events(log_of(other, run), facts.TaskInterrupted))) == 1
        assert len(Path(said).read_text().splitlines()) == 2
        other.close()


def test_c6_a_call_that_an_executor_makes_twice_begins_its_body_once(app: App, said: str) -> None:
    # Given an executor that begins again what has begun, as clusters do when a machine is gone
    with ThreadPoolExecutor(1) as pool:

        class Twice(Executor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                if not Path(said).exists():
                    pool.submit(fn, *args, **kwargs).result()
                return pool.submit(fn, *args, **kwargs)

        other = replaced(app, "pool", Twice())
        # When
        run = other.run(shop.dies.bind(0, said), executor="pool")
        # Then
        (interrupted,) = events(log_of(other, run), facts.TaskInterrupted)
        assert "begun a second time" in interrupted.cause
        assert len(Path(said).read_text().splitlines()) == 2
        other.close()


def test_c9_an_executor_that_cannot_be_made_is_a_failed_attempt_like_a_resource(app: App, said: str) -> None:
    # Given one whose maker fails once
    tries: list[int] = []

    def make() -> Executor:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("no scheduler")
        return ThreadPoolExecutor(1)

    other = replaced(app, "pool", make)

    @other.task(executor="pool", attempts=2)
    def patient() -> int:
        return 7

    # When
    run = other.run(patient)
    # Then
    assert run.result == 7
    (failed,) = events(log_of(other, run), facts.TaskFailed)
    assert (failed.failure.type, failed.failure.kind, failed.again) == ("ConnectionError", "resource", True)
    other.close()


# -- other processes, and none ------------------------------------------------------------------------


def test_b3_a_process_without_the_executor_leaves_the_run_to_those_that_have_it(
    app: App, said: str, tmp_path: Path
) -> None:
    # Given a run that was submitted, and a process whose app was not given the executor
    url = f"sqlite:///{tmp_path}/log.db"
    lame = App("named_shop", database_url=url)
    lame.include(app)
    with app.using(database_url=url):
        run = app.submit(shop.mixed(3, said))
        # When
        with pytest.raises(UnknownExecutor, match="mixed/pack asks for executor='pool'"):
            lame.get(run.id).resume()
        # Then it can be looked at there, and goes on where the executor is
        assert lame.get(run.id).state == "PENDING"
        run.wait()
        assert run.state == "SUCCEEDED"
        assert lame.get(run.id).results["mixed/pack"] == run.results["mixed/pack"]
    lame.close()


def test_b3_a_conductor_takes_up_what_has_named_executors(app: App, said: str, tmp_path: Path) -> None:
    async def conducted() -> str:
        async with app.conductor():
            run = app.submit(shop.mixed(3, said))
            await run
            return run.state

    with app.using(database_url=f"sqlite:///{tmp_path}/log.db"):
        assert asyncio.run(conducted()) == "SUCCEEDED"


# -- a cluster of Dask --------------------------------------------------------------------------------


def distributed() -> Any:
    return pytest.importorskip("distributed", reason="no Dask: install the dev extra")


def new_cluster(processes: int) -> Any:
    return distributed().LocalCluster(
        n_workers=processes, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
        env={"FLOWLEDGER_CODEC_KEYS": CODEC_KEY.line},
    )  # fmt: skip


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """A cluster of two processes. They know the key with which secrets are encrypted for them."""
    with pytest.MonkeyPatch.context() as patch, new_cluster(2) as cluster:
        patch.setenv("TEST_DASK", cluster.scheduler_address)
        yield cluster


def test_one_run_has_bodies_on_a_cluster_too(app: App, dask: Any) -> None:
    # When
    run = app.run(shop.far(3))
    # Then
    [shipped] = events(log_of(app, run), facts.TaskSucceeded, "ship")
    assert shipped.progress == facts.Progress(fraction=0.9, message="weighed")
    parcel = run.results["far/ship"]
    assert isinstance(parcel, shop.Parcel)
    assert parcel.size == 4
    assert len({os.getpid(), parcel.made_in, run.results["far/unordered/Stamp"]}) == 3
    assert str(run.results["far/unordered/call"]).startswith("crew")
    # And the connection to it lasts as long as the app is open
    assert shop.closed == []
    app.close()
    assert sorted(shop.closed) == ["cluster", "crew"]


def test_c6_a_process_of_the_cluster_that_dies_costs_one_attempt(app: App, dask: Any, said: str) -> None:
    # When
    run = app.run(shop.dies.bind(1, said), executor="dask")
    # Then the cluster has not run it again by itself
    (interrupted,) = events(log_of(app, run), facts.TaskInterrupted)
    assert "begun a second time" in interrupted.cause
    first, second = Path(said).read_text().split()
    assert run.result == int(second) != int(first)


def test_c6_a_cluster_does_not_run_again_what_is_to_run_once(app: App, dask: Any, said: str) -> None:
    # When
    run = app.run(shop.dies_once.bind(said), executor="dask", check=False)
    # Then
    assert run.failures[0].kind == "interrupted"


def test_d1_a_body_on_the_cluster_is_told_that_its_scope_fails(app: App, dask: Any, said: str) -> None:
    # When
    run = app.run(shop.sides(said, "dask"), check=False)
    # Then
    assert run.state == "REVERTED"
    assert Path(said).read_text() == "saw it"


def test_c7_a_body_on_the_cluster_whose_time_is_over_is_told(app: App, dask: Any, said: str) -> None:
    # Given a cluster whose processes know the app
    app.run(shop.crowd(f"{said}.other", 2), executor="dask")
    # When
    run = app.run(shop.dawdles.bind(said), executor="dask", check=False)
    # Then
    assert run.failures[0].kind == "timeout"
    assert Path(said).read_text() == "saw it"


def test_c6_what_somebody_cancels_on_the_cluster_is_made_again(app: App, dask: Any, said: str) -> None:
    # Given a body under way, whose run waits for it
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(lambda: app.run(shop.until_told.bind(said), executor="dask"))
        wait_until(lambda: Path(said).exists(), "no body has begun")
        # When
        client = shop.clients[-1]
        client.cancel([distributed().Future(key, client) for key in client.futures])
        # Then it is told, and made again
        wait_until(lambda: Path(said).read_text() == "told", "the body goes on")
        Path(said).with_suffix(".go").touch()
        run = running.result()
    (interrupted,) = events(log_of(app, run), facts.TaskInterrupted)
    assert interrupted.cause == "the executor dask has cancelled it"


def test_c6_a_cluster_that_is_gone_interrupts_and_the_next_one_is_found(
    app: App, dask: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a body under way on another cluster, for which its client does not wait long
    monkeypatch.setattr(named, "FIRST_PAUSE_S", 0.2)
    config = distributed().config["distributed"]
    monkeypatch.setitem(config["comm"]["timeouts"], "connect", "1s")
    with ThreadPoolExecutor(1) as beside, new_cluster(1) as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_DASK", other.scheduler_address)
        running = beside.submit(lambda: app.run(shop.until_told.bind(said), executor="dask"))
        wait_until(lambda: Path(said).exists(), "no body has begun")
        patch.undo()
        # When that goes
        other.sync(other.scheduler.close)
        Path(said).with_suffix(".go").touch()
        run = running.result()
    # Then
    assert run.result == 7
    causes = [event.cause for event in events(log_of(app, run), facts.TaskInterrupted)]
    assert set(causes) == {"the executor dask has cancelled it"}
    assert len(shop.clients) == 2


def test_rel_s10_secrets_go_to_a_cluster_encrypted_or_not_at_all(app: App, dask: Any, tmp_path: Path) -> None:
    # Given
    login = shop.Login(user="ann", password=SecretStr("hunter2-hunter2"))
    # When there is no key
    run = app.run(shop.enter(login), executor="dask", check=False)
    # Then
    assert run.failures[0].type == "flowledger.events.errors.KeyMissing"
    # When there is
    with app.using(database_url=f"memory://{tmp_path.name}", codec_keys=CODEC_KEY.line):
        assert app.run(shop.enter(login), executor="dask").result == len("token of hunter2-hunter2")


def told(app: App, run: Any, kind: type[Any]) -> list[tuple[str, Any]]:
    return [(envelope.path, envelope.event) for envelope in log_of(app, run) if isinstance(envelope.event, kind)]


def replaced(app: App, name: str, executor: Any, settings: Settings | None = None) -> App:
    """The same app with another executor of this name."""
    settings = settings or Settings(database_url="memory://")
    other = App(app.name, settings=settings, executors={name: executor})
    other.include(app)
    shop.other = other  # where other processes could find it
    return other
