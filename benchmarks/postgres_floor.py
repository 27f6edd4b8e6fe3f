"""What the server itself can do, with nothing of ours in between. Prints JSON.

commits URL N         INSERT of one event-sized row, one transaction each, one connection, prepared, binary
batches URL N SIZE    the newest N events of the log in URL once more, SIZE rows to a transaction: the same columns
                      and indexes, one bare INSERT … SELECT unnest(…), prepared, binary; no heads, no checks
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import psycopg

from flowledger.adapters.stores.postgres.wire import blobs, ints, register, texts

_COLUMNS = "run_id, version, type, schema_version, path, time_us, actor, payload, hash"
_BATCH = (
    f"INSERT INTO floor.events (generation, {_COLUMNS}) SELECT 1, e.* FROM unnest(%b::text[], %b::int8[], %b::text[], "
    f"%b::int8[], %b::text[], %b::int8[], %b::text[], %b::bytea[], %b::bytea[]) AS e({_COLUMNS})"
)
_PACKED = (texts, ints, texts, ints, texts, ints, texts, blobs, blobs)


def connect(url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
    register(connection)  # type: ignore[arg-type]
    return connection


def commits(url: str, n: int) -> float:
    """One-row commits per second."""
    with connect(url) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS one_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text, b text, "
            "payload bytea, hash bytea)"
        )
        cursor = connection.cursor(binary=True)
        payload, hash_ = bytes(170), bytes(32)

        def insert(count: int) -> None:
            for i in range(count):
                cursor.execute(
                    "INSERT INTO one_row (a, b, payload, hash) VALUES (%b, %b, %b, %b)",
                    (f"TaskSucceeded{i}", "a/path", payload, hash_),
                )

        insert(20)
        began = time.perf_counter()
        insert(n)
        return n / (time.perf_counter() - began)


def batches(url: str, n: int, size: int) -> float:
    """Events per second."""
    with connect(url) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM flowledger.events ORDER BY xid DESC, position DESC LIMIT {n}"
        ).fetchall()[::-1]
        connection.execute("CREATE SCHEMA IF NOT EXISTS floor")
        connection.execute("CREATE TABLE IF NOT EXISTS floor.events (LIKE flowledger.events INCLUDING ALL)")
        connection.execute("TRUNCATE floor.events")
        cursor = connection.cursor(binary=True)

        def insert(some: list[Any]) -> None:
            cursor.execute(
                _BATCH, [pack(column) for pack, column in zip(_PACKED, zip(*some, strict=True), strict=True)]
            )

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
