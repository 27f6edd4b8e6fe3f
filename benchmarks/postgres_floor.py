"""What the server itself can do through libpq, with nothing of ours in between. Prints JSON.

commits URL N         INSERT of one event-sized row, one transaction each, one connection, prepared, binary
batches URL N SIZE    the newest N events of the log in URL once more, SIZE rows to a transaction: the same columns
                      and indexes, one bare INSERT … SELECT unnest(…), prepared, binary; no heads, no checks
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from flowledger.adapters.stores.postgres.wire import blobs, ints, texts

_COLUMNS = "run_id, version, type, schema_version, path, time_us, actor, payload, hash"
_BATCH = (
    f"INSERT INTO floor.events (generation, {_COLUMNS}) SELECT 1, e.* FROM unnest($1::text[], $2::int8[], $3::text[], "
    f"$4::int8[], $5::text[], $6::int8[], $7::text[], $8::bytea[], $9::bytea[]) AS e({_COLUMNS})"
)
_PACKED = (texts, ints, texts, ints, texts, ints, texts, blobs, blobs)


def prepared(connection: psycopg.Connection[Any], statement: str) -> Callable[[Sequence[bytes]], None]:
    """Execute a statement in one round trip, as libpq's own blocking call does it."""
    pq = connection.pgconn
    pq.prepare(b"floor", statement.encode())

    def execute(values: Sequence[bytes]) -> None:
        result = pq.exec_prepared(b"floor", values, [1] * len(values), 1)
        assert result.status == ExecStatus.COMMAND_OK, result.get_error_message()

    return execute


def commits(url: str, n: int) -> float:
    """One-row commits per second."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS one_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text, b text, "
            "payload bytea, hash bytea)"
        )
        execute = prepared(connection, "INSERT INTO one_row (a, b, payload, hash) VALUES ($1, $2, $3, $4)")
        payload, hash_ = bytes(170), bytes(32)

        def insert(count: int) -> None:
            for i in range(count):
                execute((b"TaskSucceeded%d" % i, b"a/path", payload, hash_))

        insert(20)
        began = time.perf_counter()
        insert(n)
        return n / (time.perf_counter() - began)


def batches(url: str, n: int, size: int) -> float:
    """Events per second."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM flowledger.events ORDER BY xid DESC, position DESC LIMIT {n}"
        ).fetchall()[::-1]
        connection.execute("CREATE SCHEMA IF NOT EXISTS floor")
        connection.execute("CREATE TABLE IF NOT EXISTS floor.events (LIKE flowledger.events INCLUDING ALL)")
        connection.execute("TRUNCATE floor.events")
        execute = prepared(connection, _BATCH)

        def insert(some: list[Any]) -> None:
            execute([pack(column) for pack, column in zip(_PACKED, zip(*some, strict=True), strict=True)])

        insert(rows[:size])
        connection.execute("TRUNCATE floor.events")
        began = time.perf_counter()
        for at in range(0, len(rows), size):
            insert(rows[at : at + size])
        rate = len(rows) / (time.perf_counter() - began)
        connection.execute("TRUNCATE floor.events")
        return rate


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    print(json.dumps({"rate": {"commits": commits, "batches": batches}[what](where, *map(int, numbers))}))
