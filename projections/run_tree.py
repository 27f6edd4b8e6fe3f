"""The tree of a run: its flows and atoms with their states, laid out from plans, or grown from the paths of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowledger.core.states import AtomState

from .nodes import AtomView, FlowView
from .outline import Place, grown, outline


class RunTree:
    """The nodes of one run by path; "" is the run itself. States are counted in all flows around an atom."""

    def __init__(self) -> None:
        self.root = FlowView(Place("", "", "run", ""))
        self.flows: dict[str, FlowView] = {"": self.root}
        self.atoms: dict[str, AtomView] = {}
        self.expanded: set[str] = set()  # the flows that have been made while the run was under way (E7)
        self._planned: set[str] = set()

    # -- the tree -------------------------------------------------------------------------------

    def use(self, document: bytes) -> None:
        """Lay out the tree that a plan's document describes; what has been applied already stays.

        What an earlier plan had and this one has not is taken out: it never started (E8).
        """
        places = outline(document)
        paths = [place.path for place in places]
        gone = self._planned.difference(paths)
        self._planned = set(paths)
        for path in sorted(gone, reverse=True):  # what is inside before what is around it
            self._drop(path)
        self._place(places)
        order = {path: number for number, path in enumerate(paths)}
        for flow in self.flows.values():  # plan order, whatever the events met first
            flow.children.sort(key=lambda path: order.get(path, len(order)))

    def _place(self, places: Iterable[Place]) -> None:
        for place in places:
            known = self.flows.get(place.path) or self.atoms.get(place.path)
            if known is not None:
                known.place = place if place.pattern != "flow" else known.place
                continue
            self.flows[place.parent].children.append(place.path)
            if place.pattern == "task":
                self.atoms[place.path] = AtomView(place)
                self._count(place.path, "PENDING", 1)
            else:
                self.flows[place.path] = FlowView(place)

    def grow(self, document: bytes) -> None:
        """Lay out what an expansion has made, as its document describes it (E7)."""
        self._place(place for place in outline(document) if place.parent != place.path)  # its root is there already

    def shrink(self, path: str) -> None:
        """Forget what an expansion had made."""
        for node in list(self.below(path)):
            if isinstance(node, AtomView):
                self._count(node.path, node.state, -1)
        for node in list(self.below(path)):
            self.atoms.pop(node.path, None)
            self.flows.pop(node.path, None)
        self.flows[path].children.clear()

    def _drop(self, path: str) -> None:
        node = self.flows.get(path) or self.atoms[path]
        if path in self.atoms:
            self._count(path, self.atoms[path].state, -1)
        self.flows[node.place.parent].children.remove(path)
        self.atoms.pop(path, None)
        self.flows.pop(path, None)

    def _count(self, path: str, state: AtomState, by: int) -> None:
        place = self.atoms[path].place
        while place.path:
            flow = self.flows[place.parent]
            flow.atoms[state] += by
            place = flow.place

    def atom(self, path: str) -> AtomView:
        """The atom at a path, made where only an event tells of it."""
        if path not in self.atoms:
            self._place(grown(path, is_atom=True))
        return self.atoms[path]

    def flow(self, path: str) -> FlowView:
        """The flow at a path, made where only an event tells of it."""
        if path not in self.flows:
            self._place(grown(path, is_atom=False))
        return self.flows[path]

    def below(self, path: str) -> Iterator[AtomView | FlowView]:
        """All nodes under a flow, in plan order."""
        for child in self.flows[path].children:
            if child in self.atoms:
                yield self.atoms[child]
            else:
                yield self.flows[child]
                yield from self.below(child)

    def move(self, path: str, state: AtomState) -> AtomView:
        """Put an atom into a state, and count it in the flows around it."""
        atom = self.atom(path)
        if atom.state != state:
            self._count(path, atom.state, -1)
            self._count(path, state, 1)
            atom.state = state
        return atom

    def skip(self, path: str) -> None:
        """An atom, or a flow as one, is not run."""
        atoms = [self.atoms[path]] if path in self.atoms else list(self.below(path)) if path in self.flows else []
        for atom in atoms:
            if isinstance(atom, AtomView):
                self.move(atom.path, "SKIPPED")

    def is_skipped(self, path: str) -> bool:
        """Whether an atom, or all of a flow, is skipped."""
        return (self.atoms[path] if path in self.atoms else self.flow(path)).state == "SKIPPED"

    def waiting_for(self, path: str) -> list[AtomView | FlowView]:
        """What must be done before this node can start: its unfinished predecessors among its siblings."""
        place = self.atoms[path].place if path in self.atoms else self.flows[path].place
        before: list[AtomView | FlowView] = [self.flows.get(p) or self.atoms[p] for p in place.waits_for]
        return [node for node in before if node.state != "SUCCEEDED"]

    def waits_again(self, path: str) -> bool:
        """Whether something that comes before this node, or before a flow around it, is not done."""
        while path:
            place = self.atoms[path].place if path in self.atoms else self.flows[path].place
            if any(not (self.flows.get(p) or self.atoms[p]).is_done for p in place.waits_for):
                return True
            path = place.parent
        return False
