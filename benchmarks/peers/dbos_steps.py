"""DBOS on Postgres: the shapes of `postgres_flowledger.py`, sequential steps in one workflow, no-op. Prints JSON.

    linear URL N | many URL WORKFLOWS N | fanout URL N | crash URL N KEY | resume URL N KEY | idle URL SECONDS
    size URL RUNS N     bytes per step that RUNS workflows of N steps leave on disk (also on SQLite)

Runs in the environment of the peers, which has no flowledger. Set up as its documentation says: a Postgres system
database, defaults, `DBOS.start_workflow` for what runs side by side.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from dbos import DBOS, SetWorkflowID  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

from benchmarks.peers.size_kept import measured
from benchmarks.postgres_counting import counting, idle

began_at: dict[int, float] = {}
kill_at = -1


@DBOS.step()  # type: ignore[untyped-decorator]
def step(i: int) -> None:
    began_at[i] = time.perf_counter()
    if i == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


@DBOS.workflow()  # type: ignore[untyped-decorator]
def straight(n: int) -> None:
    for i in range(n):
        step(i)


def launch(url: str) -> None:
    DBOS(config={"name": "bench", "system_database_url": url.replace("postgresql:", "postgresql+psycopg:"),
                 "log_level": "ERROR"})  # fmt: skip
    DBOS.launch()


def run_linear(url: str, n: int) -> dict[str, Any]:
    launch(url)
    straight(50)
    with counting(url, n) as figures:
        straight(n)
    DBOS.destroy()
    return figures


def run_many(url: str, workflows: int, n: int) -> dict[str, Any]:
    launch(url)
    straight(50)
    with counting(url, workflows * n) as figures:
        handles = [DBOS.start_workflow(straight, n) for _ in range(workflows)]
        for handle in handles:
            handle.get_result()
    DBOS.destroy()
    return figures


@DBOS.workflow()  # type: ignore[untyped-decorator]
def job() -> None:
    pass


def fanout(url: str, n: int) -> dict[str, Any]:
    """Jobs of a queue, as its documentation has it for work side by side."""
    launch(url)
    queue = DBOS.register_queue("bench")
    for handle in [queue.enqueue(job) for _ in range(20)]:
        handle.get_result()
    with counting(url, n) as figures:
        for handle in [queue.enqueue(job) for _ in range(n)]:
            handle.get_result()
    DBOS.destroy()
    return figures


def crash(url: str, n: int, key: str) -> dict[str, Any]:
    global kill_at
    kill_at = n // 2
    launch(url)
    with SetWorkflowID(key):
        straight(n)
    raise AssertionError("it ought to have been killed")


def resume(url: str, n: int, key: str) -> dict[str, Any]:
    began = time.perf_counter()
    launch(url)  # recovers what this executor left behind
    DBOS.retrieve_workflow(key).get_result()
    total = time.perf_counter() - began
    DBOS.destroy()
    return {"first_s": began_at[n // 2] - began, "total_s": total, "new": len(began_at)}


def run_idle(url: str, seconds: int) -> dict[str, Any]:
    launch(url)
    straight(1)
    time.sleep(5)  # what begins only after a moment has begun
    figures = idle(url, seconds)
    DBOS.destroy()
    return figures


def size(url: str, workflows: int, n: int) -> dict[str, Any]:
    launch(url)
    straight(n)

    def work() -> None:
        for _ in range(workflows):
            straight(n)

    figures = measured(url, workflows * n, work)
    DBOS.destroy()
    return figures


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    numbers = [int(argument) if argument.isdigit() else argument for argument in rest]
    measure = {
        "linear": run_linear,
        "many": run_many,
        "crash": crash,
        "resume": resume,
        "idle": run_idle,
        "fanout": fanout,
        "size": size,
    }
    print(json.dumps(measure[what](where, *numbers)))
