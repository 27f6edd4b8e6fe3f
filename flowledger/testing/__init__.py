"""What tests of flows need: a log in memory, time that does not have to be waited for, crashes where you want them.

With pytest there are fixtures (`plugin`); all of it works without pytest, too. Nothing is loaded before it is used.

virtual_clock   `VirtualClock`: week-long waits in milliseconds
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .virtual_clock import VirtualClock

# where each name lives
_HOMES = {
    "VirtualClock": "virtual_clock",
}

__all__ = ["VirtualClock"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value  # found once; the next access does not come here
    return value
