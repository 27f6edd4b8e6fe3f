"""The patterns: how parts stand to each other."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Never, TypeVar, overload

from flowledger.events.errors import CyclicFlow, DefinitionError, NotSupported

from .context import refuse_inside_body
from .factory import FlowFactory
from .names import part_name, symbol_name
from .parts import Flow, FlowPattern, Link, Part
from .retry import Retry
from .source import Place, caller, shown
from .symbols import Symbol
from .task import Task
from .typed import is_class

T = TypeVar("T")


@overload
def linear(*parts: Part[Any], returns: Part[T], name: str = ..., retry: Retry[Any] | None = ...) -> Flow[T]: ...
@overload
def linear(*parts: Part[Any], name: str = ..., retry: Retry[Any] | None = ...) -> Flow[None]: ...
def linear(*parts: Any, **options: Any) -> Any:
    """One after the other. Each part finds values by name among those before it, the nearest first."""
    return _flow("linear", parts, caller(), **options)


def unordered(*parts: Part[T], name: str | None = None, retry: Retry[Any] | None = None) -> Flow[list[T]]:
    """Side by side, none knowing of the others. The result is the list of their results in declaration order."""
    return _flow("unordered", parts, caller(), name=name, retry=retry)


@overload
def graph(*parts: Part[Any] | Link, returns: Part[T], name: str = ..., retry: Retry[Any] | None = ...) -> Flow[T]: ...
@overload
def graph(*parts: Part[Any] | Link, name: str = ..., retry: Retry[Any] | None = ...) -> Flow[None]: ...
def graph(*parts: Any, **options: Any) -> Any:
    """In the order their values demand, and their links; as parallel as that leaves it."""
    links = tuple(p for p in parts if isinstance(p, Link))
    rest = tuple(p for p in parts if not isinstance(p, Link)) if links else parts
    return _flow("graph", rest, caller(), links=links, **options)


def link(before: Part[Any], after: Part[Any], **options: Never) -> Link:
    """Inside a `graph`: ``after`` waits for ``before``, though no value flows between them."""
    place = caller()
    refuse_inside_body("link(…)")
    if options:
        raise NotSupported(
            f"link(…) at {shown(place)}: {', '.join(options)} is not part of this version",
            hint="decide inside the body of the second task",
        )
    _check_parts((before, after), "link", place)
    if before is after:
        raise CyclicFlow(f"link(…) at {shown(place)}: a part cannot wait for itself", hint="name two parts")
    return Link(before, after, place)


def _flow(
    pattern: FlowPattern,
    parts: tuple[Any, ...],
    place: Place,
    *,
    name: str | None = None,
    returns: Any = None,
    retry: Any = None,
    links: tuple[Link, ...] = (),
) -> Flow[Any]:
    where = f"{pattern}(…) at {shown(place)}"
    refuse_inside_body(where)
    _check_parts(parts, pattern, place)
    if returns is not None:
        _check_parts((returns,), pattern, place)
    if retry is not None:
        _check_retry(retry, where)
    if name is not None:
        part_name(name, where)
    return Flow(pattern, parts, place, name=name, result=returns, retry=retry, links=links)


def _check_parts(parts: Sequence[Any], pattern: str, place: Place) -> None:
    for part in parts:
        if not isinstance(part, Part):
            raise DefinitionError(f"{pattern}(…) at {shown(place)}: {_said(part)} is not a part", hint=_hint(part))


def _check_retry(retry: Any, where: str) -> None:
    if not isinstance(retry, Retry):
        hint = f"write `{retry.__name__}(…)`" if isinstance(retry, type) else "e.g. retry=Times(3)"
        raise DefinitionError(f"{where}: retry={retry!r} is not a retry", hint=hint)
    if retry.provides is not None:
        symbol_name(retry.provides, f"{where}: provides of the retry")


def _said(part: Any) -> str:
    return part.__name__ if is_class(part) else repr(part)


def _hint(part: Any) -> str:
    if is_class(part) and issubclass(part, Task):
        return f"place an instance: {part.__name__}()"
    if isinstance(part, FlowFactory):
        return f"call it with its inputs: {part.name}(…)"
    if isinstance(part, Link):
        return "links belong in graph(…)"
    if isinstance(part, Symbol):
        return "it is a value: bind it to an argument"
    if inspect.iscoroutine(part):
        part.close()  # or Python warns of a coroutine never awaited, which hides this error
    if inspect.isroutine(part):
        return "register it first: @app.task"
    return "calling a task runs it; place it bare or with .bind(…)"
