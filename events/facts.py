"""The vocabulary: one class per fact, past tense, frozen. The log format has its own version per class.

The atom or scope an event speaks of is in its envelope (`path`; "" is the run), not repeated here. Times are integer
microseconds since the epoch, as the store's clock gave them (rule F1). ``try_`` is written ``try``.

``volatile`` names the fields that may differ between two logs of the same flow and inputs (rule D8).
A field may be added with a default; any other change is a new ``schema_version`` and an upcaster in `events.upcast`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from .failure import Failure

Raw = msgspec.Raw
NULL = Raw(b"null")

OnFailure = Literal["revert", "stop"]
Decision = Literal["RETRY", "REVERT", "REVERT_ALL"]
Depth = Literal["atom", "neighbors", "flow", "all"]
Phase = Literal["execute", "revert"]
RequestKind = Literal["suspend", "resume", "cancel", "resolve", "signal", "rerun", "revert", "fork"]
Resolution = Literal["rerun", "failed", "succeeded"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all facts. They hold no cycles, so the garbage collector need not look at them (``gc=False``)."""

    schema_version: ClassVar[int] = 1
    volatile: ClassVar[frozenset[str]] = frozenset()


# -- the run ------------------------------------------------------------------------------------


class ParentAtom(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename={"try_": "try"}):
    """The atom of another run, in one of its tries, that a run is the child of (G7)."""

    run: str
    path: str
    try_: int


class RunSubmitted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody asked for a run of ``factory`` with ``inputs`` (a JSON object, or moved to a payload row).

    ``secrets`` (here and in other events): digests of the payload rows that hold the secrets in the value, encrypted.
    ``codec``: all values of the run are moved out, and their rows hold what this codec made of them.
    """

    volatile = frozenset({"key", "parent"})

    app: str
    factory: str
    inputs: Raw = Raw(b"{}")
    moved: str | None = None
    key: str | None = None
    tags: dict[str, str] = {}
    executor: str | None = None
    secrets: tuple[str, ...] = ()
    codec: str | None = None
    parent: ParentAtom | None = None


class RunForked(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run takes over what ``source`` had at its ``version``, with this ``hash`` (hex) (rule G6).

    Paths: atoms that are done with the ``inherited`` results, nodes that stay ``skipped``, nodes that were asked and
    ``decided`` to run, retries that are done with their ``rounds``. ``adopted``: the atoms are this run's to undo.

    What must not hang on the source's key is here again, under this run's: ``results`` by path (or their ``rows``, the
    digests of payload rows), ``values`` of retries; ``secrets`` names all rows. The others are in the source's log.
    """

    volatile = frozenset({"source", "version", "hash"})

    source: str
    version: int
    hash: str
    inherited: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()
    rounds: tuple[str, ...] = ()
    adopted: bool = False
    reason: str = ""
    results: dict[str, Raw] = {}
    rows: dict[str, str] = {}
    values: dict[str, Raw] = {}
    secrets: tuple[str, ...] = ()


class RunClaimed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A process became the run's owner."""

    volatile = frozenset({"owner", "epoch"})

    owner: str
    epoch: int


