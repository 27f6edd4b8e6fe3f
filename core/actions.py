"""What `decide` answers: actions the engine may take now. Each has one consequence in the log (D8)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

Kind = Literal[
    "Start", "StartRound", "AskRetry", "RevertScope", "Revert", "ResetScope", "AskBranch", "Skip", "Expand", "End"
]  # fmt: skip

CONTROL = "control"


class Action(msgspec.Struct, frozen=True, gc=False):
    """One enabled action on one node of the plan.

    ========== ============================ =======================================================
    kind       on                           consequence
    ========== ============================ =======================================================
    Start      an atom                      TaskStarted, or TaskFailed where its body could not start, TaskWaiting
                                            where it has none, TaskHeld, or what a person has said of it
    StartRound a flow with a retry          RoundStarted, or RetryDecided(error) where `value` raised
    AskRetry   a drained scope              RetryDecided
    RevertScope a scope whose retry said so ScopeReverting
    Revert     a standing atom              RevertStarted, or TaskReverted where there is nothing to call
    ResetScope a reverted scope             ScopeReset
    AskBranch  a node with predicates       BranchDecided
    Skip       a node that was decided against TaskSkipped
    Expand     an expansion                 FlowExpanded
    End        the run                      RunSucceeded, RunReverted, RunFailed or RunCancelled
    ========== ============================ =======================================================
    """

    kind: Kind
    node: int
    lane: str = CONTROL  # the kind of executor it needs, or "control" where it needs none


class Wait(NamedTuple):
    """A node that waits for ``until_us``. No consequence: that the timer fires is an event, a poll is none (F2)."""

    node: int
    until_us: int
    why: Literal["backoff", "poll", "sleep", "signal"]
