"""Seals in memory; see `events.seals.Seals`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from flowledger.events.envelope import StoredEvent
from flowledger.events.merkle import Head
from flowledger.events.seals import Seal, Sealed


class MemorySeals:
    """Kept beside a log in memory, which ``read_run`` reads."""

    def __init__(self, read_run: Callable[[str], Sequence[StoredEvent]]) -> None:
        self._read_run = read_run
        self._lock = Lock()
        self._seals: list[Seal] = []
        self._heads: dict[int, list[Head]] = {}

    def add(self, seal: Seal, heads: Sequence[Head]) -> bool:
        with self._lock:
            if seal.number != len(self._seals) + 1:
                return False
            self._seals.append(seal)
            self._heads[seal.number] = sorted(heads)
            return True

    def read(self, *, after: int = 0, limit: int = 1000) -> list[Seal]:
        return self._seals[after : after + limit]

    def last(self) -> Seal | None:
        return self._seals[-1] if self._seals else None

    def heads(self, number: int) -> list[Head]:
        return list(self._heads.get(number, ()))

    def newest(self, run_ids: Sequence[str]) -> dict[str, Sealed]:
        return {run_id: found[-1] for run_id in run_ids if (found := self.of_run(run_id))}

    def of_run(self, run_id: str) -> list[Sealed]:
        return [sealed for sealed in self._all() if sealed.head.run_id == run_id]

    def unmet(self, *, limit: int = 100) -> list[Sealed]:
        found = [sealed for sealed in self._all() if not self._is_met(sealed.head)]
        return sorted(found, key=lambda sealed: (sealed.head.run_id, sealed.seal))[:limit]

    def _all(self) -> list[Sealed]:
        return [Sealed(number, head) for number in sorted(self._heads) for head in self._heads[number]]

    def _is_met(self, head: Head) -> bool:
        events = self._read_run(head.run_id)
        return head.version <= len(events) and events[head.version - 1].hash == head.hash
