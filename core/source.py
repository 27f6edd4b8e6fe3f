"""Where in the user's code something was written, so that errors can name the line."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

Place = tuple[str, int]  # file, line
NOWHERE: Place = ("?", 0)


def caller(depth: int = 0) -> Place:
    """The line that called the function this is used in; ``depth`` more frames out."""
    # not inspect.stack(): that reads the files of all frames, a thousand times slower
    frame = sys._getframe(depth + 2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return frame.f_code.co_filename, frame.f_lineno


def shown(place: Place) -> str:
    """``file:line``, as editors and terminals understand it."""
    return f"{place[0]}:{place[1]}"


def at(place: Place | None) -> str:
    """`` at file:line``, or nothing where there is no line: inputs that came by name, as JSON."""
    return f" at {shown(place)}" if place is not None and place is not NOWHERE else ""


def defined_at(body: Callable[..., Any] | type) -> Place:
    """The line on which a function, or the first method of a class, is defined."""
    code = getattr(inspect.unwrap(body), "__code__", None)
    if code is None:  # a class: its first own function tells
        own = (getattr(member, "__code__", None) for member in vars(body).values())
        code = next((c for c in own if c is not None), None)
    return (code.co_filename, code.co_firstlineno) if code is not None else NOWHERE


def digest(body: Callable[..., Any]) -> str:
    """SHA-256 (hex) of the body's source, "" where there is none (rule C10: shown, never compared)."""
    try:
        source = inspect.getsource(body)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()
