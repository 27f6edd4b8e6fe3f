"""What is seen from a place in a flow that has been compiled: the surroundings of an expansion (rules E2, E7).

While a flow is compiled its scopes move from child to child. An expansion is compiled when the run gets there, and sees
what its place saw: in a linear flow what came before it, in a graph what it waits for.
"""

from __future__ import annotations

from bisect import bisect_left

from flowledger.core.plan import Node
from flowledger.events.errors import AmbiguousSymbol

from .draft import Draft
from .scopes import Scope, Source, outwards
from .symbols import Provider


class Past(Scope):
    """A flow as one of its children (or what is in it) sees it. Things are looked up here; no edges are made."""

    __slots__ = ("_before", "_draft", "_scope")

    def __init__(self, draft: Draft, scope: Scope, child: int, outer: Scope | None) -> None:
        self.node = scope.node
        self.inputs = scope.inputs
        self.retry_name = scope.retry_name
        self.names = self.providers = self.links = self._history = None
        self.outer = outer
        self.child = child
        self._draft = draft
        self._scope = scope
        self._before: set[int] | None = None

    def own(self, name: str, asking: str) -> Source | None:
        found = self._providers(name)
        if len(found) > 1:
            paths = " and ".join(self._draft.nodes[n].path for n, _ in found[:3])
            raise AmbiguousSymbol(
                f"{asking}: `{name}` is provided by {paths}", hint="hand the one that is meant to the factory"
            )
        return found[0][1] if found else self.settled(name)

    def seen(self) -> list[str]:
        names = self._scope.history(self._draft) if self._scope.names is not None else self._scope.providers
        return [name for name in names or () if self._providers(name)]

    def precedes(self, sibling: int) -> bool:
        """Whether the child waits for a sibling."""
        if self.node.pattern == "linear":
            return sibling < self.child
        if self._before is None:
            self._before = _before(self._draft.nodes, self.child)
        return sibling in self._before

    def _providers(self, name: str) -> list[tuple[int, Provider]]:
        """The parts that provide a name: in a linear flow the last of them before the child."""
        if self._scope.names is not None:
            every = self._scope.history(self._draft).get(name, [])
            at = bisect_left(every, self.child, key=lambda pair: pair[0])
            return every[at - 1 : at] if at else []
        every = (self._scope.providers or {}).get(name, [])
        return [(number, provider) for number, provider in every if self.precedes(number)]


def around(draft: Draft, scope: Scope, child: int) -> Past:
    """The scope of a child's flow, and those around it, as the child sees them."""
    flows = [scope]
    for outer in outwards(scope.outer):
        flows.append(outer)
        if isinstance(outer, Past):  # it has been looked at from there before, and so have those around it
            break
    seen: Scope | None = flows.pop() if isinstance(flows[-1], Past) else None
    for at in reversed(range(len(flows))):
        towards = flows[at - 1].node.number if at else child
        seen = Past(draft, flows[at], towards, seen)
    assert isinstance(seen, Past)
    return seen


def _before(nodes: list[Node], number: int) -> set[int]:
    found = set(nodes[number].preds)
    ahead = list(found)
    while ahead:
        for sibling in nodes[ahead.pop()].preds:
            if sibling not in found:
                found.add(sibling)
                ahead.append(sibling)
    return found
