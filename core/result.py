"""What a task's return annotation says: the type of the result, and of its items where `provides` names several."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Coroutine
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from typing_extensions import is_typeddict

from flowledger.events.errors import ProvidesMismatch

from .bound import type_name
from .names import did_you_mean
from .typed import Typed, is_class, typed

Item = tuple[int | str, Typed]  # an index, or the name of a field, and its type

_AWAITED: tuple[Any, ...] = (Awaitable, Coroutine)


def result_annotation(returns: Any) -> Any:
    """The annotation of the value: `Any` where there is none, what is awaited where a coroutine is returned."""
    if returns is inspect.Parameter.empty:
        return Any
    if get_origin(returns) in _AWAITED:
        return get_args(returns)[-1]
    return returns


def items_of(result: Typed, names: tuple[str, ...], where: str) -> list[Item]:
    """Which item of the result each of ``names`` is.

    Raises:
        ProvidesMismatch: the result does not have these items.
    """
    annotation = _bare(result.annotation)
    if annotation is Any:
        return [(index, typed(Any, where=where)) for index in range(len(names))]
    fields = _fields(annotation)
    if fields is not None:
        return [_field(fields, name, annotation, where) for name in names]
    return _positions(annotation, names, where)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _positions(annotation: Any, names: tuple[str, ...], where: str) -> list[Item]:
    arguments = get_args(annotation)
    if get_origin(annotation) is not tuple or Ellipsis in arguments:
        raise ProvidesMismatch(
            f"{where} provides {_listed(names)}, but returns {type_name(annotation)}",
            hint=f"annotate with `tuple[…]` of {len(names)} types, or with a model, dataclass or TypedDict",
        )
    if len(arguments) != len(names):
        raise ProvidesMismatch(
            f"{where} provides {len(names)} values ({_listed(names)}), "
            f"but returns {len(arguments)}: {type_name(annotation)}",
            hint="one name for each item",
        )
    return [(i, typed(a, where=f"item {i} of what {where} returns")) for i, a in enumerate(arguments)]


def _field(fields: dict[str, tuple[int | str, Any]], name: str, annotation: Any, where: str) -> Item:
    if name not in fields:
        raise ProvidesMismatch(
            f"{where} provides `{name}`, but {type_name(annotation)} has no such field",
            hint=did_you_mean(name, fields) or f"its fields: {', '.join(fields)}",
        )
    key, type_ = fields[name]
    return key, typed(type_, where=f"field `{name}` of what {where} returns")


def _fields(annotation: Any) -> dict[str, tuple[int | str, Any]] | None:
    """Field name → (how to reach it, type); None where the type has no fields."""
    cls: object = get_origin(annotation) or annotation
    if not is_class(cls):
        return None
    if issubclass(cls, BaseModel):
        return {n: (n, f.annotation) for n, f in cls.model_fields.items()}
    named: tuple[str, ...] = getattr(cls, "_fields", ())
    hints: dict[str, Any]
    if named:  # a named tuple
        hints = get_type_hints(cls, include_extras=True)
        return {n: (i, hints.get(n, Any)) for i, n in enumerate(named)}
    if dataclasses.is_dataclass(cls) or is_typeddict(cls):
        hints = get_type_hints(cls, include_extras=True)
        names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else list(hints)
        return {n: (n, hints[n]) for n in names}
    return None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{n}`" for n in names)
