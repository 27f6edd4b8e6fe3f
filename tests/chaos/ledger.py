"""`Ledger`: a file in which bodies say, from whatever process, that they began and that they ended."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Body(NamedTuple):
    """One call of a body: of which attempt of which task, as its context said."""

    run_id: str
    path: str
    phase: str
    key: str
    attempt: int


class Ledger:
    """Lines are appended in one write each, so that those of many processes do not mix, and survive their writers."""

    def __init__(self, file: str | Path) -> None:
        self._file = Path(file)

    @contextmanager
    def body(self, run_id: str, path: str, phase: str, key: str, attempt: int) -> Iterator[None]:
        """Around what a body does."""
        named = f"{run_id}\t{path}\t{phase}\t{key}\t{attempt}\t{os.getpid()}"
        self._say(f"begun\t{named}\n")
        yield
        self._say(f"ended\t{named}\n")

    def _say(self, line: str) -> None:
        file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def begun(self) -> Counter[Body]:
        """How often each body has begun."""
        return self._said("begun")

    def ended(self) -> Counter[Body]:
        """How often each has come to its end."""
        return self._said("ended")

    def _said(self, word: str) -> Counter[Body]:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        fields = (line.split("\t") for line in lines)
        return Counter(
            Body(run_id, path, phase, key, int(attempt))
            for said, run_id, path, phase, key, attempt, _ in fields
            if said == word
        )
