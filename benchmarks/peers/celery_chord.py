"""Celery: a chord of n no-op tasks on Redis, worker and result backend as its first steps say. Prints JSON.

    fanout URL N

``URL`` is the Redis database; results are gone from it after some minutes. Runs in the environment of the peers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from celery import Celery, chord  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

URL = os.environ.get("BENCH_URL", sys.argv[2] if len(sys.argv) > 2 else "")
app = Celery("celery_chord", broker=URL, backend=URL)
app.conf.task_default_queue = "flowledger-bench"
app.conf.result_expires = 300


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    pass


@app.task(name="joined")  # type: ignore[untyped-decorator]
def joined(results: list[None]) -> int:
    return len(results)


def fanout(n: int) -> dict[str, float]:
    folder = Path(__file__).parent
    worker = subprocess.Popen(
        [Path(sys.executable).with_name("celery"), "-A", "celery_chord", "worker", "--loglevel", "ERROR"],
        cwd=folder, env={**os.environ, "BENCH_URL": URL}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert chord(noop.s() for _ in range(20))(joined.s()).get(timeout=60) == 20
        began = time.perf_counter()
        assert chord(noop.s() for _ in range(n))(joined.s()).get(timeout=300) == n
        return {"rate": n / (time.perf_counter() - began)}
    finally:
        worker.terminate()
        worker.wait(30)
        app.control.purge()


if __name__ == "__main__":
    print(json.dumps(fanout(int(sys.argv[3]))))
