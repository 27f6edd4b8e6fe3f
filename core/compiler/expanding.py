"""Expansions when their values are known (rule E7): a task placed once per item, or a factory's flow compiled.

Compiled as if it had stood there from the start, in the surroundings of its node, by the same steps as the rest of the
plan. What it costs is its own size: of the plan around it only names are looked up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from flowledger.core.definition import TaskDefinition
from flowledger.core.document import describe_expansion
from flowledger.core.parts import Atom, Flow, Late, Part
from flowledger.core.plan import RUN, Node, Subplan
from flowledger.events.errors import DefinitionError, InternalError

from .binding import Binder
from .building import ByItem, atoms_of, check_result, flow_of, values_of
from .collecting import no_collections
from .draft import Draft
from .naming import names
from .past import around
from .resources import with_needs
from .scopes import Scope
from .symbols import find_result, gather_symbols
from .tree import Specs, grow_inside

DEEPEST = 1_000  # expansions in one another: a loop that is deeper has no end, or wants to be a list

_NONE: list[int] = []  # the edges and children of atoms that have none: one list for all, nobody adds to it


@dataclass(slots=True, kw_only=True)
class _Block:
    """What an expansion has become, and what the compiler must know of it if there are expansions in it."""

    subplan: Subplan
    values: bytes
    flow: Part[Any]
    late: Part[Any] | None
    parts: list[Part[Any] | None] = field(default_factory=list["Part[Any] | None"])
    atoms: list[Atom[Any] | None] = field(default_factory=list["Atom[Any] | None"])
    ends: list[int] = field(default_factory=list[int])
    annotations: dict[int, Any] = field(default_factory=dict[int, Any])
    symbols: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    scopes: dict[int, Scope] = field(default_factory=dict[int, Scope])
    conditional: list[Node] = field(default_factory=list[Node])


class Expander:
    """`core.plan.Growth`. The compiled plan's own one only makes others: one for each state, which grows with it."""

    def __init__(self, compiled: Binder, nodes: list[Node]) -> None:
        self._compiled = compiled
        self._nodes = nodes
        self._binder: Binder | None = None  # made when first needed
        self._last: _Block | None = None
        self._blocks: dict[int, _Block] = {}

    def own(self, nodes: list[Node]) -> Expander:
        return Expander(self._compiled, nodes)

    def subplan(self, number: int, values: bytes) -> Subplan:
        last = self._last
        if last is None or last.subplan.root.number != number or last.values != values:
            with no_collections():
                self._last = last = self._build(number, values)
        return last.subplan

    def attach(self, subplan: Subplan) -> None:
        block, self._last = self._last, None
        if block is None or block.subplan is not subplan or self._binder is None:
            raise InternalError(f"{subplan.root.path} is not what was expanded last")
        number, binder, draft = subplan.root.number, self._binder, self._binder.draft
        first, count = len(self._nodes), len(subplan.nodes)
        self._blocks[number] = block
        draft.blocks[number] = (first, first + count)
        draft.ends += block.ends
        if all(node.expansion is None for node in subplan.nodes):  # nobody will look in there again
            draft.parts += [None] * count
            draft.atoms += [None] * count
            block.parts, block.atoms = [], []
            block.annotations, block.symbols, block.scopes, block.conditional = {}, {}, {}, []
            return
        draft.parts[number] = block.flow
        draft.parts += block.parts
        draft.atoms += block.atoms
        draft.annotations |= block.annotations
        draft.symbols |= block.symbols
        binder.scopes |= block.scopes
        binder.conditional += block.conditional
        _index(draft, block.parts, first)

    def detach(self, number: int) -> None:
        block = self._blocks.pop(number)
        assert self._binder is not None
        binder, draft = self._binder, self._binder.draft
        first, end = draft.blocks.pop(number)
        draft.parts[number] = block.late
        draft.parts[first:end] = [None] * (end - first)
        draft.atoms[first:end] = [None] * (end - first)
        for inside in block.annotations:
            del draft.annotations[inside]
        for inside in block.symbols:
            del draft.symbols[inside]
        for inside in block.scopes:
            del binder.scopes[inside]
        if block.conditional:
            gone = {id(node) for node in block.conditional}
            binder.conditional = [node for node in binder.conditional if id(node) not in gone]

    # -- making one -----------------------------------------------------------------------------

    def _build(self, number: int, values: bytes) -> _Block:
        binder = self._own_binder()
        draft, node, first = binder.draft, self._nodes[number], len(self._nodes)
        flow = draft.parts[number]
        if not isinstance(flow, Flow) or flow.late is None or node.expansion is None:
            raise InternalError(f"{node.path} is no expansion")
        self._check_depth(node)
        known = values_of(node, values, flow)
        try:
            if isinstance(flow.late.of, TaskDefinition):
                root = self._place_atoms(node, flow, flow.late, known)
            else:
                root = self._compile_flow(node, flow, flow.late, known)
            fingerprint, document = describe_expansion(root, self._nodes, first)
            subplan = Subplan(root=root, nodes=self._nodes[first:], fingerprint=fingerprint, document=document)
            return self._kept(_Block(subplan=subplan, values=values, flow=draft.parts[number] or flow, late=flow))
        finally:
            self._take_back(node, flow, first)

    def _own_binder(self) -> Binder:
        if self._binder is None:
            compiled = self._compiled
            theirs = compiled.draft
            draft = Draft(
                theirs.registry, theirs.executor, self._nodes, list(theirs.parts), list(theirs.atoms),
                list(theirs.ends), annotations=dict(theirs.annotations), symbols=dict(theirs.symbols),
            )  # fmt: skip
            _index(draft, draft.parts, 0)
            self._binder = binder = Binder(draft, {})
            binder.inputs, binder.scopes = compiled.inputs, dict(compiled.scopes)
            binder.conditional = list(compiled.conditional)
        return self._binder

    def _check_depth(self, node: Node) -> None:
        depth, number = 0, node.parent
        while number != RUN:
            depth += self._nodes[number].expanded
            number = self._nodes[number].parent
        if depth >= DEEPEST:
            raise DefinitionError(
                f"{node.path[:200]}… is the {depth + 1:,}th expansion in one another",
                hint=f"a loop may have {DEEPEST:,} passes; go through a list with each(…) instead",
            )

    def _place_atoms(self, node: Node, flow: Flow[Any], late: Late, known: Mapping[str, Any]) -> Node:
        """A task once per item: all but the item was bound when the plan was compiled."""
        definition, nodes, first = late.of, self._nodes, len(self._nodes)
        assert isinstance(definition, TaskDefinition)
        items, atoms = atoms_of(definition, late, known, flow.place)
        spec = Specs(self._own_binder().draft).of(Atom(definition, {}, flow.place))
        arguments, reverting = ByItem(node.arguments, late.items), ByItem(node.revert_arguments, late.items)
        called = names(atoms, atoms, node.path, flow.place)
        for number, (item, name) in enumerate(zip(items, called, strict=True), first):
            nodes.append(Node(
                number=number, path=f"{node.path}/{name}", name=name, pattern="task", parent=node.number,
                scope=node.scope, lane=spec.lane, priority=node.priority, children=_NONE,
                task=spec.task, arguments=arguments.of(item), revert_arguments=reverting.of(item),
                provides=definition.provides,
            ))  # fmt: skip
        return replace(node, children=list(range(first, len(nodes))), expanded=True)

    def _compile_flow(self, node: Node, flow: Flow[Any], late: Late, known: Mapping[str, Any]) -> Node:
        """What the factory makes of its inputs, compiled where the node stands."""
        binder, first = self._own_binder(), len(self._nodes)
        draft, number = binder.draft, node.number
        made = flow_of(flow, late, known)
        draft.parts[number] = made
        self._nodes[number] = root = replace(
            node, pattern=made.pattern, retry=made.retry, gathers=made.pattern in ("unordered", "each"), children=[],
            expanded=True,
        )  # fmt: skip
        grow_inside(draft, root, made)
        inside = self._nodes[first:]
        gather_symbols(draft, inside)
        promised = draft.annotations[number]
        try:
            find_result(draft, root, made)
            check_result(root, late, draft.annotations[number], promised)
        finally:
            draft.annotations[number] = promised
        binder.resources = set()
        binder.bind_inside(root, inside, around(draft, binder.scopes[node.parent], number))
        with_needs(draft.registry, binder.resources)
        return root

    def _kept(self, block: _Block) -> _Block:
        """With all that was found out about it."""
        binder, draft = self._own_binder(), self._own_binder().draft
        number, first = block.subplan.root.number, len(self._nodes) - len(block.subplan.nodes)
        flows = [node.number for node in block.subplan.nodes if node.task is None]
        block.parts, block.atoms, block.ends = draft.parts[first:], draft.atoms[first:], draft.ends[first:]
        if not block.ends:  # a task per item, placed without a draft
            block.ends = list(range(first + 1, len(self._nodes) + 1))
        block.annotations = {n: draft.annotations[n] for n in flows}
        block.symbols = {n: draft.symbols[n] for n in flows}
        block.scopes = {n: binder.scopes[n] for n in (number, *flows) if n in binder.scopes}
        block.conditional = [node for node in block.subplan.nodes if node.conditions]
        return block

    def _take_back(self, node: Node, flow: Flow[Any], first: int) -> None:
        """Nothing is there before it is attached: who asks for a subplan may not want it."""
        number, binder, draft = node.number, self._own_binder(), self._own_binder().draft
        for inside in (number, *range(first, len(self._nodes))):
            binder.scopes.pop(inside, None)
            if inside != number:
                draft.annotations.pop(inside, None)
                draft.symbols.pop(inside, None)
        for every in (self._nodes, draft.parts, draft.atoms, draft.ends):
            del every[first:]
        self._nodes[number] = node
        binder.conditional = [node for node in binder.conditional if node.number < first]
        draft.parts[number] = flow
        draft.blocks.pop(number, None)
        for wanted in draft.wanted:
            numbers = draft.placed.get(wanted, [])
            del numbers[bisect_left(numbers, first) :]
        draft.wanted = set()


def _index(draft: Draft, parts: list[Part[Any] | None], first: int) -> None:
    """Where all parts stand: what will be referred to from an expansion nobody knows yet."""
    for number, part in enumerate(parts, first):
        if part is not None:
            draft.placed.setdefault(id(part), []).append(number)
