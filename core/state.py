"""The state of a run: what the fold of its events says, and the counters that make each step cheap.

`evolve` alone changes it; everyone else reads. Per-node facts are lists indexed by node number or, where few nodes have
them, dicts. Counters are kept so that an event touches only its neighbours:

- ``blockers[n]``         siblings before n that are not done
- ``open_children[f]``    children of flow f that are not done
- ``standing[n]``         atom: 1 while it must be undone; flow: how many children have something standing
- ``standing_succs[n]``   siblings after n in which something stands: n cannot be undone before them (D4)
- ``hollow``              nodes that are done without anything standing in them (skipped, or a flow without atoms):
                          what comes after them stands after what comes before them (D4)
- ``busy[s]``             bodies that run directly in scope s, plus scopes inside that are busy, plus its own revert
- ``open_reverts[s]``     reverts enabled or running that belong to the revert of scope s
- ``touched[f]``          children of flow f that are not as they were at the start (what a reset must visit)

What most runs have nothing of is a dict also where it is used as a set: empty, it takes a quarter of the room.
The plan is the state's own where it may grow (E7): numbers in a state mean nodes of ``state.plan``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from flowledger.events.facts import OnFailure, OutcomeIgnored, Resolution, RunSubmitted
from flowledger.events.failure import Failure
from flowledger.events.store import Direction, RunStatus

from .actions import Wait
from .agenda import Agenda, OrderedAgenda
from .plan import RUN, Node, Plan
from .stored import Result
from .vault import Vault

if TYPE_CHECKING:
    from .inheriting import Had

Ended = Literal["succeeded", "failed", "unknown"]
Cancelled = Literal["revert", "keep"]


class Resolved(NamedTuple):
    """What a person has said of a held attempt (G3): who, why, and for "succeeded" with which result."""

    resolution: Resolution
    reason: str
    result: Result


class Received(NamedTuple):
    """A signal that nobody has taken yet: the ``version`` it came with, the id it was sent under, its payload."""

    version: int
    request: str
    payload: Result


class Round(NamedTuple):
    """One pass of a retry's scope: its value and, once decided, the failures that ended it.

    Times are microseconds of the run's own time: store time less what it was suspended.
    """

    value: msgspec.Raw
    began_us: int
    ended_us: int = 0
    failures: tuple[Failure, ...] = ()


class State:
    """The folded state of one run under one plan. Made empty; `evolve` fills it.

    ``moved``: contents of payload rows by digest, for what the fold itself must read: the lists of expansions; and the
    ``vault`` that reads them, where the run has one.
    """

    __slots__ = (
        "adopted_by",
        "again",
        "agenda",
        "answered",
        "attempts",
        "backoff_s",
        "blockers",
        "broken",
        "busy",
        "cancelled",
        "claimed_by",
        "decided",
        "direction",
        "doomed",
        "due",
        "ended",
        "epoch",
        "failed",
        "failure_counts",
        "failures",
        "first_started_us",
        "held",
        "history",
        "hollow",
        "interruptions",
        "kept",
        "known_failures",
        "known_revert_failures",
        "late",
        "listening",
        "live_scopes",
        "members",
        "moved",
        "offered",
        "on_failure",
        "open_children",
        "open_reverts",
        "plan",
        "polls",
        "remote",
        "resolved",
        "results",
        "retry_errors",
        "revert_attempts",
        "revert_errors",
        "revert_failures",
        "revert_interruptions",
        "revert_scope",
        "rounds",
        "running",
        "signals",
        "skipped",
        "skips",
        "standing",
        "standing_succs",
        "started",
        "states",
        "status",
        "submitted",
        "suspended_at_us",
        "suspended_us",
        "taken",
        "time_us",
        "touched",
        "tries",
        "undo",
        "vault",
        "version",
        "waiting",
    )  # fmt: skip

    moved: Mapping[str, bytes]
    vault: Vault | None

    def __init__(self, plan: Plan, moved: Mapping[str, bytes] | None = None, vault: Vault | None = None) -> None:
        self.plan = plan = plan.own()
        self.moved, self.vault = ({} if moved is None else moved), vault
        in_numbers = plan.order is None and not plan.prioritised
        self.agenda = Agenda() if in_numbers else OrderedAgenda(plan.rank)
        self.version = 0
        self.time_us = 0
        self.epoch = 0
        self.claimed_by = ""
        self.submitted: RunSubmitted | None = None
        self.started = False
        self.status: RunStatus = "PENDING"
        self.direction: Direction = "FORWARD"
        self.on_failure: OnFailure = plan.on_failure  # as RunStarted says (D3)
        self.broken = False  # a revert failed for good (D5)
        self.suspended_at_us: int | None = None
        self.suspended_us = 0  # all suspensions so far: deadlines do not count them (G2)
        # per node
        self.states: list[str] = []
        self.tries: list[int] = []
        self.attempts: list[int] = []
        self.blockers: list[int] = []
        self.open_children: list[int] = []
        self.standing: list[int] = []
        self.standing_succs: list[int] = []
        self.enter(plan.nodes, [1] * len(plan.nodes))
        self.hollow: dict[int, None] = {}
        self.touched: dict[int, dict[int, None]] = {}
        # branches
        self.decided: dict[int, None] = {}  # nodes whose predicates have been asked in this round
        self.skips: dict[int, list[int]] = {}  # by the node that was decided against: what it takes along
        self.doomed: dict[int, int] = {}  # how many of those take a node along
        self.skipped: set[int] = set()
        self._no_attempts_yet()
        self._nothing_said_yet()
        self._no_rounds_yet()
        self._first_time()

    def _no_attempts_yet(self) -> None:
        """What is kept per atom, where there is something to say."""
        self.results: dict[int, Result] = {}
        self.failures: dict[int, Failure] = {}  # the last one
        self.failure_counts: dict[int, int] = {}  # in this try
        self.known_failures: dict[int, int] = {}  # of these, the ones whose effect is known: not timed out (C5)
        self.interruptions: dict[int, int] = {}  # in this try
        self.polls: dict[int, int] = {}
        self.first_started_us: dict[int, int] = {}  # in this try, less what was suspended before
        self.revert_attempts: dict[int, int] = {}
        self.revert_failures: dict[int, int] = {}
        self.revert_errors: dict[int, Failure] = {}  # the last one
        self.revert_interruptions: dict[int, int] = {}
        self.revert_scope: dict[int, int] = {}  # the scope whose revert an enabled or running revert belongs to
        self.ended: dict[int, Ended] = {}  # how execute had ended when its revert began
        self.late: dict[int, tuple[OutcomeIgnored, ...]] = {}  # outcomes of execute that came too late, in this try
        self.running: set[int] = set()  # bodies that run, as far as the log says
        self.remote: dict[int, str] = {}  # of these, the ones that workers were asked for, and on which queue (C3)
        self.due: dict[int, Wait] = {}

    def _nothing_said_yet(self) -> None:
        """What people have asked, said and sent."""
        self.answered: dict[str, None] = {}  # ids of requests and signals
        self.cancelled: Cancelled | None = None  # and what becomes of what stands (G4)
        self.held: dict[int, str] = {}  # a person must say what became of the attempt, and why (G3)
        self.resolved: dict[int, Resolved] = {}  # what a person has said
        # signals, by name (F4)
        self.signals: dict[str, list[Received]] = {}  # not taken yet, oldest first
        self.listening: dict[str, dict[int, None]] = {}  # atoms that wait, in the order in which they began
        self.offered: dict[int, Received] = {}  # atoms that wait no more: this is what they take

    def _no_rounds_yet(self) -> None:
        """What is kept per scope."""
        self.rounds: dict[int, int] = {}
        self.history: dict[int, list[Round]] = {}
        self.retry_errors: dict[int, Failure] = {}
        self.backoff_s: dict[int, float] = {}  # what the last answer said
        self.failed: dict[int, set[int]] = {}  # atoms FAILED in this round, by nearest scope
        self.waiting: dict[int, set[int]] = {}  # atoms WAITING, by nearest scope
        self.members: dict[int, set[int]] = {}  # nodes on the agenda, by nearest scope
        self.live_scopes: dict[int, set[int]] = {}  # scopes inside that are neither PENDING nor DONE
        self.busy: dict[int, int] = {}
        self.open_reverts: dict[int, int] = {}

    def enter(self, nodes: list[Node], tries: Iterable[int]) -> None:
        """Give nodes that are new their place in the lists; ``tries`` is which try each of them is in."""
        count = len(nodes)
        self.states += ["PENDING"] * count
        self.tries += tries
        self.attempts += [0] * count
        self.blockers += [len(node.preds) for node in nodes]
        self.open_children += [len(node.children) for node in nodes]
        self.standing += [0] * count
        self.standing_succs += [0] * count

    def _first_time(self) -> None:
        """What is kept of runs that begin once more, or where another left off."""
        self.known_revert_failures: dict[int, int] = {}  # in this try, of those whose effect is known (C5)
        self.taken: Had | None = None  # what the source of a fork had: given with the log, not by it (G6)
        self.adopted_by = ""  # the fork that has to undo what this run did (G6)
        self.again: set[int] | None = None  # in a rerun, until it goes forward: what will be reset (G5)
        self.undo: set[int] | None = None  # and the atoms that are undone before that, no others
        self.kept: set[int] = set()  # nodes that were done before the run began (once more): G5, G6

    @property
    def scope_state(self) -> str:
        """The state of the run as the outermost scope."""
        return self.states[RUN]

    def dump(self) -> bytes:
        """The state as canonical JSON: equal states give equal bytes, on any machine and hash seed (D8)."""
        return msgspec.json.encode(self._plain(), order="sorted")

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if name in ("plan", "agenda", "moved", "taken", "vault"):
                continue
            plain[name] = _sorted(value)
        plain["agenda"] = [(action.node, action.kind) for action in self.agenda]
        return plain


def _sorted(value: Any) -> Any:
    """Sets as sorted lists, integer keys as text: nothing is left that could come out in another order."""
    if isinstance(value, (set, frozenset)):
        return sorted(cast("set[int]", value))
    if isinstance(value, dict):
        return {str(key): _sorted(item) for key, item in cast("dict[int, Any]", value).items()}
    return value
