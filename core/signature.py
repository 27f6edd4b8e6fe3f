"""What a callable asks for and returns, with its annotations resolved.

Annotations are resolved when they are first needed (binding or compiling), not at decoration: a class defined further
down the module is fine by then.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from flowledger.events.errors import DefinitionError, UnresolvedAnnotation

from .context import TaskContext
from .source import Place, shown
from .typed import Typed, typed

EMPTY: Any = inspect.Parameter.empty


class Parameter:
    """One argument: ``annotation`` is `Any` where there is none, ``default`` is `EMPTY` where there is none."""

    def __init__(self, name: str, annotation: Any, default: Any, where: str) -> None:
        self.name = name
        self.annotated = annotation is not EMPTY
        self.annotation = annotation if self.annotated else Any
        self.default = default
        self.required = default is EMPTY
        self.where = where
        self.is_context = _is_context(annotation)
        self.is_connection = _is_connection(annotation)

    @functools.cached_property
    def typed(self) -> Typed:
        """How its values are read and written. Only for arguments that hold values: resources have no JSON.

        Raises:
            UnserialisableType: pydantic cannot do that.
        """
        return typed(self.annotation, where=self.where)


class Signature:
    """The arguments of a callable in order, what it returns, and whether it takes ``**kwargs``."""

    def __init__(self, parameters: tuple[Parameter, ...], returns: Any, takes_any: bool) -> None:
        self.parameters = parameters
        self.by_name: Mapping[str, Parameter] = {p.name: p for p in parameters}
        self.returns = returns
        self.takes_any = takes_any


def _is_context(annotation: Any) -> bool:
    """`TaskContext`, or `TaskContext | None`."""
    return annotation is TaskContext or (
        get_origin(annotation) in {Union, UnionType} and set(get_args(annotation)) == {TaskContext, NoneType}
    )


def _is_connection(annotation: Any) -> bool:
    """`sqlalchemy.Connection`, known by where it is defined: whoever annotates with it has imported it, we need not."""
    return (
        isinstance(annotation, type)
        and annotation.__name__ == "Connection"
        and annotation.__module__ == "sqlalchemy.engine.base"
    )


def check_shape(body: Callable[..., Any], what: str, *, variable_keywords: bool) -> list[inspect.Parameter]:
    """The parameters of ``body``, if all of them can be filled by name; ``what`` names it for the error.

    Raises:
        DefinitionError: positional-only, ``*args``, or (unless allowed) ``**kwargs``; or nobody can say what it takes.
    """
    parameters = list(_shape(body, what).parameters.values())
    for p in parameters:
        unnamed = p.kind in {p.POSITIONAL_ONLY, p.VAR_POSITIONAL}
        if unnamed or (p.kind is p.VAR_KEYWORD and not variable_keywords):
            star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
            raise DefinitionError(
                f"{what}: argument `{star}{p.name}` cannot be filled by name",
                hint="use ordinary arguments: values are found by their names",
            )
    return parameters


def _shape(body: Callable[..., Any], what: str) -> inspect.Signature:
    try:
        return inspect.signature(body)
    except ValueError as error:  # some built-in ones, such as bool
        raise DefinitionError(
            f"{what}: Python does not say which arguments {body!r} takes",
            hint="write a function of your own that calls it",
        ) from error


def signature(body: Callable[..., Any], name: str, place: Place, locals_: Mapping[str, Any] | None = None) -> Signature:
    """The signature of ``body``. ``locals_``: the names around a definition that is nested in a function.

    Raises:
        UnresolvedAnnotation: an annotation names something that does not exist at run time.
    """
    hints = _hints(body, name, place, locals_)
    raw = inspect.signature(body).parameters.values()
    plain = tuple(
        Parameter(p.name, hints.get(p.name, EMPTY), p.default, f"argument `{p.name}` of {name} ({shown(place)})")
        for p in raw
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    )
    return Signature(plain, hints.get("return", EMPTY), any(p.kind is p.VAR_KEYWORD for p in raw))


def _hints(body: Callable[..., Any], name: str, place: Place, locals_: Mapping[str, Any] | None) -> dict[str, Any]:
    target = inspect.unwrap(getattr(body, "__func__", body))
    try:
        return get_type_hints(target, localns=dict(locals_) if locals_ else None, include_extras=True)
    except NameError as error:
        raise unresolved(target, error, f"{name} ({shown(place)})") from error
    except (SyntaxError, TypeError, AttributeError) as error:
        raise UnresolvedAnnotation(f"an annotation of {name} ({shown(place)}) is no type: {error}") from error


def unresolved(target: object, error: NameError, where: str) -> UnresolvedAnnotation:
    """The error for an annotation that names what does not exist; ``target`` is the function or class it is on."""
    try:
        raw: Mapping[str, Any] = getattr(target, "__annotations__", {})
    except NameError:  # from Python 3.14 on, looking at annotations resolves them
        raw = {}
    culprit = next((a for a, h in raw.items() if isinstance(h, str) and error.name and error.name in h), None)
    what = {None: "an annotation", "return": "the return annotation"}.get(culprit, f"the annotation of `{culprit}`")
    return UnresolvedAnnotation(f"{what} of {where}: {error.name!r} does not exist at run time")
