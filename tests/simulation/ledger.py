"""Transactions in a store that is simulated (C8): what bodies have written, and the outcomes that went with it.

A connection is a list of what is written through it; it is in the ledger when its transaction is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowledger.events.errors import StoreUnavailable
from flowledger.events.transactions import OutcomeKey

if TYPE_CHECKING:
    from .process import Process

LONGEST_S = 1e6  # what takes too long is nothing the simulation knows


class Ledger:
    """What has been committed, under which key; a tombstone is an outcome that is None."""

    def __init__(self) -> None:
        self.outcomes: dict[OutcomeKey, tuple[int, bytes | None]] = {}
        self.written: dict[OutcomeKey, list[Any]] = {}

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        """See `Transactions.settle`."""
        before = self.outcomes.get(key)
        if before is None or (before[1] is None and before[0] < version):
            self.outcomes[key] = (version, None)
        return self.outcomes[key][1]

    def transact(
        self, key: OutcomeKey, version: int, work: Callable[[Any], bytes], commits: Callable[[], None]
    ) -> bytes | None:
        """See `Transactions.transact`; ``commits`` is called when it is to be committed, and may raise."""
        before = self.outcomes.get(key)
        if before is not None and (before[1] is not None or before[0] >= version):
            return before[1]
        writes: list[Any] = []
        content = work(writes)
        commits()
        self.outcomes[key] = (version, content)
        self.written.setdefault(key, []).extend(writes)
        return content


class Lending:
    """Transactions as one process has them: it may be killed in their middle, and not hear that one was committed."""

    transactions = 4
    longest_transaction_s = LONGEST_S

    def __init__(self, process: Process, ledger: Ledger) -> None:
        self._process = process
        self._ledger = ledger

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        """See `Transactions.transact`."""
        content = self._ledger.transact(key, version, work, lambda: self._may_fail("before a commit"))
        self._may_fail("after a commit")
        return content

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        """See `Transactions.settle`."""
        self._may_fail("before a tombstone")
        return self._ledger.settle(key, version=version)

    def _may_fail(self, when: str) -> None:
        process = self._process
        if process.dies(when) or process.chance.random() < process.world.faults.away:
            raise StoreUnavailable(f"simulated {when}")
