"""How far bodies have got, for who looks while they run: the contract (rule F2; part of a store).

Operational rows, read as they are. The log gets the last word of an attempt, with its outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Note(NamedTuple):
    """The last that an attempt's body has said: ``fraction`` from 0 to 1, at ``time_us``. ``worker`` is who runs it."""

    run_id: str
    path: str
    try_: int
    attempt: int
    worker: str
    fraction: float
    message: str
    time_us: int


class ProgressBoard(Protocol):
    """Notes, the last one of each attempt. Methods block and may be called from any thread, like those of `Store`."""

    def write(self, notes: Sequence[Note]) -> None:
        """Keep these, in place of earlier ones of the same attempts."""
        ...

    def of(self, run_id: str) -> list[Note]:
        """The notes of a run, by path."""
        ...

    def forget(self, run_id: str, worker: str) -> None:
        """Nothing of this run is running at this worker any more."""
        ...
