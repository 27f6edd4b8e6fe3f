"""The plan: a flow compiled. Atoms and flows as numbered nodes, edges between siblings, symbols resolved to bindings.

The compiler makes it, everything after only reads it. Node 0 is the run itself (path ""), node 1 the root flow or atom;
numbers follow the declaration order, so *plan order* is the order of the numbers (rule D8). A flow is one node to its
siblings (E1): edges join siblings only, and what crosses levels is expressed by the flow's own node. That keeps the
plan linear in size: two stages of a thousand atoms are two thousand and two nodes, not a million edges.

A plan with expansions grows while it runs (E7): a state has a copy of its own (`Plan.own`). The nodes of an expansion
get the next numbers, which are never given again; their place in plan order is then said by `Plan.order`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowledger.events.facts import Depth, OnFailure

    from .backoff import Backoff
    from .retry import Retry
    from .typed import Typed

RUN = 0  # the number of the run's own node

Pattern = Literal["run", "task", "linear", "unordered", "graph", "each", "switch", "late"]
#: What people may write as executor= wherever they are; any other name is that of an executor the app was given.
EXECUTORS = ("inline", "threads", "processes", "workers")
#: The lanes of every app. control: no body, no executor; workers: other processes, asked through a broker.
LANES = (*EXECUTORS, "async", "transaction", "control")
_HERE = frozenset(LANES) - {"processes", "workers"}
OnInterrupt = Literal["rerun", "fail", "hold"]
#: How often a task may lose the process that makes it, in one try, unless it says so: then it is parked (C6).
LOSSES = 3


def is_named(lane: str) -> bool:
    """Whether the bodies of a lane run on an executor that the app was given by this name."""
    return lane not in LANES


def crosses(lane: str) -> bool:
    """Whether the bodies of a lane run in another process, or may: what they need crosses as JSON (B6, C1)."""
    return lane not in _HERE


# -- where an argument's value comes from -------------------------------------------------------


class Given(msgspec.Struct, frozen=True, gc=False):
    """A value bound by hand, or an input of a nested flow factory: JSON ``content``, read back through ``typed``.

    The garbage collector does not visit it, nor the tuples and dicts that hold nothing else: there is one per bound
    value. A cycle through it would have to go through the type of an argument, which `core.typed` keeps anyway.
    """

    argument: str
    content: bytes
    digest: str  # SHA-256 (hex) of content
    typed: Typed


@dataclass(frozen=True, slots=True)
class FromInput:
    """An input of the run, as submitted."""

    argument: str
    name: str
    typed: Typed


@dataclass(frozen=True, slots=True)
class FromNode:
    """The result of another node, or one item of it (``item``: index or field name; None: all of it).

    ``node`` is an atom or a flow that gathers (a flow with `returns` is followed to its end), or a flow without a
    result, which gives null. ``typed`` reads the stored JSON: the argument's type, or with an ``item`` the provider's;
    ``into`` (only with an ``item``) is the argument's type, where it differs and must be applied to the item.
    """

    argument: str
    node: int
    item: int | str | None
    typed: Typed
    into: Typed | None = None


@dataclass(frozen=True, slots=True)
class FromRound:
    """The value of a retry in its present round; ``scope`` is the number of the retry's flow."""

    argument: str
    scope: int
    typed: Typed


@dataclass(frozen=True, slots=True)
class FromResource:
    """A live object; never written down, so it counts in no digest but by name."""

    argument: str
    name: str


@dataclass(frozen=True, slots=True)
class FromContext:
    """The `TaskContext` of the attempt."""

    argument: str


@dataclass(frozen=True, slots=True)
class FromConnection:
    """The connection of the transaction that the body runs in (C8); it is put in when that has begun."""

    argument: str


@dataclass(frozen=True, slots=True)
class FromOutcome:
    """In a revert only: what the attempt ended with (E4). ``result`` and one's own provides-name: the result or None;
    ``failure``: the atom's own failure or None; ``failures``: all failures that led to this revert, as a list."""

    argument: str
    what: Literal["result", "failure", "failures"]
    item: int | str | None = None


Binding = Given | FromInput | FromNode | FromRound | FromResource | FromContext | FromConnection | FromOutcome


@dataclass(frozen=True, slots=True)
class Condition:
    """A predicate that must hold before a node runs (E6).

    ``before`` is the sibling whose link it is, or None in a switch; ``depth`` says what a *no* takes along;
    ``shown`` is how documents name it.
    """

    before: int | None
    ask: Callable[..., Any]
    arguments: tuple[Binding, ...]
    depth: Depth
    shown: str


# -- what a task is to the engine ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A callable of the user with the options that rule how often and how long it may run.

    ``connection``: the argument that gets the connection, where the call is a transaction with its outcome (C8).
    """

    body: Callable[..., Any]
    is_async: bool
    attempts: int
    backoff: Backoff
    timeout_s: float | None
    connection: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """A durable wait instead of a body: for ``seconds`` from when the atom's turn comes, or until a time (F3)."""

    seconds: float | None = None
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """A durable wait for the signal ``name``, for at most ``timeout_s`` seconds of the run's own time (F4)."""

    name: str
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task definition as the engine needs it; shared by all atoms made from it (of the same configuration)."""

    name: str
    execute: Call
    revert: Call | None
    result: Typed
    retry_on: tuple[type[BaseException], ...]
    deadline_s: float | None
    on_interrupt: OnInterrupt
    read_only: bool
    code_version: str  # digest of the body's source, "" where there is none; shown, never compared (C10)
    config: bytes  # the fields of a task class as JSON; b"" for a function
    pause: Pause | None = None  # set, like the next: nothing is called, nothing has to be undone
    signal: Listen | None = None
    queue: str = ""  # on which workers are asked for it, where they are
    child: bool = False  # the task is a flow factory, the atom a run of its own (G7); `name` is the factory's
    losses: int = LOSSES  # so many processes lost in one try park it (C6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What a node waits for to become a flow with children (E7): ``of`` is the task or factory they are made from.

    ``wants`` are the values that the children are made from, recorded with the event; ``typed`` reads them by argument.
    """

    of: str
    wants: tuple[Binding, ...]
    typed: Mapping[str, Typed]


