"""What operators see of tasks that workers are to make: which queue waits for a worker, and that the broker is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowledger import App, Flow, Settings, linear
from flowledger.adapters.executors import remote, waiting
from flowledger.adapters.executors.remote import RemoteExecutor
from flowledger.adapters.keys import Key
from flowledger.core.compiler import rebuild

from .asked import Background, until
from .command_line import Command
from .command_line import flowledger as flowledger  # noqa: PLC0414 - a fixture
from .hand_worker import HandWorker

pytest_plugins = ["tests.brokers"]

Opened = Callable[[str], App]

#: Nobody listens there.
NO_BROKER = "amqp://guest:guest@127.0.0.1:1//"


@pytest.fixture
def opened(tmp_path: Path, message_key: Key, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """An app that asks workers through a broker, and is impatient."""
    monkeypatch.setattr(waiting, "TELL_S", 0.1)
    monkeypatch.setattr(waiting, "UNCLAIMED_S", 0.2)
    monkeypatch.setattr(remote, "AWAY_S", 0.2)
    apps: list[App] = []

    def make(broker_url: str) -> App:
        app = App("shop", settings=Settings(
            database_url=f"sqlite:///{tmp_path}/flowledger.db", broker_url=broker_url, signing_keys=message_key.line,
            views="off",
        ))  # fmt: skip

        @app.task(queue="builds")
        def build() -> int:
            raise AssertionError

        @app.flow
        def release() -> Flow[int]:
            return linear(build, returns=build)

        executor = app.runtime.services.lanes["workers"].executor
        assert isinstance(executor, RemoteExecutor)
        executor.watch_s = 0.05
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def test_a_queue_that_nobody_takes_is_seen(
    opened: Opened, memory_broker_url: str, message_key: Key, flowledger: Command, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    app = opened(memory_broker_url)
    driven = Background(app, rebuild(app, "release", b"{}"), "k")
    conducting = app.conducting()
    conducting.start()
    # When nobody comes
    until(lambda: "no worker takes queue builds" in conducting.ready().why, "it is ready without a word")
    # Then
    assert conducting.ready().good
    assert [r.message for r in caplog.records if "takes queue builds of app shop" in r.message]
    [queue] = flowledger("workers", "ls", "--json").json["queues"]
    assert (queue["app"], queue["queue"], queue["waiting"], queue["workers"]) == ("shop", "builds", 1, 0)
    [row] = flowledger("workers", "ls").table
    assert row[:4] == ["! UNSERVED", "shop", "builds", "1 wait"]
    assert flowledger("workers", "ls", "--of", "bank").table == []
    for verb in ("why", "show"):
        assert "s ago; no worker serves queue builds" in flowledger(verb, "k").out
    # When somebody does
    with HandWorker(app, app.runtime.store, memory_broker_url, message_key, ["builds"]) as worker:
        said = flowledger("workers", "ls")
        assert [line[0] for line in said.table] == ["▶ TAKING"]
        assert "in the queue, 1 worker serves it" in flowledger("why", "k").out
        request = worker.take()
        for verb in ("why", "show"):
            assert f"worker {worker.row.id} (bench, pid 1) makes it, last heard " in flowledger(verb, "k").out
            [asked] = flowledger(verb, "k", "--json").json["asked"]
            assert (asked["queue"], asked["serving"], asked["worker"], asked["pid"]) == ("builds", 1, worker.row.id, 1)
        assert "asked" not in flowledger("show", "k", "--at", "3", "--json").json
        worker.returns(request, 1)
        assert driven.join().result == 1
        # Then nothing waits
        until(lambda: flowledger("workers", "ls", "--json").json["queues"] == [], "it is still said to wait")
    conducting.drain()
    assert conducting.join(20)


def test_a_broker_that_is_away_while_workers_are_asked_is_a_warning_and_no_more(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    app = opened(NO_BROKER)
    conducting = app.conducting()
    conducting.start()
    until(lambda: conducting.ready().good, "never ready")
    assert conducting.ready().why == "ready, 0 runs"
    # When
    Background(app, rebuild(app, "release", b"{}"), "k")
    # Then: what needs no worker goes on, so it stays ready
    until(lambda: "warning: the broker has been away for" in conducting.ready().why, "nothing is said")
    assert conducting.ready().good
    assert "1 attempts wait for workers" in conducting.ready().why
    until(lambda: [r for r in caplog.records if "the broker has been away for" in r.message], "it is not logged")
    assert len([r for r in caplog.records if "the broker has been away for" in r.message]) == 1
    conducting.drain()
    assert conducting.join(20)
