"""How the tests of definitions say that something must be refused, and how well."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from flowledger.events.errors import FlowledgerError

E = TypeVar("E", bound=FlowledgerError)


@contextmanager
def refused(error: type[E], *words: str) -> Generator[pytest.ExceptionInfo[E]]:
    """The block raises exactly ``error``; it says all the words, its code, and what to do next."""
    with pytest.raises(error) as caught:
        yield caught
    assert type(caught.value) is error
    said = str(caught.value)
    for word in (*words, f"[{error.code}]"):
        assert word in said, f"{word!r} is not in: {said}"
    assert caught.value.hint, f"no hint: {said}"


def this_line(after: int = 0) -> str:
    """``file:line`` of the caller, ``after`` lines further down, as messages name it."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno + after}"
