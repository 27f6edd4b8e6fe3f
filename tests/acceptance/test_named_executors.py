"""Bodies on executors that the app knows by name: pools of processes and of threads, and other processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import encode
from pydantic import SecretStr

from flowledger import App, Bounded, Settings, UnknownExecutor
from flowledger.adapters.executors.afar import run_attempt
from flowledger.core.portable import Request, encoded, reply_of
from flowledger.events import facts
from tests.acceptance import named_shop as shop
from tests.acceptance.command_line import flowledger
from tests.acceptance.far_executors import app, replaced, said, told
from tests.acceptance.logs import events, log_of
from tests.postgres_server import wait_until

__all__ = ["app", "flowledger", "said"]

pytestmark = pytest.mark.slow


# -- a pool of processes, and one of threads ------------------------------------------------------


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


# -- other processes, and none --------------------------------------------------------------------


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
