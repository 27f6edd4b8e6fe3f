"""Keys of runs in memory; see `events.run_keys.RunKeys`. What has no database needs no SQLAlchemy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flowledger.events.run_keys import RunKeyRow


class MemoryRunKeys:
    """As long as the process lives."""

    def __init__(self) -> None:
        self._rows: dict[str, RunKeyRow] = {}

    def put(self, row: RunKeyRow) -> RunKeyRow:
        return self._rows.setdefault(row.run_id, row)

    def get(self, run_id: str) -> RunKeyRow | None:
        return self._rows.get(run_id)

    def rewrap(self, rows: Sequence[RunKeyRow]) -> int:
        there = {row.run_id: row for row in rows if row.run_id in self._rows}
        self._rows.update(there)
        return len(there)

    def remove(self, run_id: str) -> bool:
        return self._rows.pop(run_id, None) is not None

    def wrapped_by_others(self, name: str, *, limit: int, after: str = "") -> list[RunKeyRow]:
        found = (row for row in self._rows.values() if row.wrapped_by != name and row.run_id > after)
        return sorted(found)[:limit]

    def counts(self) -> dict[str, int]:
        return dict(Counter(row.wrapped_by for row in self._rows.values()))
