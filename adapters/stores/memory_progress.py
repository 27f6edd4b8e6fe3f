"""Progress in memory (rule F2)."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from flowledger.events.progress import Note


class MemoryProgress:
    """See `events.progress.ProgressBoard`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._notes: dict[tuple[str, str, int, int], Note] = {}

    def write(self, notes: Sequence[Note]) -> None:
        with self._lock:
            self._notes.update({note[:4]: note for note in notes})

    def of(self, run_id: str) -> list[Note]:
        with self._lock:
            return sorted(note for note in self._notes.values() if note.run_id == run_id)

    def forget(self, run_id: str, worker: str) -> None:
        with self._lock:
            for key, note in list(self._notes.items()):
                if (note.run_id, note.worker) == (run_id, worker):
                    del self._notes[key]
