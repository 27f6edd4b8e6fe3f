"""Branches (rule E6): predicates of links and switches are bound; arguments whose provider may be skipped, refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flowledger.core.branching import taken_along
from flowledger.core.parts import Flow, Link
from flowledger.core.plan import RUN, Condition, FromNode, Node
from flowledger.core.signature import Parameter, signature
from flowledger.core.source import shown
from flowledger.events.errors import DefinitionError, MaybeSkipped

from .scopes import Scope
from .symbols import Provider, annotation_of, target_of

if TYPE_CHECKING:
    from .binding import Binder


class Case:
    """The predicate of one case of a switch: the value equals its key, or (the default) none of the keys."""

    __slots__ = ("_keys", "_others")

    def __init__(self, keys: tuple[Any, ...], others: bool) -> None:
        self._keys = keys
        self._others = others

    def __call__(self, value: Any) -> bool:
        return (value in self._keys) is not self._others

    def __str__(self) -> str:
        return f"{'none of' if self._others else 'is'} {', '.join(repr(key) for key in self._keys)}"


class Conditions:
    """Finds the predicates of each node and binds their arguments, like a task's."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder

    def of(self, node: Node, scope: Scope) -> tuple[Condition, ...]:
        """The predicates that decide whether this node runs."""
        if scope.links is not None:
            links = scope.links.conditional.get(node.number, ())
            return tuple(self._link(node, before, link) for before, link in links)
        if scope.node.pattern == "switch":
            return (self._case(node, scope.node),)
        return ()

    def _link(self, node: Node, before: int, link: Link) -> Condition:
        assert link.when is not None
        name = getattr(link.when, "__qualname__", type(link.when).__name__)
        asked = signature(link.when, name, link.place).parameters
        if not asked:
            raise DefinitionError(
                f"link(…) at {shown(link.place)}: when= takes no argument", hint="it is handed the first part's result"
            )
        draft = self._binder.draft
        target = target_of(draft, before)
        provider = Provider(target, None, annotation_of(draft, target))
        first = self._binder.from_source(node, asked[0], provider)
        others = [self._binder.by_name(node, parameter, parameter.name) for parameter in asked[1:]]
        arguments = (first, *(binding for binding in others if binding is not None))
        return Condition(before, link.when, arguments, link.depth, name)

    def _case(self, node: Node, switch: Node) -> Condition:
        flow = self._binder.draft.parts[switch.number]
        assert isinstance(flow, Flow)
        assert flow.on is not None
        index = switch.children.index(node.number)
        is_default = index >= len(flow.keys)
        case = Case(flow.keys if is_default else (flow.keys[index],), is_default)
        value = Parameter(
            "value", inspect.Parameter.empty, inspect.Parameter.empty, f"switch(…) at {shown(flow.place)}"
        )
        return Condition(None, case, (self._binder.by_hand(node, value, flow.on),), "flow", str(case))


def check_skipped(binder: Binder, asking: Iterable[Node]) -> None:
    """Refuse a required argument of these nodes whose provider can be skipped while its consumer runs.

    Raises:
        MaybeSkipped: naming both.
    """
    nodes = binder.draft.nodes
    skips = [
        (node, set(taken_along(nodes, node.number, condition.depth)))
        for node in binder.conditional
        for condition in node.conditions
    ]
    if not skips:
        return
    for node in asking:
        for binding in node.arguments:
            if isinstance(binding, FromNode):
                for skipped, along in skips:
                    if _within(nodes, binding.node, along) and not _within(nodes, node.number, along):
                        _refuse_required(binder, node, binding, skipped)


def _within(nodes: list[Node], number: int, along: set[int]) -> bool:
    while number != RUN:
        if number in along:
            return True
        number = nodes[number].parent
    return False


def _refuse_required(binder: Binder, node: Node, binding: FromNode, skipped: Node) -> None:
    asks = binder.draft.definition_of(node.number)
    parameter = asks.signature.by_name.get(binding.argument) if asks is not None else None
    if parameter is None or parameter.required:
        provider = binder.draft.nodes[binding.node].path
        raise MaybeSkipped(
            f"{binder.where(node)}: `{binding.argument}` comes from {provider}, which does not run when {skipped.path} "
            "is skipped",
            hint=f"give `{binding.argument}` a default, or a depth to the link that skips both",
        )
