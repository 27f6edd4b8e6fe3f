"""The edges of a graph: links that were given, and one for each value that flows between two of its children."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from flowledger.core.parts import Flow, Link
from flowledger.core.plan import Node
from flowledger.core.source import shown
from flowledger.events.errors import CyclicFlow, DefinitionError

from .draft import Draft
from .symbols import find_placed


class Links:
    """The edges among the children of one graph, each with its reason; ``is_after`` looks at given links only (E2)."""

    def __init__(self, draft: Draft, node: Node, flow: Flow[object]) -> None:
        self._draft = draft
        self._node = node
        self._place = flow.place
        self._edges: dict[tuple[int, int], str] = {}
        self._followers: dict[int, list[int]] = {}
        self.conditional: dict[int, list[tuple[int, Link]]] = {}  # by the part that may be skipped
        for link in flow.links:
            ends = [find_placed(draft, part, node.number) for part in (link.before, link.after)]
            for end in ends:
                if end is None or draft.nodes[end].parent != node.number:
                    raise DefinitionError(
                        f"link(…) at {shown(link.place)} joins a part that is not in {node.path} ({shown(flow.place)})",
                        hint="name both parts in the same graph(…); .named(…) and .as_(…) give copies",
                    )
            before, after = ends
            assert before is not None
            assert after is not None
            self._followers.setdefault(before, []).append(after)
            if link.when is not None:
                self.conditional.setdefault(after, []).append((before, link))
            self.add(before, after, "link")
        self._position = self._order()

    def path(self, number: int) -> str:
        """A child's path, for messages."""
        return self._draft.nodes[number].path

    def add(self, before: int, after: int, reason: str) -> None:
        """``after`` waits for ``before``."""
        self._edges.setdefault((before, after), reason)

    def is_after(self, number: int, other: int) -> bool:
        """Whether links make ``number`` wait for ``other``, directly or not."""
        if other not in self._followers or self._position[number] < self._position[other]:
            return False
        seen: set[int] = set()
        ahead = [other]
        while ahead:
            for follower in self._followers.get(ahead.pop(), ()):
                if follower == number:
                    return True
                if follower not in seen:
                    seen.add(follower)
                    ahead.append(follower)
        return False

    def close(self) -> None:
        """Write the edges into the nodes, once all of them are known.

        Raises:
            CyclicFlow: the parts wait for each other.
        """
        self._order()
        nodes = self._draft.nodes
        preds: dict[int, list[int]] = {}
        succs: dict[int, list[int]] = {}
        for before, after in sorted(self._edges):
            preds.setdefault(after, []).append(before)
            succs.setdefault(before, []).append(after)
        for number in self._node.children:
            nodes[number].preds = tuple(preds.get(number, ()))
            nodes[number].succs = tuple(succs.get(number, ()))

    def _order(self) -> dict[int, int]:
        waits: dict[int, list[int]] = {child: [] for child in self._node.children}
        for before, after in self._edges:
            waits[after].append(before)
        try:
            return {number: i for i, number in enumerate(TopologicalSorter(waits).static_order())}
        except CycleError as error:
            raise self._cycle(error.args[1]) from None

    def _cycle(self, cycle: list[int]) -> CyclicFlow:
        nodes = self._draft.nodes
        steps = [nodes[cycle[0]].name]
        for before, after in pairwise(cycle):
            steps.append(f"{nodes[after].name} (waits for {self._edges.get((before, after), 'a value')})")
        return CyclicFlow(
            f"the parts of {self._node.path} ({shown(self._place)}) wait for each other: {' → '.join(steps)}",
            hint="bind one of these values to another part, or remove a link",
        )
