"""Tasks as people write them: functions, async functions, and classes with fields.

The rule of the whole interface: a decorator registers, it never changes what a call means. Calling a task runs its
body; placing it is naming it in a flow, bare or through `bind`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, cast, get_type_hints, overload

from typing_extensions import dataclass_transform

from flowledger.events.errors import DefinitionError, InputError, UnknownArgument

from .backoff import NO_BACKOFF, Backoff, Seconds
from .bound import Bound, bind_arguments, given
from .context import refuse_inside_body
from .definition import Around, FactoryDefinition, TaskDefinition, check_arguments
from .names import Provides, labelled, provides_names
from .options import TaskOptions, call_options
from .parts import Atom, Flow, Late, Part, json_object
from .plan import Given
from .signature import Parameter, unresolved
from .source import Place, caller, defined_at, shown
from .symbols import Symbol
from .typed import typed

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
V = TypeVar("V")


class Each(Generic[P, R]):
    """What can be placed once for each item of a list: tasks and flow factories."""

    __slots__ = ()

    def each(
        self: Each[Concatenate[A, Q], R], items: Iterable[A] | Symbol[Iterable[A]], /, **same: Any
    ) -> Flow[list[R]]:
        """One part per item, side by side; the item is the first argument, ``same`` goes to all of them.

        The result is the list of their results in the order of the items. A list that is known only at run time is a
        symbol: the parts are made when it is there (E7).

        Raises:
            InputError, UnknownArgument: as for `bind`.
        """
        place = caller()
        what = f"{self._title()}.each(…)"
        refuse_inside_body(what)
        if isinstance(items, Symbol):
            return Flow("each", (), place, late=self._late(items, same, what, place))
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"{what} at {shown(place)}: {items!r} is not a list of items",
                field="items",
                expected="a list",
                given=type(items).__name__,
                hint="e.g. a list or a range",
            )
        return Flow("each", self._many(items, same, what, place), place)

    def _title(self) -> str:
        raise NotImplementedError

    def _many(self, items: Iterable[Any], same: Mapping[str, Any], what: str, place: Place) -> tuple[Part[Any], ...]:
        raise NotImplementedError

    def _late(self, items: Symbol[Any], same: Mapping[str, Any], what: str, place: Place) -> Late:
        raise NotImplementedError


class BoundTask(Part[R], Each[P, R], Generic[P, R]):
    """What function tasks have in common. Placed bare, all its arguments are found by name."""

    __slots__ = ("__dict__", "_bare", "definition", "given_name", "given_provides")

    def __init__(self, definition: TaskDefinition) -> None:
        self.definition = definition
        self.given_name: str | None = None
        self.given_provides: Provides | None = None
        self._bare: Atom[R] | None = None
        functools.update_wrapper(cast("Any", self), definition.body)

    @property
    def name(self) -> str:
        """The task's own name, without the prefix of an app that includes it."""
        return self.definition.name

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @overload
    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Atom[R]: ...
    @overload
    def bind(self: BoundTask[Concatenate[A, Q], R], a: Symbol[A], /, **rest: Any) -> Atom[R]: ...
    @overload
    def bind(self: BoundTask[Concatenate[A, Q], R], a: A, /, **rest: Any) -> Atom[R]: ...
    @overload
    def bind(self: BoundTask[Concatenate[A, B, Q], R], a: Symbol[A], b: Symbol[B], /, **rest: Any) -> Atom[R]: ...
    @overload
    def bind(self: BoundTask[Concatenate[A, B, Q], R], a: Symbol[A], b: B, /, **rest: Any) -> Atom[R]: ...
    @overload
    def bind(self: BoundTask[Concatenate[A, B, Q], R], a: A, b: Symbol[B], /, **rest: Any) -> Atom[R]: ...
    @overload
    def bind(self: BoundTask[Concatenate[A, B, Q], R], a: A, b: B, /, **rest: Any) -> Atom[R]: ...
    @overload
    def bind(self, **by_name: Any) -> Atom[R]: ...
    def bind(self: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Place the task with some arguments given: values (validated here) or symbols; the rest comes by name.

        Raises:
            InputError: a value does not fit its annotation.
            UnknownArgument: the task has no such argument.
            PlacedInsideTask: called inside a running body.
        """
        return _bound(self.definition, args, kwargs, caller())

    @overload
    def revert(self, body: Callable[Q, V], /) -> Callable[Q, V]: ...
    @overload
    def revert(
        self, /, *, attempts: int = ..., backoff: Backoff | Seconds = ..., timeout: Seconds | None = ...
    ) -> Callable[[Callable[Q, V]], Callable[Q, V]]: ...
    def revert(
        self,
        body: Any = None,
        /,
        *,
        attempts: int = 1,
        backoff: Backoff | Seconds = NO_BACKOFF,
        timeout: Seconds | None = None,
    ) -> Any:
        """Decorator, bare or with options: this function undoes the task. It is given back unchanged.

        It may ask for what execute asked for, for `result`, `failure`, `failures`, and for the task's own symbols.
        """
        options = call_options(f"revert of {self.name}", attempts=attempts, backoff=backoff, timeout=timeout)

        def register(way_back: Callable[..., Any]) -> Callable[..., Any]:
            self.definition.set_revert(way_back, options, defined_at(way_back))
            return way_back

        return register if body is None else register(body)

    def atom(self) -> Atom[R]:
        if self._bare is None:
            self._bare = Atom(self.definition, {}, self.definition.place)
            self._bare.given_name = self.given_name
            self._bare.given_provides = self.given_provides
        return self._bare

    def _copy(self, attribute: str, value: object) -> Any:
        copied: Any = type(self)(self.definition)
        copied.given_name, copied.given_provides = self.given_name, self.given_provides
        setattr(copied, attribute, value)
        return copied

    def _title(self) -> str:
        return self.name

    def _many(self, items: Iterable[Any], same: Mapping[str, Any], what: str, place: Place) -> tuple[Part[Any], ...]:
        definition = self.definition
        shared = bind_arguments(definition.signature, (), same, what, place)
        first = first_argument(definition, shared, what, place)
        atoms: list[Atom[Any]] = []
        for item in items:
            bound: dict[str, Bound] = {first.name: item, **shared}
            if not isinstance(item, Symbol):
                bound[first.name] = given(first.name, first.typed, item, what, place)
            atoms.append(Atom(definition, bound, place, label_of(definition, bound)))
        return tuple(atoms)

    def _late(self, items: Symbol[Any], same: Mapping[str, Any], what: str, place: Place) -> Late:
        shared = bind_arguments(self.definition.signature, (), same, what, place)
        first = first_argument(self.definition, shared, what, place)
        return Late(self.definition, {first.name: items, **shared}, first.name)


class FunctionTask(BoundTask[P, R], Generic[P, R]):
    """A function that was registered as a task."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body: plain Python."""
        result: R = self.definition.body(*args, **kwargs)
        return result


class AsyncFunctionTask(BoundTask[P, R], Generic[P, R]):
    """An async function that was registered as a task."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Make the body's coroutine: plain Python."""
        coroutine: Coroutine[Any, Any, R] = self.definition.body(*args, **kwargs)
        return coroutine


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
class Task(Part[R]):
    """Base class for tasks as classes: fields are configuration (typed, kept in the plan), arguments come to execute.

    A subclass is a frozen dataclass with keyword-only fields. ``revert`` counts only if it is overridden.
    """

    provides: ClassVar[Provides | None] = None

    given_name = None
    given_provides = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)

    def __post_init__(self) -> None:
        _configure(self, caller(1))

    def execute(self, *args: Any, **kwargs: Any) -> R | Awaitable[R]:
        """Do it. Sync or async; the arguments are the subclass's own."""
        raise NotImplementedError

    def revert(self, *args: Any, **kwargs: Any) -> object:
        """Undo it. Must be idempotent (rule D5)."""
        raise NotImplementedError

    def bind(self, **by_name: Any) -> Atom[R]:
        """Place the task with some arguments of execute given: values (validated here) or symbols."""
        return _bound(_definition_of(self), (), by_name, caller())

    def atom(self) -> Atom[R]:
        definition = _definition_of(self)
        atom = Atom[R](definition, {}, definition.place)
        atom.given_name, atom.given_provides = self.given_name, self.given_provides
        return atom


