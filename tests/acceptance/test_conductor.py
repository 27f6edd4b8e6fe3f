"""Conductors: embedded, and in processes of their own that are stopped, drained and killed (rules B1 to B3, C3)."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flowledger import App, Flow, Run, linear
from flowledger.events import facts
from flowledger.events.errors import KeyConflict
from flowledger.events.store import Mail
from tests.acceptance import board_shop
from tests.acceptance.command_line import Said, run, start
from tests.acceptance.logs import events, log_of, story
from tests.nursery import Piped

pytestmark = pytest.mark.slow

WAIT_S = 60.0


def wait_until(holds: Callable[[], bool], *, why: str) -> None:
    """Come back when it holds."""
    pause = Event()
    for _ in range(int(WAIT_S / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError(why)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def app(url: str) -> Iterator[App]:
    """The shop, as the process has it that submits."""
    found = App("board_shop", database_url=url)
    found.include(board_shop.app)
    yield found
    found.close()


class Shop:
    """The conductors of one test, each a process; what their bodies said; and the gate that some bodies wait for."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "said.txt"
        self._more: dict[str, Any] = {
            "FLOWLEDGER_APP": "tests.acceptance.board_shop:app", "FLOWLEDGER_DATABASE_URL": url,
            "BOARD_SHOP_SAID": str(self._file),
        }  # fmt: skip
        self._processes: list[Piped] = []

    def start(self, *argv: str) -> Piped:
        process = start(*argv, cwd=self._folder, **self._more)
        self._processes.append(process)
        return process

    def conductor(self, *argv: str) -> Piped:
        return self.start("conductor", *argv)

    def command(self, *argv: object) -> Said:
        return run(*argv, cwd=self._folder, **self._more)

    def said(self, what: str) -> list[str]:
        """Lines that begin with this word, each as item and pid."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [line.removeprefix(f"{what} ") for line in lines if line.startswith(f"{what} ")]

    def open_gate(self) -> None:
        self._file.with_suffix(".gate").touch()

    def close(self) -> None:
        for process in self._processes:
            process.close()


@pytest.fixture
def shop(url: str, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(url, tmp_path)
    yield found
    found.close()


# -- one process --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "sqlite", "postgres"])
def test_b3_an_embedded_conductor_drives_what_is_submitted(
    request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    # Given an app, and a run submitted before there is a conductor
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}.get(where)
    url = url or str(request.getfixturevalue("postgres_url"))
    app = App("embedded", database_url=url)

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    @app.flow
    def doubled(n: int) -> Flow[int]:
        twice = double.bind(n)
        return linear(twice, returns=twice)

    early = app.submit(doubled(1), key="early")

    # When one conducts for a while, and another run is submitted meanwhile
    async def serve() -> tuple[int, int]:
        async with app.conductor():
            late = app.submit(doubled(2))
            return await early, await late

    # Then both have been driven by it
    assert asyncio.run(serve()) == (2, 4)
    assert app.submit(doubled(1), key="early").id == early.id
    with pytest.raises(KeyConflict):
        app.submit(doubled(3), key="early")
    app.close()


def test_a_submitted_run_is_driven_by_who_waits_for_it_where_there_is_no_conductor(app: App) -> None:
    assert app.submit(board_shop.order("a")).wait(timeout=30) == "a"


def test_not_before_keeps_a_job_from_being_claimed(app: App) -> None:
    # Given
    later = app.submit(board_shop.order("later"), not_before=datetime.now(UTC) + timedelta(days=1))
    now = app.submit(board_shop.order("now"))

    # When
    async def serve() -> None:
        async with app.conductor():
            await now

    asyncio.run(serve())
    # Then
    assert (now.state, later.state) == ("SUCCEEDED", "PENDING")


# -- many processes -----------------------------------------------------------------------------


def test_b1_two_conductors_share_the_jobs_and_run_each_body_once(app: App, shop: Shop) -> None:
    # Given
    runs = [app.submit(board_shop.order(f"i{n}"), priority=n % 3) for n in range(20)]
    # When
    shop.conductor("--max-runs", "3")
    shop.conductor("--max-runs", "3")
    wait_until(lambda: all(each.state == "SUCCEEDED" for each in runs), why="not all orders were driven")
    # Then
    assert sorted(line.split()[0] for line in shop.said("ship")) == sorted(f"i{n}" for n in range(20))


def test_b2_a_killed_conductors_run_goes_on_elsewhere(app: App, shop: Shop) -> None:
    # Given a run in the middle of a body
    order = app.submit(board_shop.held("x"))
    first = shop.conductor()
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    # When its process is killed, and there is another
    first.send_signal(signal.SIGKILL)
    first.wait()
    shop.open_gate()
    shop.conductor()
    wait_until(lambda: order.state == "SUCCEEDED", why="nobody took the run over")
    # Then the log says that the attempt was lost, and who came next
    log = log_of(app, order)
    assert [claimed.epoch for claimed in events(log, facts.RunClaimed)] == [1, 2]
    assert len(list(events(log, facts.TaskInterrupted, "hold"))) == 1
    assert len(shop.said("ship")) == 1


def test_a_drained_conductor_lets_bodies_finish_and_gives_back_what_is_not_over(app: App, shop: Shop) -> None:
    # Given
    order = app.submit(board_shop.held("x"))
    first = shop.conductor()
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    # When
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: shop.command("conductors", "--json").json["items"][0]["draining"], why="it does not drain")
    assert first.poll() is None
    shop.open_gate()
    # Then it ends by itself, and nothing of the run was interrupted or lost
    assert first.wait(WAIT_S) == 0
    shop.conductor()
    wait_until(lambda: order.state == "SUCCEEDED", why="nobody went on with the run")
    told = story(log_of(app, order))
    assert "TaskInterrupted hold" not in told
    assert [release.reason for release in events(log_of(app, order), facts.RunReleased)] == ["its conductor drains"]


def test_a_second_signal_ends_at_once_and_others_go_on(app: App, shop: Shop) -> None:
    # Given
    order = app.submit(board_shop.held("x"))
    first = shop.conductor()
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    # When
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: shop.command("conductors", "--json").json["items"][0]["draining"], why="it does not drain")
    first.send_signal(signal.SIGTERM)
    first.wait(WAIT_S)
    # Then
    shop.open_gate()
    shop.conductor()
    wait_until(lambda: order.state == "SUCCEEDED", why="nobody took the run over")


def test_g1_a_suspended_job_goes_on_when_somebody_asks_for_it(app: App, shop: Shop) -> None:
    # Given a job that was suspended while its body ran
    order = app.submit(board_shop.held("x"))
    shop.conductor()
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    app.get(order.id).suspend(reason="look")
    shop.open_gate()
    wait_until(lambda: order.state == "SUSPENDED", why="it was not suspended")
    # When somebody writes to it, and no more
    store = app.runtime.store
    store.send([Mail(order.id, "m1", "resume", b'{"reason":"looked"}', "ada@host")])
    # Then a conductor takes it up, answers and goes on
    wait_until(lambda: order.state == "SUCCEEDED", why="nobody answered")
    asked = [(event.kind, event.reason) for event in events(log_of(app, order), facts.RequestAccepted)]
    assert asked == [("suspend", "look"), ("resume", "looked")]


def test_b3_at_the_command_line_a_suspended_job_is_resumed_in_the_conductor(app: App, shop: Shop) -> None:
    # Given a job that was suspended while its body ran
    order = app.submit(board_shop.held("x"))
    shop.conductor()
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    app.get(order.id).suspend(reason="look")
    shop.open_gate()
    wait_until(lambda: order.state == "SUSPENDED", why="it was not suspended")
    # When
    dry = shop.command("resume", order.id, "--dry-run", "--yes")
    assert (dry.code, "would resume" in dry.err, order.state) == (0, True, "SUSPENDED")
    said = shop.command("resume", order.id, "--reason", "looked")
    # Then nothing of it runs where that was said
    assert (said.code, "resume accepted by who drives it" in said.err) == (0, True), said.err
    wait_until(lambda: order.state == "SUCCEEDED", why="it did not go on")
    assert shop.said("ship") == shop.said("hold")


def test_g2_who_waits_for_a_job_is_told_that_it_was_suspended(app: App, shop: Shop) -> None:
    # Given somebody who waits for a job that a conductor drives
    assert not list(app.runs())
    shop.conductor()
    wait_until(lambda: bool(shop.command("conductors", "--json").json["items"]), why="no conductor")
    waiting = shop.start("submit", "held", "--set", "item=x", "--wait")
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    # When
    [run] = app.runs()
    run.suspend(reason="look")
    shop.open_gate()
    # Then
    _, err = waiting.communicate(timeout=WAIT_S)
    assert (waiting.returncode, "resume" in err) == (130, True), err


# -- what operators see and do ------------------------------------------------------------------


def standing(shop: Shop, order: Run[str]) -> str:
    return str(shop.command("jobs", "show", order.id, "--json").json["standing"])


def test_jobs_that_nobody_can_run_are_seen(url: str, app: App, shop: Shop) -> None:
    # Given a flow that the conductors' code does not have
    @app.flow
    def unknown() -> Flow[str]:
        last = board_shop.ship.bind("x")
        return linear(last, returns=last)

    order = app.submit(unknown())
    shop.conductor()
    wait_until(lambda: bool(shop.command("conductors", "--json").json["items"]), why="no conductor")
    # When / Then
    said = shop.command("jobs", "ls", "--json").json["items"]
    assert [(job["id"], job["standing"]) for job in said] == [(order.id, "UNSERVED")]
    assert "board_shop/unknown" in said[0]["why"]


def test_a_job_is_moved_aside_and_put_back(app: App, shop: Shop) -> None:
    # Given
    order = app.submit(board_shop.order("x"))
    assert shop.command("jobs", "trash", order.id).code == 2
    assert shop.command("jobs", "trash", order.id, "--reason", "wrong tenant").code == 0
    shop.conductor()
    # When / Then
    other = app.submit(board_shop.order("y"))
    wait_until(lambda: other.state == "SUCCEEDED", why="the conductor takes nothing")
    assert (order.state, standing(shop, order)) == ("PENDING", "TRASHED")
    assert shop.command("jobs", "release", order.id, "--reason", "right after all").code == 0
    wait_until(lambda: order.state == "SUCCEEDED", why="it was not put back")


def test_a_job_is_taken_from_an_owner_that_hangs(app: App, shop: Shop) -> None:
    # Given an owner that is stopped, and by its presence still looks alive
    order = app.submit(board_shop.held("x"))
    first = shop.conductor()
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    os.kill(first.pid, signal.SIGSTOP)
    # When
    assert shop.command("jobs", "release", order.id, "--reason", "it hangs").code == 0
    shop.open_gate()
    shop.conductor()
    wait_until(lambda: order.state == "SUCCEEDED", why="nobody took it")
    # Then the old owner, going on, changes nothing
    os.kill(first.pid, signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    assert first.wait(WAIT_S) == 0
    assert len(list(events(log_of(app, order), facts.RunSucceeded))) == 1


def test_health_says_alive_and_ready_until_it_drains(app: App, shop: Shop) -> None:
    # Given
    order = app.submit(board_shop.held("x"))
    first = shop.conductor("--health", "127.0.0.1:0")
    wait_until(lambda: bool(shop.said("hold")), why="the body never began")
    port = next(line.split()[-1] for line in first.stderr if line.startswith("health on port"))

    def asked(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    # When / Then
    wait_until(lambda: asked("readyz") == 200, why="never ready")
    assert (asked("livez"), asked("else")) == (200, 404)
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: asked("readyz") == 503, why="ready though it drains")
    assert asked("livez") == 200
    shop.open_gate()
    assert first.wait(WAIT_S) == 0
    assert order.state == "RUNNING"
