"""Values that are known only when the run runs."""

from __future__ import annotations

from typing import Any, Generic

from typing_extensions import TypeVar

T_co = TypeVar("T_co", covariant=True, default=Any)


class Symbol(Generic[T_co]):
    """A value a run will have: an input, a result, a retry's value, a resource. May be bound to an argument."""

    __slots__ = ()


class Named(Symbol[Any]):
    """The nearest provider of a name (TaskFlow's rebind)."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def symbol(name: str) -> Symbol[Any]:
    """Whatever the nearest provider of ``name`` provides: ``bind(server=symbol("server_id"))``."""
    return Named(name)
