"""Whether a value of one annotation can ever be what another asks for. It says no only when that is certain.

Types are compared by the kind of JSON they become, since that is how values travel; the declared type counts, not what
a lucky value might be turned into: `str` is never `int`, though "3" could be parsed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import uuid
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, RootModel
from typing_extensions import TypeAliasType, is_typeddict

from .typed import is_class

Kind = Literal["any", "null", "boolean", "integer", "number", "string", "array", "object", "scalar"]

_SCALARS: tuple[type, ...] = (
    dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath, bytes, complex,
)  # fmt: skip
_PLAIN: Mapping[Any, Kind] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "null",
    None: "null",
}
# a provider of the first kind can be a value of any of these
_ACCEPTED: Mapping[Kind, frozenset[Kind]] = {
    "null": frozenset({"null"}),
    "boolean": frozenset({"boolean", "integer", "number"}),
    "integer": frozenset({"integer", "number", "scalar"}),
    "number": frozenset({"number", "scalar"}),
    "string": frozenset({"string", "scalar"}),
    "scalar": frozenset({"scalar", "string", "integer", "number"}),
    "array": frozenset({"array"}),
    "object": frozenset({"object"}),
}


def can_hold(provided: Any, wanted: Any) -> bool:
    """Whether an argument annotated ``wanted`` can take what is annotated ``provided``; True when in doubt."""
    try:
        return _cached(provided, wanted)
    except TypeError:  # an unhashable annotation
        return _can_hold(provided, wanted)


def can_take_object(live: Any, wanted: Any) -> bool:
    """The same for a live object: no only where a plain value is asked for and the object is of another class."""
    kind = _PLAIN.get(wanted) if isinstance(wanted, type) else None
    return kind is None or not isinstance(live, type) or issubclass(live, wanted) or live is object


@lru_cache(maxsize=4096)
def _cached(provided: Any, wanted: Any) -> bool:
    return _can_hold(provided, wanted)


def _can_hold(provided: Any, wanted: Any) -> bool:
    if provided is wanted or provided == wanted:
        return True
    return any(_one_can_hold(p, w) for p in _members(provided) for w in _members(wanted))


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, after names and metadata have been taken off."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        else:
            break
    if get_origin(annotation) in (Union, UnionType):
        return tuple(m for a in get_args(annotation) for m in _members(a))
    return (annotation,)


def _one_can_hold(provided: Any, wanted: Any) -> bool:
    if provided is wanted:
        return True
    if get_origin(provided) is Literal and get_origin(wanted) is Literal:
        return not set(get_args(provided)).isdisjoint(get_args(wanted))
    from_kinds, to_kinds = _kinds(provided), _kinds(wanted)
    if "any" in from_kinds or "any" in to_kinds:
        return True
    common = any(k in to_kinds for kind in from_kinds for k in _ACCEPTED[kind])
    if not common:
        return False
    if from_kinds == frozenset[Kind]({"array"}):
        return _items_can_hold(provided, wanted)
    if from_kinds == frozenset[Kind]({"object"}):
        return _fields_can_hold(provided, wanted)
    return True


def _kinds(annotation: Any) -> frozenset[Kind]:
    if annotation in (Any, object) or isinstance(annotation, TypeVar):
        return frozenset[Kind]({"any"})
    origin = get_origin(annotation)
    if origin is Literal:
        return frozenset[Kind](_PLAIN.get(type(v), "any") for v in get_args(annotation))
    cls: object = origin or annotation
    if not is_class(cls):
        return frozenset[Kind]({"null"} if cls is None else {"any"})
    return frozenset[Kind]({_kind_of_class(cls)})


def _kind_of_class(cls: type[Any]) -> Kind:
    plain = _PLAIN.get(cls)
    if plain is not None:
        return plain
    if issubclass(cls, enum.Enum | RootModel):  # what it is depends on its values
        return "any"
    if is_typeddict(cls) or dataclasses.is_dataclass(cls) or issubclass(cls, BaseModel | Mapping):
        return "object"
    if issubclass(cls, _SCALARS):
        return "scalar"
    for base in (bool, int, float, str):
        if issubclass(cls, base):
            return _PLAIN[base]
    if issubclass(cls, list | tuple | AbstractSet) or cls in (Iterable, *Iterable.__subclasses__()):
        return "array"
    module = getattr(cls, "__module__", "")
    return "array" if module == "collections.abc" and issubclass(cls, Iterable) else "any"


def _items_can_hold(provided: Any, wanted: Any) -> bool:
    mine, theirs = _items(provided), _items(wanted)
    if mine is None or theirs is None:
        return True
    if len(mine) > 1 and len(theirs) > 1 and len(mine) != len(theirs):
        return False
    length = max(len(mine), len(theirs))
    mine, theirs = (items * length if len(items) == 1 else items for items in (mine, theirs))
    return all(_can_hold(m, t) for m, t in zip(mine, theirs, strict=True))


def _items(annotation: Any) -> tuple[Any, ...] | None:
    """The types of an array's items: one for all, or one each of a tuple of fixed length."""
    arguments = tuple(a for a in get_args(annotation) if a is not Ellipsis)
    return arguments or None


def _fields_can_hold(provided: Any, wanted: Any) -> bool:
    """No, where one model asks for a field that the other never has."""
    if not (_is_model(provided) and _is_model(wanted)) or issubclass(provided, wanted):
        return True
    if provided.model_config.get("extra") == "allow":
        return True
    given = {f.alias or name for name, f in provided.model_fields.items()}
    return all(
        not f.is_required() or name in given or f.alias in given or f.validation_alias is not None
        for name, f in wanted.model_fields.items()
    )


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
