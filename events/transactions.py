"""Transactions of user code in the store's database: the contract (rule C8; part of a store)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .facts import Phase


class OutcomeKey(NamedTuple):
    """One try of an atom, forward or back: of all its transactions at most one is ever committed (rule C8)."""

    run_id: str
    path: str
    try_: int
    phase: Phase


class Transactions(Protocol):
    """Transactions that carry a body's own writes and its outcome, or neither (rule C8)."""

    #: How many may be under way at once; 0: this store has none.
    transactions: int
    #: How long one may take at most, whatever is asked for, in seconds.
    longest_transaction_s: float

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        """Call ``work`` with a `sqlalchemy.Connection` in a transaction that also writes what it returns: the outcome.

        ``version`` is the stream's version when the attempt was started: later attempts have later ones. Returns the
        outcome that stands under the key: this one's, or an earlier attempt's (then nothing of this one is there).
        None: the attempt has been declared lost, nothing of it is there. ``work`` may not end the transaction.

        Raises:
            TransactionMisused: ``work`` has ended the transaction itself.
            StoreUnavailable: the transaction could not begin; or it was sent and nobody knows what became of it.
            Exception: whatever ``work`` or the database raises; nothing of the attempt is there.
        """
        ...

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        """The outcome of the key, if one has been committed; else no attempt begun up to ``version`` ever will be.

        A small transaction of its own. It waits for one that is just being committed; whoever is first wins.

        Raises:
            StoreUnavailable: it could not be written, or the other one hangs.
        """
        ...