class RunReleased(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The owner gave the run up unfinished; with ``taken_from``: a person, the actor, took it from that owner (B1)."""

    volatile = frozenset({"taken_from"})

    reason: str = ""
    taken_from: str = ""


class RunStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The plan is fixed: ``fingerprint`` names it in the plans table (rule E8)."""

    fingerprint: str
    on_failure: OnFailure = "revert"


class PlanChanged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run goes on under another plan, in which everything that has history is unchanged (rule E8)."""

    fingerprint: str


class RunSuspended(Event, frozen=True, kw_only=True, omit_defaults=True):
    """No body runs any more; the run waits for `resume` (rule G2), or for a word on the atoms ``held`` (G3)."""

    held: tuple[str, ...] = ()


class RunResumed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A suspended run goes on, in the direction it had."""


class RunErased(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody had the run's key removed: its secrets and encrypted values cannot be read any more."""

    reason: str


class RunSucceeded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Every atom is done."""


class RunReverted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Everything the run did has been undone."""


class RunFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run ended with something standing: asked for (``stopped``), or because a revert failed."""

    reason: Literal["stopped", "revert_failed"]


class RunCancelled(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run was given up on request, and undone; ``kept``: what it had done is still standing (rule G4)."""

    kept: bool = False


# -- requests -----------------------------------------------------------------------------------


class RequestAccepted(Event, frozen=True, kw_only=True, omit_defaults=True, rename={"from_": "from"}):
    """A person's request took effect; who asked is the envelope's actor.

    ``from_`` (written ``from``): in a rerun, the part from which on it was asked for (G5). ``keep`` belongs to a cancel
    (G4). A resolve stands at the path of the atom it speaks of (G3): ``resolution``, and for "succeeded" the
    ``result``, or ``moved`` to a payload row. ``fork``: the run that has adopted what this one did (G6).
    """

    volatile = frozenset({"request", "fork"})

    request: str
    kind: RequestKind
    reason: str = ""
    from_: str | None = None
    fork: str | None = None
    keep: bool = False
    resolution: Resolution | None = None
    result: Raw = NULL
    moved: str | None = None


class RequestRefused(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A person's request was answered with no; ``why`` says why. ``kind`` is as it was sent, also one nobody knows."""

    volatile = frozenset({"request"})

    request: str
    kind: str
    why: str
    reason: str = ""


class SignalReceived(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A value came for whoever waits for ``name`` (rule F4): ``payload``, or ``moved`` to a payload row."""

    volatile = frozenset({"request"})

    request: str
    name: str
    payload: Raw = NULL
    moved: str | None = None


# -- scopes (path: the flow that has the retry; "" is the run itself) -----------------------------


class RoundStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A retry's scope begins pass ``round`` (from 1) with the retry's ``value``."""

    round: int
    value: Raw = NULL
    secrets: tuple[str, ...] = ()


class RetryDecided(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The drained scope's retry answered (rule D2). ``error`` is set where the retry's own code raised (D7)."""

    volatile = frozenset({"backoff_s"})

    round: int
    decision: Decision
    failures: tuple[Failure, ...] = ()
    backoff_s: float = 0.0
    error: Failure | None = None


class ScopeReverting(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What was started in the scope is being undone."""

    round: int = 0


class ScopeReset(Event, frozen=True, kw_only=True, omit_defaults=True):
    """All atoms of the scope are PENDING again, in their next try. ``until``: the next round waits for this time.

    Of a rerun: only what runs again. ``forgotten``: the paths of those that were done or skipped until now, and had
    nothing to be undone that would tell.
    """

    volatile = frozenset({"until"})

    round: int
    until: int | None = None
    forgotten: tuple[str, ...] = ()


class TimerFired(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The due time of a back-off (of an atom, a revert or a scope) has passed."""

    volatile = frozenset({"due"})

    due: int


# -- branches (path: the node, an atom or a flow, that the answer is about) -------------------------


class BranchDecided(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The predicates of a node were asked (rule E6). ``no``: at least one said no, and the widest depth among those.

    ``verdicts`` holds, for each that was asked, the path it comes from ("" in a switch) and what it said. ``error`` is
    set where one raised (D7).
    """

    verdicts: tuple[tuple[str, bool], ...] = ()
    no: Depth | None = None
    error: Failure | None = None


class TaskSkipped(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The node will not run in this round; a flow is skipped as one."""


# -- expansions (path: the node that becomes a flow with children) -----------------------------------


class FlowExpanded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The values an expansion waited for are known, and with them the flow in its place (rule E7).

    ``values`` holds them by argument (a JSON object, or ``moved`` to a payload row): of an `each` the whole list.
    ``fingerprint`` names the subplan in the plans table, ``children`` is how many parts it has. ``error`` is set where
    the user's factory raised, or what it made is no valid flow here (D7).
    """

    values: Raw = Raw(b"{}")
    moved: str | None = None
    fingerprint: str = ""
    children: int = 0
    error: Failure | None = None
    secrets: tuple[str, ...] = ()


# -- atoms --------------------------------------------------------------------------------------


class AtomEvent(Event, frozen=True, kw_only=True, omit_defaults=True, rename={"try_": "try"}):
    """Base of what happens to a task: ``try_`` counts the resets, from 1; ``attempt`` its starts within the try.

    Outcomes may have a ``worker``: who made the attempt, where that was not the process that drives the run. It is the
    worker's id, then ``pid@host``, as the worker itself has said.
    """

    try_: int = 1
    attempt: int = 1


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The last that a body said of how far it has got (F2): ``fraction`` from 0 to 1, and a line for people."""

    fraction: float
    message: str = ""


class TaskStarted(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Written before the body runs (rules C1, C10); with a ``queue``: before workers are asked for it there."""

    volatile = frozenset({"key"})

    key: str
    code: str = ""
    inputs: str = ""
    queue: str = ""


class TaskWaiting(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The body said `NotReady`: the attempt goes on at ``until`` (rule F2).

    A sleep waits likewise, and so does who waits for a ``signal`` of this name (F4), then perhaps without an end.
    """

    volatile = frozenset({"until", "polls", "child"})

    until: int | None = None
    polls: int = 1
    message: str = ""
    signal: str = ""
    child: str = ""


class TaskSucceeded(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The body returned; ``result`` is its value through the return annotation, or ``moved`` to a payload row.

    ``signal``: nothing was called, the result is what came with that `SignalReceived`, by its version (F4).
    """

    volatile = frozenset({"polls", "signal", "progress", "worker"})

    result: Raw = NULL
    moved: str | None = None
    polls: int = 0
    signal: int | None = None
    progress: Progress | None = None
    secrets: tuple[str, ...] = ()
    worker: str = ""


class TaskFailed(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt failed. ``again``: there will be another in this try, at ``until`` where a back-off says so.

    ``still_running``: the body was given up and may do something yet (C7).
    Version 1 had ``error`` (one line of text) where ``failure`` is now; see `events.upcast`.
    """

    schema_version = 2
    volatile = frozenset({"until", "polls", "progress", "worker"})

    failure: Failure
    again: bool = False
    until: int | None = None
    polls: int = 0
    still_running: bool = False
    progress: Progress | None = None
    worker: str = ""


class TaskInterrupted(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The process in which the body ran is gone; whether it had an effect is unknown (rules C3, C6)."""

    cause: str
    phase: Phase = "execute"


class TaskHeld(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A person must say what became of the attempt (rule G3): the task says so, or its body did (`Hold`)."""

    reason: str = ""


class RevertStarted(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Written before the revert runs; ``attempt`` counts the revert's own starts, ``queue`` is as in `TaskStarted`."""

    volatile = frozenset({"key"})

    key: str
    queue: str = ""


class TaskReverted(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The atom is undone. ``attempt`` 0: the task has no revert, nothing was called."""

    volatile = frozenset({"worker"})

    worker: str = ""


class RevertFailed(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A revert failed. ``again``: it will be called again, at ``until`` where a back-off says so."""

    volatile = frozenset({"until", "worker"})

    failure: Failure
    again: bool = False
    until: int | None = None
    worker: str = ""


class OutcomeIgnored(AtomEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An outcome came after the attempt had been settled; it has no effect, but a revert may see it (rule C4).

    ``result`` (or ``moved``) and ``failure`` are what an execute ended with.
    """

    volatile = frozenset({"worker"})

    outcome: Literal["succeeded", "failed"]
    phase: Phase = "execute"
    result: Raw = NULL
    moved: str | None = None
    failure: Failure | None = None
    secrets: tuple[str, ...] = ()
    worker: str = ""


RUN_EVENTS: tuple[type[Event], ...] = (
    RunSubmitted, RunForked, RunClaimed, RunReleased, RunStarted, PlanChanged, RunSuspended, RunResumed, RunSucceeded,
    RunReverted, RunFailed, RunCancelled, RequestAccepted, RequestRefused, SignalReceived,
    RunErased,
)  # fmt: skip
SCOPE_EVENTS: tuple[type[Event], ...] = (RoundStarted, RetryDecided, ScopeReverting, ScopeReset)
BRANCH_EVENTS: tuple[type[Event], ...] = (BranchDecided, TaskSkipped)
EXPANSION_EVENTS: tuple[type[Event], ...] = (FlowExpanded,)
ATOM_EVENTS: tuple[type[Event], ...] = (
    TaskStarted, TaskWaiting, TaskSucceeded, TaskFailed, TaskInterrupted, TaskHeld, RevertStarted, TaskReverted,
    RevertFailed, OutcomeIgnored,
)  # fmt: skip
EVENTS: tuple[type[Event], ...] = (
    *RUN_EVENTS, *SCOPE_EVENTS, TimerFired, *BRANCH_EVENTS, *EXPANSION_EVENTS, *ATOM_EVENTS,
)  # fmt: skip
