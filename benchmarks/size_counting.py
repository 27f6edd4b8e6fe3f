"""How large a log and its views are on disk, in bytes: tables with indexes and TOAST in Postgres, files of SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg

_BYTES = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c JOIN pg_namespace n "
    "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND n.nspname = %s"
)


def sizes_of(url: str, *, packed: bool = False) -> tuple[float, float]:
    """The log's and the views'. ``packed``: after everything was rewritten without a gap, which is done then."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///").partition("?")[0])
        return _of_file(path, packed), _of_file(path.with_name(f"{path.name}-views"), packed)
    schema = "flowledger" if "schema=" not in url else url.partition("schema=")[2].partition("&")[0]
    with psycopg.connect(url.partition("?")[0].replace("+psycopg", ""), autocommit=True) as connection:
        if packed:
            connection.execute("VACUUM FULL")
        found = [connection.execute(_BYTES, (name,)).fetchone() for name in (schema, f"{schema}_views")]
    log, views = (float(row[0]) if row else 0.0 for row in found)
    return log, views


def _of_file(path: Path, packed: bool) -> float:
    if not path.exists():
        return 0.0
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if packed:
            connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return float(path.stat().st_size)