class TaskClass:
    """What the registry knows of a task class; each configuration of it is a definition of its own."""

    def __init__(
        self, name: str, cls: type[Task[Any]], options: TaskOptions, place: Place, around: Around | None
    ) -> None:
        self.name = name
        self.cls = cls
        self.place = place
        self.options = dataclasses.replace(
            options, provides=options.provides or provides_names(cls.provides, f"{name} ({shown(place)}): provides")
        )
        self.around = around
        self._configured: dict[bytes, TaskDefinition] = {}
        if cast("Any", cls).execute is cast("Any", Task).execute:
            raise DefinitionError(f"{name} ({shown(place)}) has no execute", hint="write `def execute(self, …)`")
        check_arguments(functools.partial(cast("Any", cls).execute, None), f"{name}.execute ({shown(place)})")

    @functools.cached_property
    def fields(self) -> Mapping[str, Any]:
        """Configuration field → annotation."""
        try:
            hints = get_type_hints(self.cls, localns=dict(self.around) if self.around else None, include_extras=True)
        except NameError as error:
            raise unresolved(self.cls, error, f"{self.name} ({shown(self.place)})") from error
        return {f.name: hints[f.name] for f in dataclasses.fields(cast("Any", self.cls)) if f.init}

    def configured(self, task: Task[Any], config: bytes) -> TaskDefinition:
        """The definition for this configuration; made once for equal ones."""
        found = self._configured.get(config)
        if found is None:
            found = TaskDefinition(
                self.name, task.execute, self.options, self.place, config=config, owner=self, around=self.around
            )
            if cast("Any", self.cls).revert is not cast("Any", Task).revert:
                found.set_revert(task.revert, call_options(self.name), self.place)
            self._configured[config] = found
        return found


