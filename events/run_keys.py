"""The keys of runs: each encrypted by a key of the process (`CODEC_KEYS`), so that the database alone reads nothing.

Unlike everything else beside the log they may be deleted. What they encrypted is then erased: it cannot be read any
more, while its bytes stay where they are and the chain over them still verifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class RunKeyRow(NamedTuple):
    """A run's key, encrypted; ``wrapped_by`` names the key that did it."""

    run_id: str
    wrapped_by: str
    wrapped: bytes
    created_us: int


class RunKeys(Protocol):
    """Where a store keeps them."""

    def put(self, row: RunKeyRow) -> RunKeyRow:
        """Keep a run's key, unless it has one; the one it has then."""
        ...

    def get(self, run_id: str) -> RunKeyRow | None:
        """The key of a run."""
        ...

    def rewrap(self, rows: Sequence[RunKeyRow]) -> int:
        """Replace the rows of runs that have one, by the same keys under another, in one transaction; how many had one.

        A key that was removed meanwhile stays removed.
        """
        ...

    def remove(self, run_id: str) -> bool:
        """Delete the key of a run for good; False if it has none."""
        ...

    def wrapped_by_others(self, name: str, *, limit: int, after: str = "") -> list[RunKeyRow]:
        """Keys that are not encrypted by the key of this name, in the order of their runs, from behind ``after``."""
        ...

    def counts(self) -> dict[str, int]:
        """How many keys each key of the process has encrypted, by its name."""
        ...
