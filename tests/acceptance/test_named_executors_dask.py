"""A cluster of Dask as an executor by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowledger import App
from flowledger.adapters.executors import named
from flowledger.adapters.keys import new_key
from flowledger.events import facts
from tests.acceptance import named_shop as shop
from tests.acceptance.command_line import flowledger
from tests.acceptance.far_executors import app, said
from tests.acceptance.logs import events, log_of
from tests.postgres_server import wait_until

__all__ = ["app", "flowledger", "said"]

pytestmark = pytest.mark.slow


CODEC_KEY = new_key("cluster", "aes")


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
