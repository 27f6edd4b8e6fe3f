"""What the arguments of a revert are bound to (rules D4, E4): what execute had, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from flowledger.core.annotations import can_hold
from flowledger.core.bound import given, type_name
from flowledger.core.parts import Atom
from flowledger.core.plan import Binding, FromConnection, FromOutcome, Node
from flowledger.core.signature import Parameter, Signature
from flowledger.core.source import shown
from flowledger.events.errors import SymbolTypeMismatch

from .symbols import exports_of

if TYPE_CHECKING:
    from .binding import Binder

_OUTCOMES: tuple[Literal["result", "failure", "failures"], ...] = ("result", "failure", "failures")


def bind_revert(binder: Binder, node: Node, atom: Atom[Any]) -> tuple[Binding, ...]:
    """The bindings of a revert. ``**kwargs`` get `result`, `failure`, `failures` and execute's arguments."""
    signature = atom.definition.revert_signature
    assert signature is not None
    if not signature.parameters and not signature.takes_any:
        return ()
    had = {binding.argument: binding for binding in node.arguments}
    found = [b for p in signature.parameters if (b := _one(binder, node, atom, had, p)) is not None]
    return tuple(found + _rest(signature, had)) if signature.takes_any else tuple(found)


def _rest(signature: Signature, had: dict[str, Binding]) -> list[Binding]:
    rest: list[Binding] = [FromOutcome(what, what) for what in _OUTCOMES if what not in signature.by_name]
    return rest + [
        binding
        for name, binding in had.items()
        if name not in signature.by_name and not isinstance(binding, FromConnection)
    ]


def _one(binder: Binder, node: Node, atom: Atom[Any], had: dict[str, Binding], parameter: Parameter) -> Binding | None:
    name = parameter.name
    for what in _OUTCOMES:
        if name == what:
            return FromOutcome(name, what)
    if parameter.is_connection and atom.definition.options.transactional:
        return FromConnection(name)
    if name in had:
        return had[name]
    executes = atom.definition.signature.by_name.get(name)
    if executes is not None and not parameter.is_context:
        return _default(binder, node, executes, parameter)
    own = _own_item(binder, node, atom, parameter)
    return own if own is not None else binder.by_name(node, parameter, name)


def _own_item(binder: Binder, node: Node, atom: Atom[Any], parameter: Parameter) -> FromOutcome | None:
    """One's own symbol, under the definition's name or the one it was placed under, is one's own result."""
    owned = {e.name: (e.item, e.typed.annotation) for e in atom.definition.exports}
    if node.provides != atom.definition.provides:
        owned |= {name: (p.item, p.annotation) for name, p in exports_of(binder.draft, node.number)}
    if parameter.name not in owned:
        return None
    item, annotation = owned[parameter.name]
    if parameter.annotated and not can_hold(annotation, parameter.annotation):
        revert = atom.definition.revert
        assert revert is not None
        raise SymbolTypeMismatch(
            f"revert of {atom.definition.name} ({shown(revert.place)}): {parameter.name}: {type_name(annotation)} → "
            f"{type_name(parameter.annotation)}, its own result",
            hint=f"annotate it as `{type_name(annotation)} | None`: None means never made, or unknown",
        )
    return FromOutcome(parameter.name, "result", item)


def _default(binder: Binder, node: Node, executes: Parameter, parameter: Parameter) -> Binding | None:
    """Execute ran with its default: revert gets the same value (D4), though its own default may be another."""
    if executes.default is parameter.default:
        return None
    return given(
        executes.name, executes.typed, executes.default, f"default of {node.name}", binder.draft.place_of(node.number)
    )
