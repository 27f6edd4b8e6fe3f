"""Flow factories: calling one builds the flow, which remembers how to be built again."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from flowledger.events.errors import DefinitionError, InputError

from .bound import Bound, bind_arguments, given, type_name
from .children import ChildDefinition
from .context import refuse_inside_body
from .definition import FactoryDefinition
from .names import labelled
from .parts import Atom, FactoryCall, Flow, Late, Part
from .plan import Given
from .source import Place, at, caller
from .symbols import Symbol
from .task import Each, first_argument, label_of

P = ParamSpec("P")
Q = ParamSpec("Q")
A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


class FlowFactory(Each[P, R], Generic[P, R]):
    """A function that was registered as a flow."""

    def __init__(self, definition: FactoryDefinition) -> None:
        self.definition = definition
        self._child: ChildDefinition | None = None
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

    @overload
    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Flow[R]: ...
    @overload
    def bind(self: FlowFactory[Concatenate[A, Q], R], a: Symbol[A], /, **rest: Any) -> Flow[R]: ...
    @overload
    def bind(self: FlowFactory[Concatenate[A, Q], R], a: A, /, **rest: Any) -> Flow[R]: ...
    @overload
    def bind(self: FlowFactory[Concatenate[A, B, Q], R], a: Symbol[A], b: Symbol[B], /, **rest: Any) -> Flow[R]: ...
    @overload
    def bind(self: FlowFactory[Concatenate[A, B, Q], R], a: Symbol[A], b: B, /, **rest: Any) -> Flow[R]: ...
    @overload
    def bind(self: FlowFactory[Concatenate[A, B, Q], R], a: A, b: Symbol[B], /, **rest: Any) -> Flow[R]: ...
    @overload
    def bind(self: FlowFactory[Concatenate[A, B, Q], R], a: A, b: B, /, **rest: Any) -> Flow[R]: ...
    @overload
    def bind(self, **by_name: Any) -> Flow[R]: ...
    def bind(self: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """The flow with inputs that are known only at run time: the factory is called when they are (E7).

        A value may be a symbol: another part, ``symbol("name")``, a retry. With none of these it is built at once.
        The factory may bind itself: that is a loop, one pass in the other.

        Raises:
            InputError, UnknownArgument: as for the call.
        """
        what, place = f"{self.name}.bind(…)", caller()
        refuse_inside_body(what)
        return _placed(self.definition, args, kwargs, what, place)

    @overload
    def child(self, *args: P.args, **kwargs: P.kwargs) -> Atom[R]: ...
    @overload
    def child(self: FlowFactory[Concatenate[A, Q], R], a: Symbol[A], /, **rest: Any) -> Atom[R]: ...
    @overload
    def child(self: FlowFactory[Concatenate[A, Q], R], a: A, /, **rest: Any) -> Atom[R]: ...
    @overload
    def child(self: FlowFactory[Concatenate[A, B, Q], R], a: Symbol[A], b: Symbol[B], /, **rest: Any) -> Atom[R]: ...
    @overload
    def child(self: FlowFactory[Concatenate[A, B, Q], R], a: Symbol[A], b: B, /, **rest: Any) -> Atom[R]: ...
    @overload
    def child(self: FlowFactory[Concatenate[A, B, Q], R], a: A, b: Symbol[B], /, **rest: Any) -> Atom[R]: ...
    @overload
    def child(self: FlowFactory[Concatenate[A, B, Q], R], a: A, b: B, /, **rest: Any) -> Atom[R]: ...
    @overload
    def child(self, **by_name: Any) -> Atom[R]: ...
    def child(self: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """A part that is a run of its own (G7): begun when its turn comes, waited for without holding a thread.

        It has its own log, id and place in `ls`; other processes may drive it. Unless it SUCCEEDED the part fails.
        Undoing the part cancels the run, or has it reverted.

        Raises:
            InputError, UnknownArgument: as for `bind`.
        """
        what, place = f"{self.name}.child(…)", caller()
        refuse_inside_body(what)
        if self._child is None:
            self._child = ChildDefinition(self.definition)
        return Atom(self._child, bind_arguments(self._child.signature, args, kwargs, what, place), place)

    def _title(self) -> str:
        return self.name

    def _many(self, items: Iterable[Any], same: Mapping[str, Any], what: str, place: Place) -> tuple[Part[Any], ...]:
        return tuple(_placed(self.definition, (item,), same, f"{self.name}(…)", place) for item in items)

    def _late(self, items: Symbol[Any], same: Mapping[str, Any], what: str, place: Place) -> Late:
        first = first_argument(self.definition, same, what, place)
        bound = _inputs(self.definition, (), {first.name: items, **same}, what, place)
        return Late(self.definition, bound, first.name)


def _placed(
    definition: FactoryDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any], what: str, place: Place
) -> Flow[Any]:
    """The flow, or where an input is known only at run time, what will become it."""
    if not any(isinstance(value, Symbol) for value in (*args, *kwargs.values())):
        return build(definition, args, kwargs, place)
    bound = _inputs(definition, args, kwargs, what, place)
    return Flow("late", (), place, late=Late(definition, bound, label=label_of(definition, bound)))


def build(definition: FactoryDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: Place) -> Flow[Any]:
    """Call the factory with validated inputs; ``place`` is the user's call.

    The factory sees the inputs as they will be read back from the log, so that it builds the same flow on resume.
    """
    what = f"{definition.name}(…)"
    inputs = _known(_inputs(definition, args, kwargs, what, place), definition, what, place)
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
) -> dict[str, Bound]:
    """All inputs in order, defaults included: a default that changes later must not change the run."""
    signature = definition.signature
    bound = bind_arguments(signature, args, kwargs, what, place)
    inputs: dict[str, Bound] = {}
    for p in signature.parameters:
        value = bound.get(p.name)
        if value is None:
            if p.required:
                raise missing_input(p.name, p.annotation, what, place)
            value = given(p.name, p.typed, p.default, what, place)
        inputs[p.name] = value
    return inputs


def _known(inputs: Mapping[str, Bound], definition: FactoryDefinition, what: str, place: Place) -> dict[str, Given]:
    known: dict[str, Given] = {}
    for name, value in inputs.items():
        if not isinstance(value, Given):
            raise InputError(
                f"{what}{at(place)}: `{name}` is a value known only at run time",
                field=name, expected="a value", given=type(value).__name__,
                hint=f"bind it, and the flow is built when it is known: {definition.name}.bind(…)",
            )  # fmt: skip
        known[name] = value
    return known


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
