"""Prefect: one flow of n no-op tasks, one after the other, on the server it starts by itself (SQLite). Prints JSON.

    linear N

Runs in the environment of the peers, with a home folder of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

os.environ.update(
    PREFECT_HOME=tempfile.mkdtemp(prefix="flowledger-prefect-"), PREFECT_LOGGING_LEVEL="CRITICAL",
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="180", PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1",
)  # fmt: skip

from prefect import flow, task  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]


@task  # type: ignore[untyped-decorator]
def noop() -> None:
    pass


@flow  # type: ignore[untyped-decorator]
def straight(n: int) -> None:
    for _ in range(n):
        noop()


if __name__ == "__main__":
    straight(5)
    count = int(sys.argv[2])
    cpu, began = time.process_time(), time.perf_counter()
    straight(count)
    wall = time.perf_counter() - began
    print(json.dumps({"rate": count / wall, "cpu_ms": (time.process_time() - cpu) / count * 1e3}))
