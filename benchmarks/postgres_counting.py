"""What a stretch of work costs a Postgres server: commits, statements, WAL, growth. Also runs beside the peers.

Commits are transaction ids handed out, which is exact, at once, and leaves reads out. Statements are the top-level
ones of pg_stat_statements, BEGIN and COMMIT included (each is a round trip); None where the server has it not loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

_STATEMENTS = (
    "SELECT coalesce(sum(calls), 0)::float8 FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
    "WHERE datname = %s"
)
_LOADED = "SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'"
_SERVER = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::float8, (pg_current_wal_lsn() - '0/0')::float8"
_BYTES = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 FROM pg_class c JOIN pg_namespace n "
    "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
)


class Counter:
    """Counts what happens in one database, from the outside: its own statements go to another one."""

    def __init__(self, url: str) -> None:
        self._inside = psycopg.connect(url, autocommit=True)
        self._database = self._inside.info.dbname
        self._outside = psycopg.connect(url, dbname="postgres", autocommit=True)
        self._loaded = bool(self._one(self._outside, _LOADED)[0])

    def statements(self) -> float | None:
        """Statements in this database so far."""
        return self._one(self._outside, _STATEMENTS, self._database)[0] if self._loaded else None

    def server(self) -> tuple[float, float]:
        """Transaction ids handed out, and bytes of WAL written, by the whole cluster."""
        xid, wal = self._one(self._outside, _SERVER)
        return xid, wal

    def size_bytes(self) -> float:
        """All tables of the database with indexes and TOAST."""
        return self._one(self._inside, _BYTES)[0]

    def close(self) -> None:
        self._inside.close()
        self._outside.close()

    def _one(self, connection: psycopg.Connection, statement: str, *values: object) -> tuple[float, ...]:
        found = connection.execute(statement, values or None).fetchone()  # pyright: ignore[reportArgumentType]
        assert found is not None
        return found


@contextmanager
def counting(url: str, tasks: int) -> Iterator[dict[str, float | None]]:
    """Measure the body of the `with`; the figures, per task, are there once it has ended."""
    counter = Counter(url)
    figures: dict[str, float | None] = {}
    size = counter.size_bytes()
    statements, (xid, wal) = counter.statements(), counter.server()
    cpu, began = time.process_time(), time.perf_counter()
    yield figures
    wall = time.perf_counter() - began
    cpu = time.process_time() - cpu
    (last_xid, last_wal), last_statements = counter.server(), counter.statements()
    figures |= {
        "rate": tasks / wall, "wall_s": wall, "cpu_ms": cpu / tasks * 1e3, "commits": (last_xid - xid) / tasks,
        "statements": (last_statements - statements) / tasks if last_statements is not None and statements is not None
        else None,
        "wal_bytes": (last_wal - wal) / tasks, "bytes": (counter.size_bytes() - size) / tasks,
    }  # fmt: skip
    counter.close()


def idle(url: str, seconds: float) -> dict[str, float | None]:
    """Statements per second in one database while nobody asks anything of it."""
    counter = Counter(url)
    before = counter.statements()
    time.sleep(seconds)
    after = counter.statements()
    counter.close()
    return {"per_s": None if before is None or after is None else (after - before) / seconds}
