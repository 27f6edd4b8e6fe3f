"""What an expansion is made of (rule E7): values read, the factory called with them, or a task bound to each item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import ValidationError

from flowledger.core.annotations import can_hold
from flowledger.core.bound import given, input_error, type_name
from flowledger.core.definition import FactoryDefinition, TaskDefinition
from flowledger.core.factory import build
from flowledger.core.parts import Atom, Flow, Late
from flowledger.core.plan import Binding, Given, Node
from flowledger.core.source import Place
from flowledger.core.task import first_argument, label_of
from flowledger.events.errors import SymbolTypeMismatch


class ByItem:
    """The bindings of a task with the place of the list's, where each atom has its item."""

    __slots__ = ("_after", "_before", "_bindings", "_has_list")

    def __init__(self, bindings: tuple[Binding, ...], argument: str | None) -> None:
        at = next((i for i, binding in enumerate(bindings) if binding.argument == argument), None)
        self._bindings = bindings
        self._has_list = at is not None
        self._before, self._after = bindings[: at or 0], bindings[(at or 0) + 1 :]

    def of(self, item: Given) -> tuple[Binding, ...]:
        """The bindings of the atom with this item."""
        return (*self._before, item, *self._after) if self._has_list else self._bindings


def values_of(node: Node, values: bytes, flow: Flow[Any]) -> dict[str, Any]:
    """The values an expansion waited for, by argument.

    Raises:
        InputError: one is not of its argument's type.
    """
    expansion = node.expansion
    assert expansion is not None
    known: dict[str, Any] = {}
    for argument, content in msgspec.json.decode(values, type=dict[str, msgspec.Raw]).items():
        typed = expansion.typed[argument]
        try:
            known[argument] = typed.load(bytes(content))
        except ValidationError as error:
            raise input_error(argument, typed, error, f"{node.path}, {expansion.of}", flow.place) from error
    return known


def atoms_of(
    definition: TaskDefinition, late: Late, known: Mapping[str, Any], place: Place
) -> tuple[list[Given], list[Atom[Any]]]:
    """The items of the list as bindings, and for each the atom, for its name.

    Raises:
        InputError: an item is not of the argument's type.
    """
    what = f"{definition.name}.each(…)"
    first = first_argument(definition, {}, what, place)
    items = [given(first.name, first.typed, item, what, place) for item in known[first.name]]
    if definition.label is None:  # all of them are called alike, so one will do
        return items, [Atom[Any](definition, {}, place)] * len(items)
    bound = [{**late.bound, first.name: item} for item in items]
    return items, [Atom[Any](definition, each, place, label_of(definition, each)) for each in bound]


def flow_of(flow: Flow[Any], late: Late, known: Mapping[str, Any]) -> Flow[Any]:
    """Call the factory, once or once per item; the flow that comes of it stands in the place of ``flow``.

    Raises whatever the factory raises.
    """
    definition = late.of
    assert isinstance(definition, FactoryDefinition)
    inputs = {name: v.typed.load(v.content) for name, v in late.bound.items() if isinstance(v, Given)} | dict(known)
    if late.items is None:
        made = build(definition, (), inputs, flow.place)
        if made.late is not None:  # it has to wait itself: as the one part of what is here now
            calls, made.calls = made.calls, ()
            made = Flow("linear", (made,), flow.place, result=made)
            made.calls = calls
    else:
        items = inputs.pop(late.items)
        made = Flow("each", tuple(build(definition, (item,), inputs, flow.place) for item in items), flow.place)
    made.calls = (*flow.calls, *made.calls)
    return made


def check_result(root: Node, late: Late, found: Any, promised: Any) -> None:
    """Refuse a flow whose result can never be what its factory is annotated to return.

    Raises:
        SymbolTypeMismatch
    """
    if promised not in (None, type(None)) and not can_hold(found, promised):
        raise SymbolTypeMismatch(
            f"{root.path}: {late.of.where} is annotated to return a flow of {type_name(promised)}, "
            f"and returned one of {type_name(found)}",
            hint="say returns=, or correct the annotation",
        )
