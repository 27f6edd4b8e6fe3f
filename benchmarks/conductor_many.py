"""One conductor with many equal runs under way at once: memory, events per second, fairness. Prints JSON.

many URL RUNS N     RUNS runs of N async tasks of 50 ms each, submitted before the conductor starts
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from flowledger import App, Flow, Settings, linear

URL = os.environ.get("BENCH_URL") or sys.argv[2]
app = App("bench-conductor", settings=Settings(database_url=URL.replace("postgresql://", "postgresql+psycopg://"),
                                               views="off"))  # fmt: skip
PAUSE_S = 0.05


@app.task
async def step() -> None:
    await asyncio.sleep(PAUSE_S)


@app.flow
def steps(n: int) -> Flow[None]:
    return linear(*[step.bind().named(f"s{i}") for i in range(n)])


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def measure(runs: int, n: int) -> dict[str, Any]:
    ids = [app.submit(steps(n)).id for _ in range(runs)]
    end = 2 * n + 4  # events of a run that has ended: submitted, claimed, started, two per task, succeeded
    flowledger = Path(sys.executable).with_name("flowledger")
    argv = [flowledger, "conductor", "--app", "benchmarks.conductor_many:app", "--max-runs", str(runs)]
    conductor = subprocess.Popen(argv, env={**os.environ, "BENCH_URL": URL}, stderr=subprocess.DEVNULL)
    try:
        with psycopg.connect(URL, autocommit=True) as connection:
            return _watched(connection, ids, conductor.pid, end)
    finally:
        conductor.terminate()
        conductor.wait(30)


def _watched(connection: psycopg.Connection, ids: list[str], pid: int, end: int) -> dict[str, Any]:
    """Memory and progress while all of them are under way: from when the last has begun until the first has ended."""
    asked = "SELECT run_id, version FROM flowledger.streams WHERE run_id = ANY (%s)"
    found: dict[str, Any] = {}
    before: dict[str, int] = {}
    began = since = 0.0
    while True:
        now = time.perf_counter()
        versions = dict(connection.execute(asked, (ids,)).fetchall())
        least, most = min(versions.values()), max(versions.values())
        if not began and most > 1:
            began, found["empty_MiB"] = now, resident_mib(pid)
        if not before and least > 3:
            before, since = versions, now
        elif before and most < end - 1:
            made = [versions[run] - before[run] for run in ids]
            found |= {"slowest": min(made), "fastest": max(made), "median": median(made), "MiB": resident_mib(pid),
                      "events_per_s": sum(made) / (now - since)}  # fmt: skip
        if least >= end - 1:
            return found | {"seconds": now - began}
        time.sleep(0.1)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[3]), int(sys.argv[4]))))
