"""One linear run on SQLite against the disk itself: rounds of both by turns, in one process, on one disk.

The floor is what any log of one row per step could reach: INSERT of one event-sized row and COMMIT, with the settings
of the store. Prints JSON: rates per round and commits per task. Arguments: directory, n, rounds.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flowledger import App, Flow, linear
from flowledger.adapters.stores.sqlite_append import SqliteWriter

commits = 0


def count_commits() -> None:
    """Count what the store really commits, whoever asks for it."""
    transaction = SqliteWriter._transaction  # noqa: SLF001 - every commit of the log passes here

    def counted(self: SqliteWriter, batch: Any) -> Any:
        global commits
        commits += 1
        return transaction(self, batch)

    SqliteWriter._transaction = counted  # type: ignore[method-assign]  # noqa: SLF001


def floor(directory: Path, n: int) -> float:
    """One-row commits per second."""
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, a TEXT, b TEXT, payload BLOB, hash BLOB)"
    )
    payload, hash_ = bytes(170), bytes(32)
    began = time.perf_counter()
    for i in range(n):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO rows (a, b, payload, hash) VALUES (?, ?, ?, ?)",
            (f"TaskSucceeded{i}", "a/path", payload, hash_),
        )
        connection.execute("COMMIT")
    rate = n / (time.perf_counter() - began)
    connection.close()
    return rate


def build(url: str) -> tuple[App, Any]:
    app = App("bench", database_url=url)

    @app.task(read_only=True)
    def noop() -> None:
        pass

    @app.flow
    def straight(n: int) -> Flow[None]:
        return linear(*[noop.bind().named(f"t{i}") for i in range(n)])

    return app, straight


def main(where: Path, n: int, rounds: int) -> None:
    global commits
    count_commits()
    with tempfile.TemporaryDirectory(dir=where) as name:
        directory = Path(name)
        app, straight = build(f"sqlite:///{directory}/log.db")
        app.run(straight(10), executor="inline")
        floor(directory, 50)
        floors, rates, per_task = [], [], []
        for _ in range(rounds):
            floors.append(floor(directory, n))
            commits, began = 0, time.perf_counter()
            app.run(straight(n), executor="inline")
            rates.append(n / (time.perf_counter() - began))
            per_task.append(commits / n)
    print(json.dumps({"floor": floors, "rate": rates, "commits_per_task": per_task}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
