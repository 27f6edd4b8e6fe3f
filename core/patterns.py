"""The patterns: how parts stand to each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, TypeVar, get_args, overload

from flowledger.events.errors import CyclicFlow, DefinitionError
from flowledger.events.facts import Depth

from .backoff import Backoff
from .context import refuse_inside_body
from .factory import FlowFactory
from .names import did_you_mean, part_name, symbol_name
from .parts import Flow, FlowPattern, Link, Part
from .retry import Retry
from .signature import check_shape
from .source import Place, caller, shown
from .symbols import Symbol
from .task import Task
from .typed import is_class

T = TypeVar("T")
A = TypeVar("A")
K = TypeVar("K")

DEPTHS: tuple[Depth, ...] = get_args(Depth)


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


@overload  # for lambdas, whose argument checkers infer only where there is one
def link(
    before: Part[A], after: Part[Any], *, when: Callable[[A], bool] | None = None, depth: Depth = ...
) -> Link: ...  # fmt: skip
@overload
def link(
    before: Part[A], after: Part[Any], *, when: Callable[Concatenate[A, ...], bool], depth: Depth = ...
) -> Link: ...  # fmt: skip
def link(before: Part[Any], after: Part[Any], *, when: Callable[..., bool] | None = None, depth: Depth = "all") -> Link:
    """Inside a `graph`: ``after`` waits for ``before``, though no value flows between them.

    With ``when`` it also runs only if that says yes to the result of ``before`` (further arguments bind by name).
    A *no* skips, by ``depth``: "atom" the part itself; "neighbors" also what directly follows it; "flow" all that
    follows it in this graph; "all" what follows in the flows around, too (rule E6).
    """
    place = caller()
    refuse_inside_body("link(…)")
    if when is not None and not callable(when):
        raise DefinitionError(f"link(…) at {shown(place)}: when={when!r} cannot be called", hint="hand it a function")
    if depth not in DEPTHS:
        raise DefinitionError(
            f"link(…) at {shown(place)}: depth={depth!r} is none of {', '.join(DEPTHS)}",
            hint=did_you_mean(depth, DEPTHS),
        )
    if when is not None:
        _check_predicate(when, f"link(…) at {shown(place)}: when=")
    _check_parts((before, after), "link", place)
    if before is after:
        raise CyclicFlow(f"link(…) at {shown(place)}: a part cannot wait for itself", hint="name two parts")
    return Link(before, after, place, when, depth)


def switch(
    on: Part[K], cases: Mapping[K, Part[T]], *, default: Part[T] | None = None, name: str | None = None
) -> Flow[T]:
    """The one part whose key ``on`` is equal to, or ``default``; its result is the switch's. The others are skipped.

    ``on`` stands earlier in the flow. Where no key fits and there is no default, all are skipped, and the
    result is None.
    """
    place = caller()
    refuse_inside_body("switch(…)")
    parts = (*cases.values(), *(() if default is None else (default,)))
    _check_parts(parts, "switch", place)
    _check_value(on, place)
    if name is not None:
        part_name(name, f"switch(…) at {shown(place)}")
    return Flow("switch", parts, place, name=name, on=on, keys=tuple(cases))


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


def _check_value(on: Any, place: Place) -> None:
    if not isinstance(on, Symbol):
        raise DefinitionError(f"switch(…) at {shown(place)}: {on!r} is not a value of the run", hint="hand it a part")


def _check_parts(parts: Sequence[Any], pattern: str, place: Place) -> None:
    for part in parts:
        check_part(part, f"{pattern}(…) at {shown(place)}")


def check_part(part: Any, where: str) -> None:
    """See that it is a part; ``where`` names the place for the error.

    Raises:
        DefinitionError: it is not, and what to write instead.
    """
    if not isinstance(part, Part):
        raise DefinitionError(f"{where}: {_said(part)} is not a part", hint=_hint(part))


def _check_retry(retry: Any, where: str) -> None:
    if not isinstance(retry, Retry):
        hint = f"write `{retry.__name__}(…)`" if isinstance(retry, type) else "e.g. retry=Times(3)"
        raise DefinitionError(f"{where}: retry={retry!r} is not a retry", hint=hint)
    if not isinstance(retry.backoff, Backoff):  # pyright: ignore[reportUnnecessaryIsInstance] - a class of the user's
        raise DefinitionError(
            f"{where}: backoff={retry.backoff!r} of the retry is no back-off", hint="e.g. backoff = constant(3)"
        )
    if retry.provides is not None:
        symbol_name(retry.provides, f"{where}: provides of the retry")


def _check_predicate(when: Callable[..., Any], where: str) -> None:
    if inspect.iscoroutinefunction(when) or inspect.iscoroutinefunction(type(when).__call__):
        raise DefinitionError(
            f"{where} {when!r} is async, and a predicate answers at once",
            hint="look in a task before it, whose result the predicate gets",
        )
    check_shape(when, where, variable_keywords=False)


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
