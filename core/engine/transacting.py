"""Attempts that are transactions: the body's writes and its outcome are committed together, or neither (rule C8)."""

from __future__ import annotations

from typing import Any

from flowledger.core.plan import Call, Node
from flowledger.core.vault import Vault
from flowledger.events.errors import StoreUnavailable, TransactionMisused
from flowledger.events.facts import Phase
from flowledger.events.transactions import OutcomeKey, Transactions

from .attempt import Attempt, Host, Outcome, Raised, Returned, Unsettled
from .outcomes import read_outcome, written_outcome


class _RolledBack(BaseException):
    """Leaves the transaction with the outcome of a body that has not returned; none of `Exception`'s business."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class TransactionalAttempt(Attempt):
    """An attempt whose body is handed a connection. ``version`` is set when its start has been drafted."""

    __slots__ = ("_transactions", "_vault", "version")

    def __init__(
        self, host: Host, node: Node, phase: Phase, call: Call, try_: int, attempt: int, key: str,
        transactions: Transactions, vault: Vault,
    ) -> None:  # fmt: skip
        super().__init__(host, node, phase, call, try_, attempt, key)
        self._transactions = transactions
        self._vault = vault
        self.version = 0

    @property
    def outcome_key(self) -> OutcomeKey:
        """What its outcome is stored under."""
        return OutcomeKey(self._host.run_id, self.node.path, self.try_, self.phase)

    @property
    def timeout_s(self) -> float:
        """A transaction always has a limit, which the store may make narrower."""
        longest_s = self._transactions.longest_transaction_s
        return longest_s if self.call.timeout_s is None else min(self.call.timeout_s, longest_s)

    def run(self) -> Outcome:
        """Call the body within a transaction, and have its result committed with what it has written."""
        if self._host.lost:
            return super().run()
        try:
            content = self._transactions.transact(
                self.outcome_key, version=self.version, work=self._work, timeout_s=self.timeout_s
            )
        except _RolledBack as ended:
            return ended.outcome
        except StoreUnavailable as error:
            return Unsettled(error)
        except TransactionMisused as error:
            return Raised(self.failure(error, "error"), again=False, exception=error)
        except Exception as error:  # noqa: BLE001 - the database said no: to the outcome, or at the commit
            return Raised(self.failure(error, "error"), again=True, exception=error)
        return self._lost() if content is None else Returned(read_outcome(self._vault, self.node, content))

    def _work(self, connection: Any) -> bytes:
        outcome = self.called({**self.arguments, self.call.connection or "": connection})
        if isinstance(outcome, Returned):
            return written_outcome(self._vault, self.node, outcome.content)
        raise _RolledBack(outcome)

    def _lost(self) -> Outcome:
        """Its time was over, or the connection was lost while it was being committed: nothing of it is there."""
        if self.timed_out:
            return self.overdue()
        error = ConnectionError(f"{self.node.path}: the transaction was ended from outside; nothing of it is there")
        return Raised(self.failure(error, "error"), again=True, exception=error)
