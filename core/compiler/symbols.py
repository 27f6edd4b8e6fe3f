"""Step 2, bottom-up: what each flow's result is and which symbols it exports (rules E2, E3)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Union

from flowledger.core.definition import Export
from flowledger.core.parts import Flow, Late, Part
from flowledger.core.plan import Node
from flowledger.core.result import items_of
from flowledger.core.source import shown
from flowledger.core.typed import Typed, list_of, typed
from flowledger.events.errors import AmbiguousSymbol, MissingSymbol

from .draft import Draft

_DEEPEST = 16  # lists of lists beyond this are typed `list[Any]`
_WIDEST = 16  # as are lists of more different types than this


class Provider(NamedTuple):
    """Where a symbol comes from: all of a node's result, or an item of it; ``annotation`` is the item's."""

    node: int
    item: int | str | None
    annotation: Any


def gather_symbols(draft: Draft, nodes: Sequence[Node]) -> None:
    """Fill `returns`, the result types and the exports of flows. Children come after parents, so: backwards."""
    for node in reversed(nodes):
        if node.pattern in {"task", "run"}:
            continue
        flow = draft.parts[node.number]
        assert isinstance(flow, Flow)
        find_result(draft, node, flow)
        draft.symbols[node.number] = _exports(draft, node, flow)


def annotation_of(draft: Draft, number: int) -> Any:
    """The type of a node's result."""
    atom = draft.atoms[number]
    return draft.annotations[number] if atom is None else atom.definition.result.annotation


def typed_of(draft: Draft, number: int) -> Typed:
    """How the result of a node is read."""
    atom = draft.atoms[number]
    if atom is not None:
        return atom.definition.result
    return typed(draft.annotations[number], where=f"what {draft.nodes[number].path} returns")


def target_of(draft: Draft, number: int) -> int:
    """The node whose result a node's result is."""
    returns = draft.nodes[number].returns
    return number if returns is None else returns


def exports_of(draft: Draft, number: int) -> Iterable[tuple[str, Provider]]:
    """The symbols a node shows to its siblings."""
    atom = draft.atoms[number]
    if atom is None:
        return draft.symbols[number].items()
    part = draft.parts[number]
    provides = part.given_provides if part is not None else None
    exports = atom.definition.exports if provides is None else atom.definition.exports_as(provides)
    if not exports:
        return ()
    return [(e.name, _provider(number, e)) for e in exports]


def find_placed(draft: Draft, part: Part[Any], flow: int) -> int | None:
    """Where inside ``flow`` (a node's number) the part stands; None if it does not.

    Raises:
        AmbiguousSymbol: more than once.
    """
    numbers = draft.placed.get(id(part), ())
    first, after = (bisect_left(numbers, end) for end in draft.inside(flow))
    if first == after:
        return None
    if after - first > 1:
        one, two = draft.nodes[numbers[first]].path, draft.nodes[numbers[first + 1]].path
        raise AmbiguousSymbol(
            f"the same part is placed as {one} and as {two}: which one is meant?",
            hint="make one part for each place: `a = task.bind(…)`, `b = task.bind(…)`",
        )
    return numbers[first]


def _provider(number: int, export: Export) -> Provider:
    return Provider(number, export.item, export.typed.annotation)


def find_result(draft: Draft, node: Node, flow: Flow[Any]) -> None:
    """Fill `returns` and the result type of a flow whose parts have theirs."""
    if flow.late is not None:
        draft.annotations[node.number] = _promised(flow.late)
        return
    if node.pattern == "switch":
        draft.annotations[node.number] = _one_of(draft, node)
        return
    if node.gathers:
        draft.annotations[node.number] = _list_of(draft, node)
        return
    if flow.result is None:
        draft.annotations[node.number] = None
        return
    found = find_placed(draft, flow.result, node.number)
    if found is None:
        raise MissingSymbol(
            f"{node.path} ({shown(flow.place)}) returns a part that is not placed in it",
            hint="place it; .named(…) and .as_(…) give copies: return the copy that you placed",
        )
    node.returns = target_of(draft, found)
    draft.annotations[node.number] = annotation_of(draft, found)


def _promised(late: Late) -> Any:
    """The type of a result whose flow is not built yet, as its task or factory is annotated."""
    result = late.of.result
    one = result.annotation if isinstance(result, Typed) else result
    return one if late.items is None else list_of(one)


def _list_of(draft: Draft, node: Node) -> Any:
    kinds: list[Any] = []
    for child in node.children:
        annotation = annotation_of(draft, child)
        if not any(annotation is kind or annotation == kind for kind in kinds):
            kinds.append(annotation)
            if len(kinds) > _WIDEST:
                return list[Any]
    if not kinds or any(_depth(kind) >= _DEEPEST for kind in kinds):
        return list[Any]
    return list[Union[tuple(kinds)]]  # type: ignore[misc]  # noqa: UP007 - a runtime value


def _one_of(draft: Draft, node: Node) -> Any:
    """The result of a switch is that of one of its cases."""
    kinds = [annotation_of(draft, child) for child in node.children]
    return Union[tuple(kinds)] if kinds else None  # noqa: UP007 - a runtime value


def _depth(annotation: Any) -> int:
    depth = 0
    while getattr(annotation, "__origin__", None) is list:
        annotation = annotation.__args__[0]
        depth += 1
    return depth


def _exports(draft: Draft, node: Node, flow: Flow[Any]) -> dict[str, Provider]:
    found = _unique(draft, node) if node.pattern != "linear" else _last_wins(draft, node)
    provides = flow.given_provides
    if isinstance(provides, str):
        found[provides] = Provider(target_of(draft, node.number), None, draft.annotations[node.number])
    elif provides is not None:
        where = f"{node.path} ({shown(flow.place)})"
        items = items_of(typed_of(draft, node.number), provides, where)
        for name, (item, type_) in zip(provides, items, strict=True):
            found[name] = Provider(target_of(draft, node.number), item, type_.annotation)
    return found


def _last_wins(draft: Draft, node: Node) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for child in node.children:
        found.update(exports_of(draft, child))
    return found


def _unique(draft: Draft, node: Node) -> dict[str, Provider]:
    """What exactly one child exports. An `each` gives its list and nothing else, however long the list is (E7)."""
    found: dict[str, Provider] = {}
    twice: set[str] = set()
    if node.pattern not in ("each", "switch"):  # of a switch nobody knows which case will run
        for child in node.children:
            for name, provider in exports_of(draft, child):
                if found.setdefault(name, provider) is not provider:
                    twice.add(name)
    for name in twice:
        del found[name]
    return found
