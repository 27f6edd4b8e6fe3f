"""Step 1: from nested parts to numbered nodes with names and paths. No recursion: flows nest as deep as they like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flowledger.core.options import TaskOptions
from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.plan import RUN, Given, Node, TaskSpec
from flowledger.core.registry import Registry
from flowledger.events.errors import FlowNotRegistered

from .draft import Draft
from .naming import names

_NONE: list[int] = []  # the children of every task: one list for all of them, nobody adds to it

Row = tuple[Part[Any], Atom[Any] | None, str]


class _Level:
    """A flow whose parts are being placed."""

    __slots__ = ("node", "prefix", "rows", "scope")

    def __init__(self, node: Node, rows: Iterator[Row], scope: int) -> None:
        self.node = node
        self.rows = rows
        self.scope = scope
        self.prefix = f"{node.path}/"


def grow(root: Part[Any], root_name: str, registry: Registry, executor: str | None) -> Draft:
    """All nodes of the plan. Edges inside linear flows are there, the others are not yet."""
    run = Node(number=RUN, path="", name="", pattern="run", parent=RUN, scope=RUN)
    draft = Draft(registry, executor, [run], [None], [None], [0])
    top = _Level(run, iter([(root, _atom(root), root_name)]), RUN)
    top.prefix = ""
    _grow(draft, top)
    _locate(draft, draft.parts, 0)
    return draft


def grow_inside(draft: Draft, root: Node, flow: Flow[Any]) -> None:
    """The nodes of an expansion, with the next numbers, as children of its node."""
    first, end = len(draft.nodes), draft.ends[root.number]
    draft.wanted = set()
    _want(draft, flow)
    _grow(draft, _level(root, flow))
    draft.ends[root.number] = end  # in the flow around it, it stands where it stood
    draft.blocks[root.number] = (first, len(draft.nodes))
    _locate(draft, draft.parts[first:], first)


def _grow(draft: Draft, top: _Level) -> None:
    specs = Specs(draft)
    levels = [top]
    while levels:
        level = levels[-1]
        for part, atom, name in level.rows:
            node = _place(draft, level, part, atom, name, specs)
            if atom is None:
                assert isinstance(part, Flow)
                levels.append(_level(node, part))
                break
            draft.ends.append(node.number + 1)
        else:
            levels.pop()
            draft.ends[level.node.number] = len(draft.nodes)


def _atom(part: Part[Any]) -> Atom[Any] | None:
    return None if type(part) is Flow else part.atom()


def _level(node: Node, flow: Flow[Any]) -> _Level:
    atoms = [_atom(part) for part in flow.parts]
    rows = zip(flow.parts, atoms, names(flow.parts, atoms, node.path, flow.place), strict=True)
    return _Level(node, rows, node.number if flow.retry is not None else node.scope)


def _place(draft: Draft, level: _Level, part: Part[Any], atom: Atom[Any] | None, name: str, specs: Specs) -> Node:
    number = len(draft.nodes)
    parent = level.node
    preds: tuple[int, ...] = ()
    if parent.pattern == "linear" and parent.children:
        before = parent.children[-1]
        preds = (before,)
        draft.nodes[before].succs = (number,)
    path = level.prefix + name
    if atom is not None:
        spec = specs.of(atom)
        node = Node(
            number=number, path=path, name=name, pattern="task", parent=parent.number, scope=level.scope,
            lane=spec.lane, priority=spec.priority, preds=preds, children=_NONE, task=spec.task,
            provides=part.given_provides or spec.provides,
        )  # fmt: skip
        if atom.bound:
            for value in atom.bound.values():
                if type(value) is not Given:
                    draft.wanted.add(id(value))
    else:
        assert isinstance(part, Flow)
        node = Node(
            number=number, path=path, name=name, pattern=part.pattern, parent=parent.number, scope=level.scope,
            preds=preds, retry=part.retry, provides=part.given_provides,
            gathers=part.pattern in ("unordered", "each"),
        )  # fmt: skip
        _want(draft, part)
        draft.ends.append(0)  # known when its last part is placed
    parent.children.append(number)
    draft.nodes.append(node)
    draft.parts.append(part)
    draft.atoms.append(atom)
    return node


class Spec(NamedTuple):
    """What is the same for all atoms of a definition."""

    task: TaskSpec
    lane: str
    priority: int
    provides: str | tuple[str, ...] | None


class Specs:
    """The `Spec` of each definition, looked up once per plan."""

    __slots__ = ("_draft", "_known")

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._known: dict[int, Spec] = {}

    def of(self, atom: Atom[Any]) -> Spec:
        """The spec of an atom's definition."""
        definition = atom.definition
        found = self._known.get(id(definition))
        if found is None:
            name = self._draft.registry.name_of(definition.owner)
            if name is None and definition.child:
                raise FlowNotRegistered(
                    f"{definition.where} is not in the app {self._draft.registry.name}: it can have no runs there",
                    hint=f"{self._draft.registry.name}.include(…) the app it is defined in",
                )
            spec = definition.spec(name or definition.name)
            _ = definition.exports  # refused here, though nobody may ask for them
            options = definition.options
            found = Spec(spec, self._lane(spec, options), options.priority, definition.provides)
            self._known[id(definition)] = found
        return found

    def _lane(self, spec: TaskSpec, options: TaskOptions) -> str:
        if spec.pause is not None or spec.signal is not None:
            return "control"
        if self._draft.executor == "inline":
            return "inline"
        if spec.execute.connection is not None:
            return "transaction"
        asked = self._draft.executor or options.executor
        if not spec.child and (asked == "workers" or self._has_queue(options)):
            return "workers"
        return "async" if spec.execute.is_async else asked or "threads"

    def _has_queue(self, options: TaskOptions) -> bool:
        """Whether the task names a queue that somebody could be asked on; who runs a flow may want it here instead."""
        return options.queue is not None and self._draft.executor is None and self._draft.registry.has_workers


def _want(draft: Draft, flow: Flow[Any]) -> None:
    """What a flow refers to: as `returns=`, in links, as arguments of its retry, as what it waits for."""
    wanted = draft.wanted
    wanted.update((id(flow.result), id(flow.on)))
    for link in flow.links:
        wanted.add(id(link.before))
        wanted.add(id(link.after))
    if flow.retry is not None:
        wanted.update([id(value) for value in flow.retry.symbols().values()])
    if flow.late is not None:
        wanted.update([id(value) for value in flow.late.bound.values()])


def _locate(draft: Draft, parts: Sequence[Part[Any] | None], first: int) -> None:
    """Where the parts, numbered from ``first``, stand that something refers to."""
    wanted, placed = draft.wanted, draft.placed
    for number, part in enumerate(parts, first):
        if id(part) in wanted and part is not None:
            placed.setdefault(id(part), []).append(number)
