"""What a run is a run of: a registered flow or task, and its inputs as JSON. From part to entry, and back on resume."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError

from flowledger.core.bound import bind_arguments, input_error
from flowledger.core.definition import FactoryDefinition, TaskDefinition
from flowledger.core.factory import build, missing_input
from flowledger.core.names import did_you_mean
from flowledger.core.parts import Atom, Flow, Part, json_object
from flowledger.core.patterns import check_part
from flowledger.core.plan import Given
from flowledger.core.registry import Registered, Registry
from flowledger.core.signature import Parameter, signature
from flowledger.core.source import NOWHERE, shown
from flowledger.core.task import Task, TaskClass
from flowledger.events.errors import DefinitionError, FlowNotRegistered, InputError
from flowledger.events.facts import OnFailure


class Entry(NamedTuple):
    """``factory`` is the registered name; ``inputs`` the arguments, ``config`` the fields of a task class."""

    factory: str
    name: str  # of the root node
    inputs: Mapping[str, Given]
    config: bytes
    on_failure: OnFailure

    def inputs_json(self) -> bytes:
        """The inputs of the run, as they are submitted: a JSON object."""
        inputs = json_object({name: value.content for name, value in self.inputs.items()})
        return inputs if not self.config else _merged(self.config, inputs)


def _merged(config: bytes, inputs: bytes) -> bytes:
    return config[:-1] + b"," + inputs[1:] if inputs != b"{}" else config


def entry(part: Part[Any], registry: Registry) -> Entry:
    """What to submit so that this part can be built again by name.

    Raises:
        DefinitionError: it is no part.
        FlowNotRegistered: it could not, because no factory of this app built it.
    """
    check_part(part, "what is to run")
    if isinstance(part, Flow):
        return _flow_entry(part, registry)
    return _task_entry(part.atom(), registry)


def _flow_entry(flow: Flow[Any], registry: Registry) -> Entry:
    if not flow.calls:
        raise FlowNotRegistered(
            f"the flow made at {shown(flow.place)} has no factory: a run of it could not be resumed",
            hint="put it in a function under @app.flow and run what that returns",
        )
    call = flow.calls[0]
    name = registry.name_of(call.factory)
    if name is None:
        raise _foreign(call.factory.where, registry)
    return Entry(name, call.factory.name, call.inputs, b"", call.factory.on_failure)


def _task_entry(atom: Atom[Any], registry: Registry) -> Entry:
    definition = atom.definition
    name = registry.name_of(definition.owner)
    if name is None:
        raise _foreign(definition.where, registry)
    inputs: dict[str, Given] = {}
    for argument, value in atom.bound.items():
        if not isinstance(value, Given):
            raise FlowNotRegistered(
                f"{definition.name} bound at {shown(atom.place)}: `{argument}` is bound to something only a flow has",
                hint="put it in a function under @app.flow and run what that returns",
            )
        inputs[argument] = value
    fields: Mapping[str, Any] = definition.owner.fields if isinstance(definition.owner, TaskClass) else {}
    both = sorted(set(fields) & set(definition.signature.by_name))
    if both:
        raise DefinitionError(
            f"{definition.where} has a field and an argument called `{both[0]}`: it cannot be run on its own",
            hint="rename one of them, or place it in a flow",
        )
    return Entry(name, definition.name, inputs, definition.config, "revert")


def _foreign(where: str, registry: Registry) -> FlowNotRegistered:
    return FlowNotRegistered(
        f"{where} is not in the app {registry.name}", hint=f"{registry.name}.include(…) the app it is defined in"
    )


# -- and back -----------------------------------------------------------------------------------


def rebuild(registry: Registry, name: str, inputs: bytes) -> Part[Any]:
    """The part that a submitted run is a run of. The name is looked up among what is registered, nowhere else.

    Raises:
        FlowNotRegistered: the app has no such flow or task.
        InputError: an input is missing, unknown, or does not fit.
    """
    definition = _registered(registry, name)
    values = _object(inputs, name)
    if isinstance(definition, FactoryDefinition):
        return build(definition, (), _loaded(values, _flow_inputs(definition), name), NOWHERE)
    return _rebuilt_task(registry, name, definition, values)


def _registered(registry: Registry, name: str) -> FactoryDefinition | Registered:
    definition = registry.flows.get(name) or registry.tasks.get(name)
    if definition is None:
        known = [*registry.flows, *registry.tasks]
        raise FlowNotRegistered(
            f"the app {registry.name} has no flow or task `{name}`",
            hint=did_you_mean(name, known) or f"it has: {', '.join(sorted(known)) or 'none'}",
        )
    return definition


def inputs_of(registry: Registry, name: str) -> Mapping[str, Parameter]:
    """The inputs a flow or task takes, for help texts and forms.

    Raises:
        FlowNotRegistered
    """
    definition = _registered(registry, name)
    if isinstance(definition, FactoryDefinition):
        return _flow_inputs(definition)
    return _task_inputs(registry, name, definition)


def _flow_inputs(definition: FactoryDefinition) -> Mapping[str, Parameter]:
    return definition.signature.by_name


def _task_inputs(registry: Registry, name: str, definition: Registered) -> Mapping[str, Parameter]:
    """The arguments of a task, without those that are resources or the context."""
    if isinstance(definition, TaskDefinition):
        parameters = definition.signature.parameters
    else:
        plain = signature(definition.cls.execute, name, definition.place, definition.around).parameters
        parameters = (*_fields(definition), *(p for p in plain if p.name != "self"))
    return {
        p.name: p
        for p in parameters
        if not _is_handed_in(p, definition) and registry.find_resource(p.name, name) is None
    }


def _is_handed_in(parameter: Parameter, definition: Registered) -> bool:
    """Whether the engine fills the argument: with the context, or with the connection of a transaction."""
    return parameter.is_context or (parameter.is_connection and definition.options.transactional)


def _fields(definition: TaskClass) -> list[Parameter]:
    constructor = inspect.signature(definition.cls).parameters
    return [
        Parameter(name, annotation, constructor[name].default, f"field `{name}` of {definition.name}")
        for name, annotation in definition.fields.items()
    ]


def _rebuilt_task(
    registry: Registry, name: str, definition: Registered, values: Mapping[str, msgspec.Raw]
) -> Part[Any]:
    loaded = _loaded(values, _task_inputs(registry, name, definition), name)
    if isinstance(definition, TaskDefinition):
        return Atom(definition, bind_arguments(definition.signature, (), loaded, name, NOWHERE), NOWHERE)
    fields = definition.fields
    task: Task[Any] = definition.cls(**{n: v for n, v in loaded.items() if n in fields})
    return task.bind(**{n: v for n, v in loaded.items() if n not in fields})


def _object(inputs: bytes, name: str) -> Mapping[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(inputs, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{name}: the inputs are not a JSON object: {error}", field="", expected="a JSON object",
            given=inputs[:40].decode(errors="replace"), hint='e.g. {"name": "value"}',
        ) from error  # fmt: skip


def _loaded(values: Mapping[str, msgspec.Raw], parameters: Mapping[str, Parameter], name: str) -> dict[str, Any]:
    for field in values:
        if field not in parameters:
            raise InputError(
                f"{name}: there is no input `{field}`", field=field, expected="no such input",
                given=bytes(values[field])[:40].decode(errors="replace"),
                hint=did_you_mean(field, parameters) or f"its inputs: {', '.join(parameters) or 'none'}",
            )  # fmt: skip
    loaded: dict[str, Any] = {}
    for field, parameter in parameters.items():
        if field in values:
            loaded[field] = _one(parameter, bytes(values[field]), name)
        elif parameter.required:
            raise missing_input(field, parameter.annotation, name, None)
    return loaded


def _one(parameter: Parameter, content: bytes, name: str) -> Any:
    try:
        return parameter.typed.load(content)
    except ValidationError as error:
        raise input_error(parameter.name, parameter.typed, error, name, None) from error
