"""^C at any moment: also while something is being said."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowledger.adapters.cli.interrupting import interruptible
from flowledger.adapters.cli.terminal import say


class Struck(io.RawIOBase):
    """A terminal at which somebody types ^C while something is written to it."""

    def __init__(self, file: int) -> None:
        self._file = file
        self.times = 1

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file

    def write(self, content: object, /) -> int:
        if self.times:
            self.times -= 1
            signal.raise_signal(signal.SIGINT)
        return os.write(self._file, content)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@contextmanager
def struck(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Stderr is such a terminal; what it shows can be read here."""
    here, there = os.pipe()
    with monkeypatch.context() as patch, io.TextIOWrapper(io.BufferedWriter(Struck(there)), write_through=True) as file:
        patch.setattr(sys, "stderr", file)
        yield here
    for end in (here, there):
        os.close(end)


def test_b5_an_interrupt_while_something_is_being_said_suspends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with struck(monkeypatch) as terminal:
        with pytest.raises(KeyboardInterrupt), interruptible():
            say("a task has failed")
        assert os.read(terminal, 1000).decode().startswith("suspending: ")