def task_class(task: Task[Any] | type[Task[Any]]) -> TaskClass:
    """What a task class was registered as.

    Raises:
        DefinitionError: it was not.
    """
    cls = task if isinstance(task, type) else type(task)
    found: TaskClass | None = vars(cls).get("__flowledger__")
    if found is None:
        raise DefinitionError(
            f"{cls.__name__} ({shown(defined_at(cls))}) is not registered", hint="put @app.task on the class"
        )
    return found


def _configure(task: Task[Any], place: Place) -> bytes:
    """Validate the fields (a wrong one ends the traceback here) and keep them as JSON."""
    cls = type(task)
    if not dataclasses.fields(cast("Any", cls)):
        config = b""
    else:
        members: dict[str, bytes] = {}
        for name, annotation in task_class(cls).fields.items():
            type_ = typed(annotation, where=f"field `{name}` of {cls.__name__}")
            value = given(name, type_, getattr(task, name), f"{cls.__name__}(…)", place)
            object.__setattr__(task, name, type_.load(value.content))
            members[name] = value.content
        config = json_object(members)
    object.__setattr__(task, "_config", config)
    return config


def _definition_of(task: Task[Any]) -> TaskDefinition:
    config: bytes | None = getattr(task, "_config", None)
    if config is None:  # a __post_init__ of its own
        config = _configure(task, defined_at(type(task)))
    return task_class(task).configured(task, config)


def _bound(definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: Place) -> Atom[Any]:
    what = f"{definition.name}.bind(…)"
    refuse_inside_body(what, place)
    bound = bind_arguments(definition.signature, args, kwargs, what, place) if args or kwargs else {}
    return Atom(definition, bound, place, label_of(definition, bound))


def first_argument(
    definition: TaskDefinition | FactoryDefinition, same: Mapping[str, object], what: str, place: Place
) -> Parameter:
    """The argument that the items of an `each` go to.

    Raises:
        UnknownArgument: there is none, or it is among ``same``.
    """
    parameters = definition.signature.parameters
    if not parameters or parameters[0].name in same:
        raise UnknownArgument(
            f"{what} at {shown(place)}: {definition.name} has no first argument left for the items",
            hint="the items go to the first argument; the same values go to others, by name",
        )
    return parameters[0]


def label_of(definition: TaskDefinition | FactoryDefinition, bound: Mapping[str, Bound]) -> str | None:
    """The label, where all it needs is bound by hand; else the name of the task or factory serves."""
    label = definition.label
    if label is None:
        return None
    values = {name: v.typed.load(v.content) for name, v in bound.items() if isinstance(v, Given)}
    missing = [n for n in definition.signature.by_name if n not in values and f"{{{n}" in label]
    return None if missing else labelled(label, values, definition.where)