# -- nodes --------------------------------------------------------------------------------------


class Node(msgspec.Struct, kw_only=True, eq=False):
    """An atom or a flow, placed.

    ``scope`` is the number of the nearest retry scope *around* it: a flow with a retry, or `RUN`. A flow with a retry
    is itself a scope; its own ``scope`` is the next one outwards. ``preds`` and ``succs`` are siblings.
    ``returns`` (flows): the number of the atom or gathering flow, however deep, whose result is the flow's, or None.
    ``expansion``: the node has no children until its values are known, then it is ``expanded``.
    """

    number: int
    path: str
    name: str
    pattern: Pattern
    parent: int
    scope: int
    lane: str = "inline"  # one of `LANES`, or the name of an executor of the app
    priority: int = 0  # of what is enabled, the higher comes first
    preds: tuple[int, ...] = ()
    succs: tuple[int, ...] = ()
    conditions: tuple[Condition, ...] = ()
    # atoms
    task: TaskSpec | None = None
    arguments: tuple[Binding, ...] = ()
    revert_arguments: tuple[Binding, ...] = ()
    provides: str | tuple[str, ...] | None = None
    # flows
    children: list[int] = []
    retry: Retry[Any] | None = None
    retry_arguments: tuple[Binding, ...] = ()  # its arguments that are symbols
    returns: int | None = None
    gathers: bool = False  # its result is the list of its children's results (unordered, each)
    expansion: Expansion | None = None
    expanded: bool = False

    @property
    def is_atom(self) -> bool:
        """Whether this node is a task (and not a flow or the run)."""
        return self.task is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subplan:
    """What an expansion becomes: ``root`` in the place of its node, and the ``nodes`` in it, with the next numbers.

    ``fingerprint`` and ``document`` are the subplan's own; in the document the root has number 0.
    """

    root: Node
    nodes: list[Node]
    fingerprint: str
    document: bytes


class Growth(Protocol):
    """How a plan grows while it runs. The compiler gives one to each plan that has expansions."""

    def own(self, nodes: list[Node]) -> Growth:
        """The growth of another copy of the same plan, which has these nodes."""
        ...

    def subplan(self, number: int, values: bytes) -> Subplan:
        """What an expansion becomes with these values (a JSON object, by argument). Calls the user's factory.

        Pure: the same again for the same plan and values. Raises whatever the factory raises, and `DefinitionError`.
        """
        ...

    def attach(self, subplan: Subplan) -> None:
        """The subplan's nodes are now part of the plan."""
        ...

    def detach(self, number: int) -> None:
        """What an expansion had become is dropped."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class Plan:
    """A compiled flow. ``fingerprint`` covers what rule E8 says; ``document`` is the plan as JSON for readers that have
    no code (see `core.document`).

    Of a plan that may grow, ``base`` is the one that was compiled, ``order`` says where its nodes stand in plan order,
    ``unexpanded`` holds the nodes as they were. Its ``by_path`` keeps the paths of what has been dropped, too.
    """

    factory: str
    nodes: list[Node]
    by_path: dict[str, int]
    inputs: Mapping[str, Typed]
    returns: Typed
    resources: frozenset[str]
    on_failure: OnFailure
    fingerprint: str
    document: bytes
    without_revert: tuple[str, ...]  # paths of atoms that are neither read_only nor revertable (E5)
    prioritised: bool = False  # some atom has a priority
    lanes: tuple[str, ...] = ()  # of its atoms, as they were compiled
    executors: Mapping[str, str] = field(default_factory=dict[str, str])  # by name: the path of who first asks for it
    growth: Growth | None = None
    base: Plan | None = None
    order: list[tuple[int, ...]] | None = None
    unexpanded: dict[int, Node] = field(default_factory=dict[int, "Node"])
    inside: dict[int, range] = field(default_factory=dict[int, range])  # the numbers of what is in an expansion

    def own(self) -> Plan:
        """The plan for one state: a copy that may grow, or, where nothing in it can, the plan itself."""
        if self.base is not None:
            return self.base.own()
        if self.growth is None:
            return self
        nodes = list(self.nodes)
        return replace(
            self, nodes=nodes, by_path=dict(self.by_path), growth=self.growth.own(nodes), base=self,
            order=[(number,) for number in range(len(nodes))], unexpanded={}, inside={},
        )  # fmt: skip

    def place(self, number: int) -> Any:
        """What to sort nodes by to have them in plan order (rule D8)."""
        return number if self.order is None else self.order[number]

    def rank(self, number: int) -> tuple[int, Any]:
        """What to sort enabled nodes by: higher priorities come first, then plan order."""
        return (-self.nodes[number].priority, self.place(number))

    def in_order(self, numbers: Iterable[int]) -> list[int]:
        """Nodes in plan order."""
        return sorted(numbers) if self.order is None else sorted(numbers, key=self.order.__getitem__)
