"""Named points at which a crash test can make the process die (RELIABILITY R2).

``FLOWLEDGER_FAILPOINT=append.after_begin:3`` exits, as ``kill -9`` would, at the third passing of that point. The
environment is read once, when this module is imported; unset, a point costs one comparison.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from threading import Lock

VARIABLE = "FLOWLEDGER_FAILPOINT"
EXIT_CODE = 9

#: Every point of the append path, in the order in which one append passes them.
APPEND_POINTS = (
    "append.before_begin",
    "append.after_begin",
    "append.after_insert",
    "append.before_commit",
    "append.after_commit",
    "append.before_ack",
    "append.after_ack",
)

#: Every point of a transactional task, in the order in which one attempt passes them (C8).
TRANSACTION_POINTS = (
    "transaction.before_begin",
    "transaction.after_begin",
    "transaction.after_body",
    "transaction.after_outcome",
    "transaction.before_commit",
    "transaction.after_commit",
    "transaction.before_settle",
    "transaction.after_settle",
)
POINTS = APPEND_POINTS + TRANSACTION_POINTS


class _Armed:
    """One point that waits for its ``nth`` passing."""

    def __init__(self, name: str, nth: int, action: Callable[[], object]) -> None:
        self.name = name
        self._left = nth
        self._action = action
        self._lock = Lock()

    def pass_by(self) -> None:
        with self._lock:
            self._left -= 1
            due = self._left == 0
        if due:
            self._action()


_armed: _Armed | None = None


def reach(name: str) -> None:
    """Say that the point ``name`` is passed."""
    if _armed is not None and _armed.name == name:
        _armed.pass_by()


@contextmanager
def armed(name: str, nth: int = 1, action: Callable[[], object] | None = None) -> Generator[None]:
    """Within the block, do ``action`` (by default: die) at the ``nth`` passing of ``name``. For tests."""
    global _armed
    before = _armed
    _armed = _Armed(name, nth, action or _die)
    try:
        yield
    finally:
        _armed = before


def _die() -> None:
    os._exit(EXIT_CODE)


def _from_environment(environment: Mapping[str, str]) -> _Armed | None:
    setting = environment.get(VARIABLE, "")
    if not setting:
        return None
    name, _, nth = setting.partition(":")
    if name not in POINTS or not (nth or "1").isdigit():
        raise ValueError(f"{VARIABLE}={setting}: expected NAME:N with one of {', '.join(POINTS)}")
    return _Armed(name, int(nth or "1"), _die)


_armed = _from_environment(os.environ)
