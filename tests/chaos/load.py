"""What is asked of the world: runs, submitted until there are enough, each under a key of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowledger import App, Settings
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import FINAL

from . import shop
from .oracle import Wanted
from .world import World


@dataclass(frozen=True)
class Order:
    """A run that was acknowledged."""

    run_id: str
    factory: str
    size: int

    def wanted(self) -> Wanted:
        """How it ends if nothing disturbs it."""
        match self.factory:
            case "fan":
                return Wanted(
                    run_id=self.run_id, status="SUCCEEDED", path="fan/total", result=b"%d" % sum(range(self.size))
                )
            case "chain":
                last = f"chain/step-{self.size - 1}"
                return Wanted(run_id=self.run_id, status="SUCCEEDED", path=last, result=b"%d" % (self.size - 1))
            case "stubborn":
                return Wanted(run_id=self.run_id, status="SUCCEEDED", path="stubborn/tries/stumble", result=b"3")
            case _:
                return Wanted(run_id=self.run_id, status="REVERTED")


#: The flows, and how large they are at least and at most.
SIZES: Mapping[str, tuple[Callable[[int], Any], int, int]] = {
    "fan": (shop.fan, 3, 12), "chain": (shop.chain, 6, 16), "undone": (shop.undone, 2, 6),
    "stubborn": (shop.stubborn, 2, 4),
}  # fmt: skip


class Load:
    """Submits, straight to the server; what could not be acknowledged is asked for again under the same key."""

    def __init__(self, world: World, *, flows: list[str], width: int | None = None) -> None:
        os.environ["CHAOS_LEDGER"] = str(world.folder / "ledger")
        self._dice, self._flows, self._width = world.dice, flows, width
        self.app = App("chaos", settings=Settings(database_url=world.url, views="off"))
        self.app.include(shop.app)
        self.orders: list[Order] = []
        self.pids: dict[str, int] = {}  # of the conductors there have been, by owner
        self._next: tuple[str, int] | None = None

    def submit(self, count: int) -> None:
        """So many more, or as many as the store takes."""
        for _ in range(count):
            factory, size = self._next = self._next or self._drawn()
            try:
                run = self.app.submit(SIZES[factory][0](size), key=f"k{len(self.orders)}")
            except StoreUnavailable:
                return
            self.orders.append(Order(run.id, factory, size))
            self._next = None

    def _drawn(self) -> tuple[str, int]:
        factory = self._dice.choice(self._flows)
        _, least, most = SIZES[factory]
        return factory, self._width or self._dice.randint(least, most)

    def open(self) -> int | None:
        """How many have not ended; None: the store does not say."""
        board = self.app.runtime.store.board
        try:
            self.pids.update({conductor.owner: conductor.pid for conductor in board.conductors()})
            jobs = board.jobs(limit=100_000)
        except StoreUnavailable:
            return None
        return sum(job.status not in FINAL for job in jobs)
