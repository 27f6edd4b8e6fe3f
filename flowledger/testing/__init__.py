"""What tests of flows need: a log in memory, time that does not have to be waited for, crashes where you want them.

With pytest there are fixtures (plugin.py); all of it works without pytest, too. Nothing is loaded before it is used.

memory.py         `in_memory`: an app with its log in memory
virtual_clock.py  `VirtualClock`: week-long waits in milliseconds
background.py     `in_background`: a run that goes on while the test does something else
crashing.py       `crash_at`: the process is gone at that very event
surviving.py      `assert_survives_crashes` at every append, `assert_deterministic`
histories.py      `save_history`, `check_history`: old logs, and today's code
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .background import InBackground, in_background
    from .crashing import Crash, Crashed, crash_at
    from .histories import check_history, save_history
    from .memory import InMemory, in_memory
    from .surviving import assert_deterministic, assert_survives_crashes
    from .virtual_clock import VirtualClock

# where each name lives
_HOMES = {
    "background": ("InBackground", "in_background"),
    "crashing": ("Crash", "Crashed", "crash_at"),
    "histories": ("check_history", "save_history"),
    "memory": ("InMemory", "in_memory"),
    "surviving": ("assert_deterministic", "assert_survives_crashes"),
    "virtual_clock": ("VirtualClock",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Crash",
    "Crashed",
    "InBackground",
    "InMemory",
    "VirtualClock",
    "assert_deterministic",
    "assert_survives_crashes",
    "check_history",
    "crash_at",
    "in_background",
    "in_memory",
    "save_history",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # found once; the next access does not come here
    return value


def __dir__() -> list[str]:
    return __all__
