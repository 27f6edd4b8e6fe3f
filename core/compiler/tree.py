"""Step 1: from nested parts to numbered nodes with names and paths. No recursion: flows nest as deep as they like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.plan import RUN, Lane, Node, TaskSpec
from flowledger.core.registry import Registry

from .draft import Draft, Executor
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


def grow(root: Part[Any], root_name: str, registry: Registry, executor: Executor | None) -> Draft:
    """All nodes of the plan. Edges inside linear flows are there, the others are not yet."""
    run = Node(number=RUN, path="", name="", pattern="run", parent=RUN, scope=RUN)
    draft = Draft(registry, executor, [run], [None], [None], [0])
    specs = _Specs(draft)
    top = _Level(run, iter([(root, _atom(root), root_name)]), RUN)
    top.prefix = ""
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
    _locate(draft)
    return draft


def _atom(part: Part[Any]) -> Atom[Any] | None:
    return None if type(part) is Flow else part.atom()


def _level(node: Node, flow: Flow[Any]) -> _Level:
    atoms = [_atom(part) for part in flow.parts]
    rows = zip(flow.parts, atoms, names(flow.parts, atoms, node.path, flow.place), strict=True)
    return _Level(node, rows, node.number if flow.retry is not None else node.scope)


def _place(draft: Draft, level: _Level, part: Part[Any], atom: Atom[Any] | None, name: str, specs: _Specs) -> Node:
    number = len(draft.nodes)
    parent = level.node
    preds: list[int] = []
    if parent.pattern == "linear" and parent.children:
        before = parent.children[-1]
        preds.append(before)
        draft.nodes[before].succs.append(number)
    path = level.prefix + name
    if atom is not None:
        spec, lane = specs.of(atom)
        node = Node(
            number=number, path=path, name=name, pattern="task", parent=parent.number, scope=level.scope, lane=lane,
            preds=preds, children=_NONE, task=spec, provides=part.given_provides or atom.definition.provides,
        )  # fmt: skip
        draft.wanted.update([id(value) for value in atom.bound.values()] if atom.bound else ())
    else:
        assert isinstance(part, Flow)
        node = Node(
            number=number, path=path, name=name, pattern=part.pattern, parent=parent.number, scope=level.scope,
            preds=preds, retry=part.retry, provides=part.given_provides,
            gathers=part.pattern in ("unordered", "each"),
        )  # fmt: skip
        draft.wanted.update((id(part.result), id(part.on)))
        if part.retry is not None:
            draft.wanted.update([id(value) for value in part.retry.symbols().values()])
        draft.ends.append(0)  # known when its last part is placed
    parent.children.append(number)
    draft.nodes.append(node)
    draft.parts.append(part)
    draft.atoms.append(atom)
    return node


class _Specs:
    """The `TaskSpec` and lane of each definition, looked up once per plan."""

    __slots__ = ("_draft", "_known")

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._known: dict[int, tuple[TaskSpec, Lane]] = {}

    def of(self, atom: Atom[Any]) -> tuple[TaskSpec, Lane]:
        definition = atom.definition
        found = self._known.get(id(definition))
        if found is None:
            spec = definition.spec(self._draft.registry.name_of(definition.owner) or definition.name)
            _ = definition.exports  # refused here, though nobody may ask for them
            found = self._known[id(definition)] = (spec, self._lane(spec, definition.options.executor))
        return found

    def _lane(self, spec: TaskSpec, asked: Lane | None) -> Lane:
        if spec.pause is not None:
            return "control"
        if self._draft.executor == "inline":
            return "inline"
        return "async" if spec.execute.is_async else self._draft.executor or asked or "threads"


def _locate(draft: Draft) -> None:
    """Where the parts stand that something refers to: by hand, as `returns=`, or in a link."""
    wanted = draft.wanted
    for part in draft.parts:
        if type(part) is Flow:
            for link in part.links:
                wanted.add(id(link.before))
                wanted.add(id(link.after))
    placed: dict[int, list[int]] = {}
    for number, part in enumerate(draft.parts):
        if id(part) in wanted and part is not None:
            placed.setdefault(id(part), []).append(number)
    draft.placed = placed
