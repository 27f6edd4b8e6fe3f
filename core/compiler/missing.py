"""The errors for a name nobody provides: what was near, what is there, and why something is not seen from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowledger.core.names import did_you_mean
from flowledger.core.plan import Node
from flowledger.core.signature import Parameter
from flowledger.core.source import shown
from flowledger.events.errors import MissingSymbol

from .scopes import outwards
from .symbols import exports_of

if TYPE_CHECKING:
    from .binding import Binder

_SHOWN = 12


def missing_symbol(binder: Binder, node: Node, parameter: Parameter, name: str) -> MissingSymbol:
    """Nobody provides ``name`` for the argument."""
    seen = _visible(binder, node)
    unseen = _unseen(binder, node, name)
    line = f"{binder.where(node)}: {_asked(binder, node, parameter, name)} has no provider"
    parts = [line + (f": {unseen}" if unseen else "")]
    parts.extend(f"  {title}: {_list(names)}" for title, names in seen.items())
    everything = [n for names in seen.values() for n in names]
    bind = f"bind({parameter.name}=…), or " if _of_definition(binder, node, parameter) else ""
    hint = did_you_mean(name, everything) or f"{bind}place a part with provides={name!r} before it"
    return MissingSymbol("\n".join(parts), hint=hint)


def _asked(binder: Binder, node: Node, parameter: Parameter, name: str) -> str:
    """The argument, and whose it is: a task's or factory's, else a predicate's, a switch's or a retry's."""
    renamed = f" (bound to symbol({name!r}))" if name != parameter.name else ""
    of = _of_definition(binder, node, parameter)
    return f"argument `{parameter.name}`{renamed} of {of}" if of else f"{parameter.where}{renamed}"


def _of_definition(binder: Binder, node: Node, parameter: Parameter) -> str:
    asks = binder.draft.definition_of(node.number)
    return asks.where if asks is not None and parameter.name in asks.signature.by_name else ""


def comes_too_late(what: str, flow: Node) -> MissingSymbol:
    """A value is taken inside an expansion from a part of a graph around it that it does not wait for."""
    return MissingSymbol(
        f"{what}, but in {flow.path} nothing makes the expansion wait for it",
        hint="bind it to the factory, or link(…) the two",
    )


def says_nothing_of_order(what: str, flow: Node) -> MissingSymbol:
    """A value is taken from a sibling that may run later."""
    return MissingSymbol(
        f"{what}, but in {flow.path} ({flow.pattern}) nothing says which of them runs first",
        hint="use linear(…) or graph(…), or bind outside",
    )


def _visible(binder: Binder, node: Node) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"symbols": [], "inputs": [], "resources": sorted(binder.draft.registry.resources)}
    for scope in outwards(binder.scopes[node.parent]):
        found["symbols"].extend(scope.seen())
        if scope.retry_name is not None:
            found["symbols"].append(scope.retry_name)
        for inputs in scope.inputs:
            found["inputs"].extend(inputs)
    return {title: list(dict.fromkeys(names)) for title, names in found.items()}


def _unseen(binder: Binder, node: Node, name: str) -> str:
    """Why somebody who does provide it is not seen from here."""
    draft = binder.draft
    for other in draft.nodes:
        if other.number == node.number or other.pattern == "run" or not binder.knows(other.number):
            continue
        if other.pattern == "task" and name in dict(exports_of(draft, other.number)):
            around = draft.nodes[draft.common_flow(node.number, other.number)]
            if around.pattern in ("unordered", "each"):
                return f"{other.path} provides it, but the parts of {around.path} do not see each other"
            if around.pattern == "linear" and other.number > node.number:
                return f"{other.path} provides it, but runs later"
            return f"{other.path} provides it, but a flow between exports it twice or gives a list instead"
        if other.retry is not None and other.retry.provides == name:
            return f"the retry of {other.path} provides it, but only inside ({shown(draft.place_of(other.number))})"
    return ""


def _list(names: list[str]) -> str:
    more = f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
