"""How much room the peers' rows take. Runs in their environment."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.postgres_counting import Counter


def measured(url: str, tasks: int, work: Callable[[], object]) -> dict[str, Any]:
    """Bytes per task that the work has added: as they lie there, and packed (after VACUUM)."""
    before = _bytes(url, packed=True)
    work()
    lies = _bytes(url, packed=False)
    return {"lies": (lies - before) / tasks, "packed": (_bytes(url, packed=True) - before) / tasks}


def _bytes(url: str, *, packed: bool) -> float:
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if packed:
                connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return float(path.stat().st_size)
    if packed:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM FULL")
    counter = Counter(url)
    found = counter.size_bytes()
    counter.close()
    return found
