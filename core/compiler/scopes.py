"""What a name means at a place in the flow (rule E2): siblings, the retry, the factory's inputs; then outwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flowledger.core.parts import Flow
from flowledger.core.plan import Given, Node
from flowledger.events.errors import AmbiguousSymbol

from .draft import Draft
from .links import Links
from .symbols import Provider, exports_of


class Round(NamedTuple):
    """The value of a retry; ``scope`` is its flow's number."""

    scope: int
    annotation: Any


class Input(NamedTuple):
    """An input of the run, or (``nested``) of a factory that was called inside another flow."""

    value: Given
    nested: bool


Source = Provider | Round | Input


class Scope:
    """One flow while its parts are being resolved; ``child`` is the one that is, or that holds it.

    ``names`` is what the parts so far (linear) or all parts (graph, by name and child) export; None where siblings do
    not see each other.
    """

    __slots__ = ("_history", "child", "inputs", "links", "names", "node", "outer", "providers", "retry_name")

    def __init__(self, draft: Draft, node: Node, outer: Scope | None, inputs: tuple[Mapping[str, Input], ...]) -> None:
        self.node = node
        self.outer = outer
        self.inputs = inputs
        self.child = 0
        self.names: dict[str, Provider] | None = {} if node.pattern == "linear" else None
        self.providers: dict[str, list[tuple[int, Provider]]] | None = None
        self.links: Links | None = None
        self._history: dict[str, list[tuple[int, Provider]]] | None = None
        self.retry_name = None if node.retry is None else node.retry.provides
        flow = draft.parts[node.number]
        if node.pattern == "graph":
            assert isinstance(flow, Flow)
            self.links = Links(draft, node, flow)
            self.providers = _providers(draft, node)

    def enter(self, draft: Draft, child: Node) -> None:
        """The next child is to be resolved: it sees what the one before it exports, if this is a linear flow."""
        self.child = child.number
        if self.names is not None and child.preds:
            exports = exports_of(draft, child.preds[0])
            if exports:
                self.names.update(exports)

    def own(self, name: str, asking: str) -> Source | None:
        """What ``name`` means in this flow alone.

        Raises:
            AmbiguousSymbol: two siblings in a graph provide it.
        """
        if self.names is not None:
            found = self.names.get(name)
            if found is not None:
                return found
        elif self.providers is not None and name in self.providers:
            picked = self._pick(name, asking)
            if picked is not None:
                return picked
        return self.settled(name)

    def settled(self, name: str) -> Source | None:
        """What ``name`` means in this flow whatever is placed in it: its retry's value, or an input of its factory."""
        if self.retry_name == name and self.node.retry is not None:
            return Round(self.node.number, self.node.retry.value_type)
        return self.input(name)

    def input(self, name: str) -> Input | None:
        """An input of the factories that made this flow."""
        for inputs in self.inputs:
            if name in inputs:
                return inputs[name]
        return None

    def seen(self) -> list[str]:
        """The names that the parts of this flow provide, as far as they can be seen from where it has got to."""
        return [*(self.names or ()), *(self.providers or ())]

    def history(self, draft: Draft) -> Mapping[str, list[tuple[int, Provider]]]:
        """Who provides what in a linear flow, in the order of its parts; made once, when first asked for."""
        if self._history is None:
            self._history = _providers(draft, self.node)
        return self._history

    def _pick(self, name: str, asking: str) -> Provider | None:
        assert self.providers is not None
        assert self.links is not None
        links, child = self.links, self.child
        found = [(n, p) for n, p in self.providers[name] if n != child and not links.is_after(n, child)]
        if len(found) > 1:
            paths = " and ".join(links.path(n) for n, _ in found[:3])
            raise AmbiguousSymbol(
                f"{asking}: `{name}` is provided by {paths}",
                hint=f"say which: bind({name}=<the part>), or rename one with .as_(…)",
            )
        if not found:
            return None
        links.add(found[0][0], child, f"`{name}`")
        return found[0][1]


def _providers(draft: Draft, node: Node) -> dict[str, list[tuple[int, Provider]]]:
    found: dict[str, list[tuple[int, Provider]]] = {}
    for child in node.children:
        for name, provider in exports_of(draft, child):
            found.setdefault(name, []).append((child, provider))
    return found


def outwards(scope: Scope | None) -> Iterator[Scope]:
    """The scope and those around it."""
    while scope is not None:
        yield scope
        scope = scope.outer
