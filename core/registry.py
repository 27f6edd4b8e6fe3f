"""The pure part of an app: what its decorators registered, by name. Nothing is ever looked up anywhere else."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping
from types import FrameType
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from flowledger.events.errors import DefinitionError, DuplicateName
from flowledger.events.facts import OnFailure

from .backoff import Backoff, Seconds
from .definition import Around, FactoryDefinition, TaskDefinition, check_arguments
from .factory import FlowFactory
from .names import Provides, part_name, symbol_name
from .options import Executor, TaskOptions, task_options
from .parts import Flow
from .resource import Lifetime, Resource
from .source import Place, defined_at, shown
from .task import AsyncFunctionTask, FunctionTask, Task, TaskClass
from .typed import is_class

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")
C = TypeVar("C")

OnInterruptOption = Literal["rerun", "fail", "hold"]
Registered = TaskDefinition | TaskClass


class _Defined(Protocol):
    @property
    def place(self) -> Place: ...


class TaskDecorator(Protocol):
    """What `app.task(…)` gives: it registers a function, an async function or a `Task` class."""

    @overload
    def __call__(self, body: type[C], /) -> type[C]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, body: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncFunctionTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, body: Callable[P, R], /) -> FunctionTask[P, R]: ...


class FlowDecorator(Protocol):
    """What `app.flow(…)` gives: it registers a flow factory."""

    def __call__(self, factory: Callable[P, Flow[R]], /) -> FlowFactory[P, R]: ...


class ResourceDecorator(Protocol):
    """What `app.resource(…)` gives: it registers how a live object is made."""

    @overload
    def __call__(self, make: Callable[..., AsyncIterator[V]], /) -> Resource[V]: ...
    @overload
    def __call__(self, make: Callable[..., Iterator[V]], /) -> Resource[V]: ...
    @overload
    def __call__(self, make: Callable[..., Coroutine[Any, Any, V]], /) -> Resource[V]: ...
    @overload
    def __call__(self, make: Callable[..., V], /) -> Resource[V]: ...


class Registry:
    """Tasks, flows and resources by name; `App` adds what runs them. Names are ``name`` or ``prefix/name``."""

    def __init__(self, name: str) -> None:
        self.name = part_name(name, "App(…)")
        self.tasks: dict[str, Registered] = {}
        self.flows: dict[str, FactoryDefinition] = {}
        self.resources: dict[str, Resource[Any]] = {}
        self._names: dict[object, str] = {}  # definition → its name here

    @property
    def has_workers(self) -> bool:
        """Whether tasks with a queue are made by workers; else they are made where their flow runs."""
        return False

    @property
    def executor_names(self) -> Collection[str]:
        """The names of the executors that the app was given beside those that are always there."""
        return ()

    # -- decorators -----------------------------------------------------------------------------

    @overload
    def task(self, body: type[C], /) -> type[C]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def task(self, body: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncFunctionTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, body: Callable[P, R], /) -> FunctionTask[P, R]: ...
    @overload
    def task(
        self, /, *, provides: Provides | None = ..., name: str = ..., label: str = ..., attempts: int = ...,
        backoff: Backoff | Seconds = ..., retry_on: type[Exception] | tuple[type[Exception], ...] = ...,
        timeout: Seconds | None = ..., deadline: Seconds | None = ..., on_interrupt: OnInterruptOption = ...,
        losses: int = ..., queue: str | None = ..., transactional: bool = ..., priority: int = ...,
        read_only: bool = ..., executor: Executor = ...,
    ) -> TaskDecorator: ...  # fmt: skip
    def task(self, body: Any = None, /, **options: Any) -> Any:
        """Register a function, an async function or a `Task` class as a task. Bare, or with options.

        ``provides`` names the result, or its items; ``attempts`` and ``backoff`` retry the body alone on ``retry_on``;
        ``timeout`` is one attempt, ``deadline`` all of them (and all polls) together; ``on_interrupt`` says what
        happens to an attempt whose process died, ``losses`` how many processes may die of it before it is parked (C6);
        ``read_only`` says there is nothing to undo. ``executor`` says where a sync body runs: "threads" (the default),
        "processes", "workers", "inline", or on one that the app was given.
        """

        def register(given: Any) -> Any:
            around = _around(given)
            where = f"@{self.name}.task {getattr(given, '__name__', given)!s} at {shown(_place(given))}"
            checked = task_options(where, **options)
            return (
                self._task_class(given, checked, around)
                if is_class(given)
                else (self._function_task(given, checked, where, around))
            )

        return register if body is None else register(body)

    @overload
    def flow(self, factory: Callable[P, Flow[R]], /) -> FlowFactory[P, R]: ...
    @overload
    def flow(self, /, *, name: str = ..., label: str = ..., on_failure: OnFailure = ...) -> FlowDecorator: ...
    def flow(
        self, factory: Any = None, /, *, name: str | None = None, label: str | None = None,
        on_failure: OnFailure = "revert",
    ) -> Any:  # fmt: skip
        """Register a flow factory: a pure function of its inputs that returns a flow. Bare, or with options.

        ``label`` names the flow among its siblings, from its inputs: ``"{node.name}"``. ``on_failure="stop"`` keeps
        everything as it is when a run of this flow fails; ``"revert"`` undoes it (rule D3).
        """

        def register(given: Any) -> Any:
            place = _place(given)
            where = f"@{self.name}.flow {getattr(given, '__name__', given)!s} at {shown(place)}"
            _check_function(given, where)
            if inspect.iscoroutinefunction(given):
                raise DefinitionError(f"{where}: a flow factory is not async", hint="it only describes; write `def`")
            if on_failure not in ("revert", "stop"):
                raise DefinitionError(
                    f"{where}: there is no on_failure={on_failure!r}", hint="use one of 'revert', 'stop'"
                )
            check_arguments(given, where, variable_keywords=False)
            definition = FactoryDefinition(
                _name(name, given, where), given, place, label=label, on_failure=on_failure, around=_around(given)
            )
            self._add(self.flows, definition.name, definition)
            factory: FlowFactory[..., Any] = FlowFactory(definition)
            return factory

        return register if factory is None else register(factory)

    @overload  # generators close after the yield; `make` may ask for other resources by name
    def resource(self, make: Callable[..., AsyncIterator[V]], /) -> Resource[V]: ...
    @overload
    def resource(self, make: Callable[..., Iterator[V]], /) -> Resource[V]: ...
    @overload
    def resource(self, make: Callable[..., Coroutine[Any, Any, V]], /) -> Resource[V]: ...
    @overload
    def resource(self, make: Callable[..., V], /) -> Resource[V]: ...
    @overload
    def resource(self, /, *, scope: Lifetime = ...) -> ResourceDecorator: ...
    def resource(self, make: Any = None, /, *, scope: Lifetime = "process") -> Any:
        """Register how a live object is made; tasks get it by name. A generator is closed when its scope ends."""

        def register(given: Any) -> Any:
            place = _place(given)
            where = f"@{self.name}.resource {getattr(given, '__name__', given)!s} at {shown(place)}"
            _check_function(given, where)
            if scope not in ("process", "run"):
                raise DefinitionError(f"{where}: there is no scope={scope!r}", hint="use one of 'process', 'run'")
            made: Resource[Any] = Resource(symbol_name(given.__name__, where), given, scope, place, _around(given))
            self._add(self.resources, made.name, made)
            return made

        return register if make is None else register(make)

    def include(self, other: Registry, *, prefix: str | None = None) -> None:
        """Take over what another app has registered so far, as ``prefix/name``. Its tasks find its resources first.

        Raises:
            DuplicateName: a name is taken.
        """
        if prefix is not None:
            part_name(prefix, f"{self.name}.include(…)")
        for mine, theirs in ((self.tasks, other.tasks), (self.flows, other.flows), (self.resources, other.resources)):
            for name, definition in theirs.items():
                self._add(mine, f"{prefix}/{name}" if prefix else name, definition)

    # -- looking up -----------------------------------------------------------------------------

    def name_of(self, definition: object) -> str | None:
        """The name of the definition of a task or flow, or of a resource, in this app; None if it is not in it."""
        return self._names.get(definition)

    def find_resource(self, name: str, asking: str | None) -> str | None:
        """The resource an argument ``name`` gets, where ``asking`` is the name of who asks: its own app's first."""
        prefix = asking.rpartition("/")[0] if asking else ""
        while prefix:
            if f"{prefix}/{name}" in self.resources:
                return f"{prefix}/{name}"
            prefix = prefix.rpartition("/")[0]
        return name if name in self.resources else None

    def resource_needs(self, name: str) -> Mapping[str, str]:
        """What the resource called ``name`` asks for: argument → name of another resource of this app."""
        found = ((n, self.find_resource(n, name)) for n in self.resources[name].needs)
        return {argument: other for argument, other in found if other is not None}

    # -- registering ----------------------------------------------------------------------------

    def _function_task(self, body: Any, options: TaskOptions, where: str, around: Around | None) -> Any:
        _check_function(body, where)
        if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
            raise DefinitionError(f"{where}: a task is not a generator", hint="return a list, or use `each`")
        check_arguments(body, where)
        definition = TaskDefinition(_name(options.name, body, where), body, options, _place(body), around=around)
        self._add(self.tasks, definition.name, definition)
        kind: Any = AsyncFunctionTask if inspect.iscoroutinefunction(body) else FunctionTask
        return kind(definition)

    def _task_class(self, cls: type[Any], options: TaskOptions, around: Around | None) -> type[Any]:
        if not issubclass(cls, cast("Any", Task)):
            raise DefinitionError(f"@{self.name}.task: {cls.__name__} is not a Task", hint="class X(Task[…])")
        name = part_name(options.name or cls.__name__, f"@{self.name}.task")
        found = TaskClass(name, cls, options, defined_at(cls), around)
        self._add(self.tasks, name, found)
        setattr(cls, "__flowledger__", found)  # noqa: B010 - not a name people should see
        return cls

    def _add(self, where: dict[str, Any], name: str, definition: _Defined) -> None:
        present: _Defined | None = where.get(name)
        if present is not None and present is not definition and not _same_cell(present.place, definition.place):
            raise DuplicateName(
                f"{self.name} has `{name}` already: {shown(present.place)} and {shown(definition.place)}",
                hint="give one of them another name=, or include the other app with a prefix=",
            )
        where[name] = definition
        self._names.setdefault(definition, name)


def _place(body: Any) -> Place:
    try:
        return defined_at(body)
    except TypeError:  # no function at all; said so later
        return ("?", 0)


def _check_function(body: Any, where: str) -> None:
    if not inspect.isfunction(body):
        raise DefinitionError(f"{where}: {body!r} is not a function", hint="decorate a plain function")
    owner = body.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        raise DefinitionError(f"{where}: {body.__qualname__} is a method", hint="use a function, or a Task class")


def _name(name: str | None, body: Any, where: str) -> str:
    if name is None and body.__name__ == "<lambda>":
        raise DefinitionError(f"{where}: a lambda has no name", hint="use `def`, or give it a name=")
    return part_name(body.__name__ if name is None else name, where)


def _around(body: Any) -> Around | None:
    """The names around a definition inside a function: annotations may mean them and nothing else keeps them."""
    if "<locals>" not in getattr(body, "__qualname__", ""):
        return None
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_globals.get("__name__") != body.__module__:
        frame = frame.f_back
    return None if frame is None else dict(frame.f_locals)


def _same_cell(old: Place, new: Place) -> bool:
    """Whether this may be a definition made again: at a prompt or in a notebook cell, which have no real file."""
    return all(file.startswith("<") or "ipykernel" in file for file, _ in (old, new))
