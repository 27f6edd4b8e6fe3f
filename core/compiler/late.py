"""Expansions while the flow around them is compiled (rule E7): what they wait for is bound and checked like all else.

Of a task that will be placed once per item, everything is bound now, as if it stood there already; later an item takes
the place of the list. Of a factory, its inputs: what is in its flow is known when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flowledger.core.definition import TaskDefinition
from flowledger.core.parts import Atom, Flow, Late
from flowledger.core.plan import Binding, Expansion, FromContext, FromResource, Given, Node
from flowledger.core.signature import EMPTY, Parameter
from flowledger.core.typed import list_of
from flowledger.events.errors import DefinitionError

if TYPE_CHECKING:
    from .binding import Binder


def bind_late(binder: Binder, node: Node, flow: Flow[Any], late: Late) -> None:
    """Bind what an expansion waits for; its node has no children until that is known."""
    definition, registry = late.of, binder.draft.registry
    owner = definition.owner if isinstance(definition, TaskDefinition) else definition
    name = registry.name_of(owner) or definition.name
    node.expansion = Expansion(of=name, wants=(), typed={})
    parameters = tuple(_for_list(p) if p.name == late.items else p for p in definition.signature.parameters)
    if isinstance(definition, TaskDefinition):
        _bind_task(binder, node, Atom(definition, late.bound, flow.place), parameters)
        node.priority = definition.options.priority
        wants = tuple(binding for binding in node.arguments if binding.argument == late.items)
    else:
        node.arguments = tuple(_input(binder, node, parameter, late) for parameter in parameters)
        wants = tuple(b for b in node.arguments if not isinstance(late.bound[b.argument], Given))
    for binding in wants:
        _check_value(binder, node, binding)
    asked = {binding.argument for binding in wants}
    typed = {parameter.name: parameter.typed for parameter in parameters if parameter.name in asked}
    node.expansion = Expansion(of=name, wants=wants, typed=typed)


def _bind_task(binder: Binder, node: Node, atom: Atom[Any], parameters: tuple[Parameter, ...]) -> None:
    """As if the task stood where its node stands; what the node provides is the list, not the task's result."""
    template = replace(node, provides=atom.definition.provides)
    binder.bind_atom(template, atom, parameters)
    node.arguments, node.revert_arguments = template.arguments, template.revert_arguments


def _for_list(parameter: Parameter) -> Parameter:
    """The argument that gets the items one by one, as what their list is bound to."""
    return Parameter(parameter.name, list_of(parameter.annotation), EMPTY, f"the list for {parameter.where}")


def _input(binder: Binder, node: Node, parameter: Parameter, late: Late) -> Binding:
    value = late.bound[parameter.name]
    return value if isinstance(value, Given) else binder.by_hand(node, parameter, value)


def _check_value(binder: Binder, node: Node, binding: Binding) -> None:
    if isinstance(binding, FromResource | FromContext):
        raise DefinitionError(
            f"{binder.where(node)}: `{binding.argument}` is bound to a live object, and a flow is made of values",
            hint="tasks inside the flow get resources by name",
        )
