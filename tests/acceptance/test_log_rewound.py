"""The log goes back behind what a process has written (RELIABILITY R13): that is said, and left to a person."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from flowledger import App, Flow, LogRewound, linear
from tests.acceptance.asked import types, until
from tests.acceptance.command_line import Command, flowledger

__all__ = ["flowledger"]


class Shop(App):
    """An order whose second task waits until it is told to go on; ``done`` is what bodies did."""

    def __init__(self, file: Path) -> None:
        super().__init__("shop", database_url=f"sqlite:///{file}")
        self.file = file
        self.entered, self.go_on = Event(), Event()
        self.done: list[str] = []

        @self.task
        def pay() -> None:
            self.done.append("pay")

        @self.task
        def ship() -> None:
            self.done.append("ship")
            self.entered.set()
            assert self.go_on.wait(30)

        @self.flow
        def order() -> Flow[None]:
            return linear(pay, ship)

        self.order = order

    def go_back_to(self, version: int, *, epoch: int = 1) -> None:
        """An older copy of the log stands where this one stood; somebody may have claimed its runs since."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("DELETE FROM events WHERE version > ?", (version,))
            connection.execute(
                "UPDATE streams SET version = ?, epoch = ?, head_hash = "
                "(SELECT hash FROM events e WHERE e.run_id = streams.run_id AND e.version = ?)",
                (version, epoch, version),
            )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path / "log.db")
    yield found
    found.go_on.set()
    found.close()


@pytest.mark.parametrize("epoch", [1, 5])
def test_rel_r13_who_has_written_what_is_gone_says_so_and_writes_no_more(shop: Shop, epoch: int) -> None:
    # Given a run of which more has been written than an older copy of the log has
    with ThreadPoolExecutor(1) as pool:
        driven = pool.submit(shop.execute, shop.order(), key="k")
        assert shop.entered.wait(30)
        [run] = shop.runs()
        before = types(shop, run)
        shop.go_back_to(2, epoch=epoch)
        # When it goes on
        shop.go_on.set()
        error = driven.exception()
    # Then
    assert isinstance(error, LogRewound)
    assert (
        f"run {run.id} is at version 2 of epoch {epoch}, and this process has written it up to version {len(before)}"
        in (error.message)
    )
    assert "promoted" in (error.hint or "")
    assert types(shop, run) == before[:2]
    # When whoever has looked calls again / Then it goes on from where the log is
    assert shop.run(shop.order(), key="k").state == "SUCCEEDED"
    assert types(shop, run)[-1] == "RunSucceeded"


def test_rel_r13_a_conductor_moves_such_a_run_aside_until_somebody_releases_it(shop: Shop, flowledger: Command) -> None:
    # Given a job that a conductor has taken
    run = shop.submit(shop.order())

    async def conduct() -> None:
        async with shop.conductor():
            await asyncio.to_thread(meanwhile)

    def job(standing: str) -> str | None:
        said = flowledger("jobs", "ls", "--json", "--database-url", shop.settings.database_url).json["items"]
        return next((each["why"] for each in said if (each["id"], each["standing"]) == (run.id, standing)), None)

    def meanwhile() -> None:
        assert shop.entered.wait(30)
        shop.go_back_to(3)
        # When the log goes back, and the run on
        shop.go_on.set()
        # Then nobody goes on with it, and it is said why
        assert "the log has gone back" in until(lambda: job("TRASHED"))
        assert (shop.done, run.state) == (["pay", "ship"], "RUNNING")
        # When somebody has looked
        flowledger("jobs", "release", run.id, "--reason", "looked at", "--database-url", shop.settings.database_url)
        # Then it goes on from where the log is
        run.wait(timeout=30)

    asyncio.run(conduct())
    assert (shop.done, run.state) == (["pay", "ship", "pay", "ship"], "SUCCEEDED")
