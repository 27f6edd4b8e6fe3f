"""Absurd on Postgres: the shapes of `postgres_flowledger.py`, sequential steps in one task, no-op. Prints JSON.

    setup URL | linear URL N | many URL TASKS N | idle URL SECONDS

Runs in the environment of the peers, which has no flowledger. Set up as its documentation says: schema and queue by
absurdctl, one worker; where tasks run side by side, as many as the worker is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock, Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from absurd_sdk import Absurd  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

from benchmarks.postgres_counting import counting, idle

CONCURRENCY = 20


def noop() -> None:
    pass


def setup(url: str) -> dict[str, Any]:
    environment = {**os.environ, "ABSURD_DATABASE_URL": url}
    for command in (["init"], ["create-queue", "default"]):
        program = Path(sys.executable).with_name("absurdctl")
        subprocess.run([program, *command], env=environment, check=True, capture_output=True)
    return {}


def build(url: str) -> tuple[Any, list[int]]:
    app = Absurd(url)
    lock, ended, wanted = Lock(), [0], [0]

    @app.register_task(name="straight")  # type: ignore[untyped-decorator]
    def straight(parameters: Any, context: Any) -> None:
        for i in range(parameters["n"]):
            context.step(f"s{i}", noop)
        with lock:
            ended[0] += 1
            if ended[0] == wanted[0]:
                app.stop_worker()

    return app, wanted


def run(url: str, tasks: int, n: int, concurrency: int) -> dict[str, Any]:
    app, wanted = build(url)
    wanted[0] = 1
    app.spawn("straight", {"n": 50})
    app.start_worker()
    with counting(url, tasks * n) as figures:
        wanted[0] += tasks
        for _ in range(tasks):
            app.spawn("straight", {"n": n})
        app.start_worker(concurrency=concurrency, poll_interval=0.01)
    app.close()
    return figures


def run_idle(url: str, seconds: int) -> dict[str, Any]:
    app, _ = build(url)
    worker = Thread(target=app.start_worker, daemon=True)
    worker.start()
    time.sleep(5)  # what begins only after a moment has begun
    figures = idle(url, seconds)
    app.stop_worker()
    worker.join()
    app.close()
    return figures


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    measure = {
        "setup": setup, "linear": lambda url, n: run(url, 1, n, 1),
        "many": lambda url, tasks, n, concurrency=CONCURRENCY: run(url, tasks, n, concurrency), "idle": run_idle,
    }  # fmt: skip
    print(json.dumps(measure[what](where, *map(int, rest))))
