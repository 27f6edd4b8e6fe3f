"""R5: workers in processes of their own, on RabbitMQ and Postgres, killed, stopped and drained (rules C1 to C7).

Thirty kills here; `FLOWLEDGER_TEST_LONG=1` makes them three hundred.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, Run, RunOwned, Settings
from flowledger.adapters.broker.publisher import Publisher
from flowledger.adapters.executors.remote import RemoteExecutor
from flowledger.adapters.keys import Key
from flowledger.adapters.sources import read
from flowledger.core.engine.crossing import packed
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.acceptance import worker_shop
from tests.acceptance.command_line import Said, environment, run
from tests.acceptance.worker_shop import said
from tests.nursery import Child, nursery
from tests.postgres_server import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 300 if os.environ.get("FLOWLEDGER_TEST_LONG") else 30
BRICKS = 30
SEED = 5


class Shop:
    """An engine in this process, and workers in others."""

    def __init__(self, folder: Path, url: str, broker: str, key: Key) -> None:
        self._folder, self._log = folder, folder / "log"
        self._more: dict[str, Any] = {
            "FLOWLEDGER_APP": "tests.acceptance.worker_shop:app", "FLOWLEDGER_DATABASE_URL": url,
            "FLOWLEDGER_BROKER_URL": broker, "FLOWLEDGER_SIGNING_KEYS": key.line, "SHOP": str(folder),
        }  # fmt: skip
        self._pool = ThreadPoolExecutor(16)
        self.processes: list[Child] = []
        self.app = App("shop", settings=Settings(
            database_url=url, broker_url=broker, signing_keys=key.line, views="off"
        ))  # fmt: skip
        self.app.include(worker_shop.app)
        executor = self.app.runtime.services.lanes["workers"].executor
        assert isinstance(executor, RemoteExecutor)
        executor.watch_s = 0.2

    def worker(self, *argv: object, ready: bool = True) -> Child:
        """A worker in a process of its own; with ``ready`` once it is known."""
        process = self._started("worker", *argv)
        if ready:
            wait_until(lambda: process.pid in self.pids() or process.poll() is not None, "no worker")
            assert process.poll() is None, self._log.read_text()
        return process

    def engine(self, flow: str, key: str) -> Child:
        """A run that a process of its own drives."""
        return self._started("run", flow, "--key", key)

    def _started(self, *argv: object) -> Child:
        process = nursery().start(*argv, cwd=self._folder, log=self._log, environment=environment(**self._more))
        self.processes.append(process)
        return process

    def pids(self) -> set[int]:
        return {known.row.pid for known in self.app.runtime.store.claims.workers()}

    def command(self, *argv: object) -> Said:
        return run(*argv, cwd=self._folder, **self._more)

    def drive(self, flow: Flow[Any], key: str | None = None) -> Future[Run[Any]]:
        return self._pool.submit(self.app.run, flow, key=key, check=False)

    def log(self, run_id: str) -> list[Envelope]:
        return read(self.app.runtime.store, run_id)

    def interruptions(self, run_id: str) -> list[facts.TaskInterrupted]:
        return [e.event for e in self.log(run_id) if isinstance(e.event, facts.TaskInterrupted)]

    def open_gate(self) -> None:
        (self._folder / "gate").touch()

    def close(self) -> None:
        self._pool.shutdown(wait=False)
        self.app.close()
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def shop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str, rabbitmq_url: str, message_key: Key
) -> Iterator[Shop]:
    monkeypatch.setenv("SHOP", str(tmp_path))
    found = Shop(tmp_path, postgres_url, rabbitmq_url, message_key)
    yield found
    found.close()


def begun() -> list[str]:
    return [word for word in said() if word.startswith("begun")]


def until(holds: Callable[[], bool], why: str) -> None:
    wait_until(holds, why, within_s=60)


def _until_more(driven: Future[Run[Any]], wanted: int) -> None:
    until(lambda: len(said()) >= wanted or driven.done(), "nothing is made")


def taken_up(shop: Shop, run_id: str) -> Future[Run[Any]]:
    """Drive the run of the key "k" here, as soon as it is known that its owner is dead."""
    driven: list[Future[Run[Any]]] = []

    def is_under_way() -> bool:
        if not driven or (driven[-1].done() and isinstance(driven[-1].exception(), RunOwned)):
            driven.append(shop.drive(worker_shop.waiting(), key="k"))
        return driven[-1].done() or run_id in shop.app.runtime.drivers

    until(is_under_way, "nobody takes it up")
    return driven[-1]


def test_c1_workers_of_their_own_make_parts_of_a_flow_and_are_seen(shop: Shop) -> None:
    # Given
    worker = shop.worker("--concurrency", 4)
    # When
    mixed = shop.drive(worker_shop.mixed()).result(60)
    apart = shop.drive(worker_shop.apart()).result(60)
    # Then
    assert mixed.result == 11
    assert apart.result not in (os.getpid(), worker.pid)  # in a child of the worker's
    (listed,) = shop.command("workers", "ls", "--json").json["items"]
    assert (listed["pid"], listed["concurrency"], listed["state"]) == (worker.pid, 4, "running")
    assert "builds" in listed["queues"]
    # And seen afterwards, in the log and in the views
    by = f"{worker.pid}@{socket.gethostname()}"
    assert {e.event.worker for e in shop.log(mixed.id) if isinstance(e.event, facts.TaskSucceeded)} == {
        "",
        f"{listed['id']} {by}",
    }
    assert f"by {by}" in shop.command("show", mixed.id).out


def test_rel_r5_a_killed_workers_attempt_is_interrupted_and_made_by_another(shop: Shop) -> None:
    # Given
    first = shop.worker()
    future = shop.drive(worker_shop.waiting())
    until(lambda: len(begun()) == 1, "nothing begins")
    # When
    first.kill()
    second = shop.worker(ready=False)
    # Then
    until(lambda: len(begun()) == 2, "nobody goes on")
    shop.open_gate()
    run = future.result(60)
    assert run.result == 7
    assert begun() == [f"begun-1-{first.pid}", f"begun-2-{second.pid}"]
    (interrupted,) = shop.interruptions(run.id)
    assert "is gone" in interrupted.cause


@pytest.mark.parametrize("reported", ["before", "after"])
def test_c3_the_next_owner_uses_what_a_worker_made_for_one_that_was_killed(shop: Shop, reported: str) -> None:
    # Given a run whose owner is killed while a worker makes a part of it
    worker = shop.worker()
    owner = shop.engine("waiting", "k")
    until(lambda: len(begun()) == 1, "nothing begins")
    owner.kill()
    owner.wait()
    [stream] = shop.app.runtime.store.streams(key="k")
    # When the worker reports before somebody takes the run up, or after
    if reported == "before":
        shop.open_gate()
        until(lambda: bool(shop.app.runtime.store.inbox(stream.run_id).rows), "nothing is reported")
    future = taken_up(shop, stream.run_id)
    if reported == "after":
        shop.open_gate()
    run = future.result(60)
    # Then its outcome is used, nothing was interrupted, and the body ran once
    assert (run.id, run.result) == (stream.run_id, 7)
    assert begun() == [f"begun-1-{worker.pid}"]
    assert said().count("through") == 1
    assert shop.interruptions(run.id) == []
    log = [e.event for e in shop.log(run.id)]
    assert [e.epoch for e in log if isinstance(e, facts.RunClaimed)] == [1, 2]
    assert sum(isinstance(e, facts.TaskStarted) and e.queue == "builds" for e in log) == 1


def test_rel_r5_a_task_that_kills_its_workers_is_parked_after_three(shop: Shop) -> None:
    # Given
    workers = [shop.worker() for _ in range(4)]
    # When
    run = shop.drive(worker_shop.poison()).result(120)
    # Then
    assert run.state == "FAILED"
    assert run.failures[0].kind == "poison"
    assert len(shop.interruptions(run.id)) == 3
    until(lambda: sum(worker.poll() is not None for worker in workers) == 3, "more were killed")
    assert said().count("killed") == 3


def test_c4_a_worker_stopped_for_too_long_comes_too_late_and_changes_nothing(shop: Shop) -> None:
    # Given a worker that stands still, and is taken for dead
    shop.app.runtime.store.claims.lost_s = 3.0
    first = shop.worker()
    future = shop.drive(worker_shop.waiting())
    until(lambda: len(begun()) == 1, "nothing begins")
    first.send_signal(signal.SIGSTOP)
    second = shop.worker()
    until(lambda: len(begun()) == 2, "nobody goes on")
    # When it goes on, it hears that its attempt is nobody's
    first.send_signal(signal.SIGCONT)
    shop.open_gate()
    run = future.result(60)
    # Then
    assert run.result == 7
    assert [e.path for e in shop.log(run.id) if isinstance(e.event, facts.TaskSucceeded)] == [
        "waiting/near",
        "waiting/waits",
    ]
    assert second.poll() is None


def test_c1_a_message_that_comes_again_makes_nothing_twice(shop: Shop, rabbitmq_url: str, message_key: Key) -> None:
    # Given
    shop.worker()
    future = shop.drive(worker_shop.waiting())
    until(lambda: len(begun()) == 1, "nothing begins")
    (driver,) = shop.app.runtime.drivers.values()
    (attempt,) = driver.live.values()
    # When what was asked is asked again, many times
    publisher = Publisher(rabbitmq_url, app="shop", keys=[message_key])
    for _ in range(20):
        publisher.publish("builds", packed(attempt), expires_s=60)
    until(lambda: publisher.unconfirmed == 0, "they are not sent")
    publisher.close()
    shop.open_gate()
    # Then
    assert future.result(60).result == 7
    assert len(begun()) == 1


def test_sigterm_drains_a_worker_and_a_second_ends_it(shop: Shop) -> None:
    # Given
    first = shop.worker()
    future = shop.drive(worker_shop.waiting())
    until(lambda: len(begun()) == 1, "nothing begins")
    # When
    first.send_signal(signal.SIGTERM)
    until(lambda: shop.command("workers", "ls", "--json").json["items"][0]["state"] == "draining", "it does not drain")
    assert first.poll() is None
    shop.open_gate()
    # Then
    assert first.wait(30) == 0
    assert future.result(60).result == 7
    assert shop.interruptions(future.result().id) == []
    assert shop.command("workers", "ls", "--json").json["items"] == []


def test_c7_a_cancelled_run_tells_the_worker_in_the_middle(shop: Shop) -> None:
    # Given
    shop.worker()
    future = shop.drive(worker_shop.waiting())
    until(lambda: len(begun()) == 1, "nothing begins")
    # When
    run_id = next(iter(shop.app.runtime.drivers))
    assert shop.command("cancel", run_id, "--reason", "enough", "--yes").code == 0
    # Then
    assert future.result(60).state == "CANCELLED"
    assert "saw-it" in said()


def test_rel_r5_workers_killed_at_random_lose_double_and_strand_nothing(shop: Shop) -> None:
    # Given
    chance = random.Random(SEED)
    living = [shop.worker("--concurrency", 4) for _ in range(3)]
    runs: list[Run[Any]] = []
    driven = shop.drive(worker_shop.fan(BRICKS))
    # When
    for _ in range(KILLS):
        if driven.done():
            runs.append(driven.result())
            driven = shop.drive(worker_shop.fan(BRICKS))
        victim = living.pop(chance.randrange(len(living)))
        _until_more(driven, len(said()) + chance.randint(1, 6))
        victim.kill()
        victim.wait()
        living.append(shop.worker("--concurrency", 4))
    runs.append(driven.result(120))
    # Then each part has one outcome, whatever was begun
    lost = 0
    for each in runs:
        assert each.state == "SUCCEEDED", each.failures
        assert each.result == list(range(BRICKS))
        log = shop.log(each.id)
        done = Counter(e.path for e in log if isinstance(e.event, facts.TaskSucceeded))
        assert set(done.values()) == {1}
        assert len(done) == BRICKS
        lost += sum(isinstance(e.event, facts.TaskInterrupted) for e in log)
    print(f"R5: {KILLS} kills, {len(runs)} runs of {BRICKS} parts, {lost} attempts interrupted, 0 lost, 0 doubled")
