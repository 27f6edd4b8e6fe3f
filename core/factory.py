"""Flow factories: calling one builds the flow, which remembers how to be built again."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from flowledger.events.errors import DefinitionError, InputError, NotSupported

from .bound import bind_arguments, given, type_name
from .context import refuse_inside_body
from .definition import FactoryDefinition
from .names import labelled
from .parts import FactoryCall, Flow, Part
from .plan import Given
from .source import Place, at, caller, shown
from .symbols import Symbol
from .task import Each

P = ParamSpec("P")
R = TypeVar("R")


class FlowFactory(Each[P, R], Generic[P, R]):
    """A function that was registered as a flow."""

    def __init__(self, definition: FactoryDefinition) -> None:
        self.definition = definition
        functools.update_wrapper(cast("Any", self), definition.body)

    @property
    def name(self) -> str:
        """The flow's own name, without the prefix of an app that includes it."""
        return self.definition.name

    def __repr__(self) -> str:
        return f"<flow {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Flow[R]:
        """Build the flow; it can be placed in another or run.

        Raises:
            InputError: an input is missing or does not fit its annotation.
            UnknownArgument: the factory has no such input.
        """
        refuse_inside_body(f"{self.name}(…)")
        return build(self.definition, args, kwargs, caller())

    if not TYPE_CHECKING:  # said at run time only, so that checkers point at the call

        def bind(self, *_args: Any, **_kwargs: Any) -> Any:
            """Comes with a later version."""
            raise NotSupported(
                f"{self.name}.bind(…) at {shown(caller())}: binding a flow is not part of this version",
                hint=f"call it with its inputs: {self.name}(…)",
            )

    def _title(self) -> str:
        return self.name

    def _many(self, items: Iterable[Any], same: Mapping[str, Any], what: str, place: Place) -> tuple[Part[Any], ...]:
        return tuple(build(self.definition, (item,), same, place) for item in items)


def build(definition: FactoryDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: Place) -> Flow[Any]:
    """Call the factory with validated inputs; ``place`` is the user's call.

    The factory sees the inputs as they will be read back from the log, so that it builds the same flow on resume.
    """
    what = f"{definition.name}(…)"
    inputs = _inputs(definition, args, kwargs, what, place)
    values = {name: g.typed.load(g.content) for name, g in inputs.items()}
    label = None if definition.label is None else labelled(definition.label, values, definition.where)
    flow: Flow[Any] = definition.body(**values)
    if not isinstance(flow, Flow):  # pyright: ignore[reportUnnecessaryIsInstance] - nobody has checked that
        raise DefinitionError(
            f"{definition.where} returned {type_name(type(flow))}, not a flow",
            hint="return linear(…) or another pattern",
        )
    return flow.built_by(FactoryCall(definition, inputs, label, place))


def _inputs(
    definition: FactoryDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any], what: str, place: Place
) -> dict[str, Given]:
    """All inputs in order, defaults included: a default that changes later must not change the run."""
    signature = definition.signature
    bound = bind_arguments(signature, args, kwargs, what, place)
    inputs: dict[str, Given] = {}
    for p in signature.parameters:
        value = bound.get(p.name)
        if value is None:
            if p.required:
                raise missing_input(p.name, p.annotation, what, place)
            value = given(p.name, p.typed, p.default, what, place)
        if isinstance(value, Symbol):
            raise NotSupported(
                f"{what}{at(place)}: `{p.name}` is a value known only at run time",
                hint="a flow is built from values known now; inside it, tasks find run-time values by name or `bind`",
            )
        inputs[p.name] = value
    return inputs


def missing_input(name: str, annotation: Any, what: str, place: Place | None) -> InputError:
    """The error for an input nobody gave."""
    expected = type_name(annotation)
    return InputError(
        f"{what}{at(place)}: `{name}` is missing, expected {expected}",
        field=name,
        expected=expected,
        given="nothing",
        hint=f"give `{name}`",
    )
